"""Weights that cannot be had, told before any are loaded."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from vtok.common import weights as weights_lookup
from vtok.common.errors import UserError
from vtok.common.pretrained import load, read_config
from vtok.common.weights import WeightsRef, check_available
from vtok.config import compose
from vtok.config.weights import wanted_weights, weights_of_run
from vtok.hub import toys
from vtok.model.build import build_model

ABSENT = "vtok-tests/a-model-that-no-cache-holds"


@pytest.mark.usefixtures("no_network")
def test_what_is_absent_is_told_and_what_is_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        check_available([WeightsRef("backbone.weights", str(tmp_path)), WeightsRef("mllm.weights", ABSENT)])
    message = str(error.value)
    assert message.startswith(
        f"mllm.weights={ABSENT}: this is neither a folder nor in the local cache, and the hub cannot be"
    )
    assert f"(hf download {ABSENT} --local-dir PATH). Set mllm.weights=PATH, or mllm.weights=null for" in message
    assert "backbone.weights" not in message
    with pytest.raises(UserError, match=r"Set mllm\.weights=PATH\.$"):
        check_available([WeightsRef("mllm.weights", ABSENT, can_be_random=False)])


def test_an_offline_hub_is_not_called_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    two = [WeightsRef("backbone.weights", ABSENT), WeightsRef("mllm.weights", ABSENT, can_be_random=False)]
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set\. Download them with a network"):
        check_available(two)
    with pytest.raises(UserError, match=r"it is not in the local cache and HF_HUB_OFFLINE is set\. Set"):
        load(ABSENT, read_config, key="mllm.weights", kind="model", way_out="Set mllm.weights=PATH.")


def test_what_is_neither_here_nor_a_hub_id_is_refused_without_asking() -> None:
    with pytest.raises(
        UserError, match=r"^decoder\.weights=no/hub/id: there is no such file or folder, and it is not a hub id"
    ):
        check_available([WeightsRef("decoder.weights", "no/hub/id")])
    for odd in ("x" * 5000, "~nobody-of-this-name/x", "a\0b"):
        with pytest.raises(UserError, match="no such file or folder"):
            check_available([WeightsRef("decoder.weights", odd)])


@pytest.mark.usefixtures("no_network")
def test_what_the_cache_holds_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = tmp_path / f"models--{ABSENT.replace('/', '--')}" / "snapshots" / "abc"
    revision.mkdir(parents=True)
    (revision.parents[1] / "refs").mkdir()
    (revision.parents[1] / "refs" / "main").write_text("abc")
    (revision / "model_index.json").write_text("{}")
    found = weights_lookup.try_to_load_from_cache
    monkeypatch.setattr(
        weights_lookup,
        "try_to_load_from_cache",
        lambda name, file, revision: found(name, file, cache_dir=tmp_path, revision=revision),
    )
    check_available([WeightsRef("decoder.weights", ABSENT), WeightsRef("decoder.weights", ABSENT, "abc")])
    for wanted in (
        WeightsRef("decoder.weights", f"{ABSENT}-either"),
        WeightsRef("decoder.weights", ABSENT, "v2"),
    ):
        with pytest.raises(UserError, match="neither a folder nor in the local cache"):
            check_available([wanted])


def test_the_hub_is_asked_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(_self: HfApi, name: str, *, revision: str | None, timeout: float) -> None:
        asked.append((name, revision))
        if name.endswith("either"):
            raise RepositoryNotFoundError("no such model", response=Mock(headers={}))

    monkeypatch.setattr(HfApi, "model_info", answer)
    here, either = (
        WeightsRef("backbone.weights", ABSENT, "v1"),
        WeightsRef("mllm.weights", f"{ABSENT}-either"),
    )
    check_available([here, here])
    with pytest.raises(UserError, match=r"^mllm\.weights=\S+: .*the hub refuses it .*Set mllm\.weights=PATH, or"):
        check_available([here, either])
    assert asked == [(ABSENT, "v1"), (ABSENT, "v1"), (either.weights, None)]


def test_what_a_run_loads_is_looked_up() -> None:
    keys = [one.key for one in weights_of_run(compose(["backbone=clip", "mllm=causal_lm", "generation/judge=vlm"]))]
    assert keys == ["backbone.weights", "mllm.weights"]
    judged = ["recipe=generate", "decoder=wan", "generation/judge=vlm"]
    wanted = {one.key: one.can_be_random for one in weights_of_run(compose(judged))}
    assert wanted == {"decoder.weights": True, "generation.judge.weights": False}


def test_other_peoples_components_and_references_are_left_alone() -> None:
    theirs = {"_target_": "mine.Backbone", "weights": "large"}
    ours = {"_target_": "vtok.backbone.ClipBackbone", "weights": "${oc.env:HOME}"}
    assert wanted_weights({"backbone": theirs, "mllm": ours, "decoder": None}) == []


@pytest.mark.usefixtures("no_network")
def test_the_last_that_is_absent_is_told_before_the_first_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("weights were read")

    toys.make_toys(tmp_path / "toys")
    monkeypatch.setattr("vtok.backbone.clip.load", refuse)
    with pytest.raises(UserError, match=rf"^decoder\.weights={ABSENT}: this is neither"):
        build_model(compose(["recipe=paper_tiny", f"outputs={tmp_path}", f"decoder.weights={ABSENT}"]))


@pytest.mark.parametrize("option", ["clip", "vgg19", "vision"])
def test_every_backbone_but_tiny_is_pretrained_by_default(option: str) -> None:
    assert [(one.key, one.can_be_random) for one in weights_of_run(compose([f"backbone={option}"]))] == [
        ("backbone.weights", True)
    ]
