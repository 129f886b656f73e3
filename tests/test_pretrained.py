"""Weights that cannot be had, told before any are loaded."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi

from vtok import pretrained, toys
from vtok.build import build_model
from vtok.config import compose
from vtok.errors import UserError
from vtok.pretrained import refuse_unreachable

ABSENT = "vtok-tests/a-model-that-no-cache-holds"


@pytest.mark.usefixtures("no_network")
def test_what_is_absent_is_told_and_what_is_there_is_not(tmp_path: Path) -> None:
    wanted = {"backbone.weights": str(tmp_path), "mllm.weights": ABSENT, "decoder.weights": "no/hub/id"}
    with pytest.raises(UserError) as error:
        refuse_unreachable(wanted, can_be_random=wanted)
    message = str(error.value)
    assert message.startswith(f"mllm.weights={ABSENT}: neither a folder nor in the local cache, and the hub cannot be")
    assert f"(hf download {ABSENT} --local-dir PATH) and say mllm.weights=PATH, or mllm.weights=null for" in message
    assert "backbone.weights" not in message
    assert "decoder.weights" not in message
    with pytest.raises(UserError, match=r"say mllm\.weights=PATH\.$"):
        refuse_unreachable(wanted, can_be_random=["decoder.weights"])


@pytest.mark.usefixtures("no_network")
def test_what_the_cache_holds_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = tmp_path / f"models--{ABSENT.replace('/', '--')}" / "snapshots" / "abc"
    revision.mkdir(parents=True)
    (revision.parents[1] / "refs").mkdir()
    (revision.parents[1] / "refs" / "main").write_text("abc")
    (revision / "model_index.json").write_text("{}")
    found = pretrained.try_to_load_from_cache
    monkeypatch.setattr(pretrained, "try_to_load_from_cache", lambda name, file: found(name, file, cache_dir=tmp_path))
    refuse_unreachable({"decoder.weights": ABSENT}, can_be_random=[])
    with pytest.raises(UserError, match="neither a folder nor in the local cache"):
        refuse_unreachable({"decoder.weights": f"{ABSENT}-either"}, can_be_random=[])


def test_a_hub_that_answers_is_left_to_the_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(HfApi, "model_info", lambda _self, name, timeout: asked.append(name))
    refuse_unreachable({"backbone.weights": ABSENT, "mllm.weights": f"{ABSENT}-either"}, can_be_random=[])
    assert asked == [ABSENT]


@pytest.mark.usefixtures("no_network")
def test_the_last_that_is_absent_is_told_before_the_first_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("weights were read")

    toys.make_toys(tmp_path / "toys")
    monkeypatch.setattr("vtok.backbone.clip.load", refuse)
    with pytest.raises(UserError, match=rf"^decoder\.weights={ABSENT}: neither"):
        build_model(compose(["recipe=paper_tiny", f"outputs={tmp_path}", f"decoder.weights={ABSENT}"]))
