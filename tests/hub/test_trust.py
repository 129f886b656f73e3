"""A stranger's folder runs no code, and one that is broken is told of in a sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from vtok.commands.prepare import load_run
from vtok.errors import UserError
from vtok.hub import from_pretrained

STRANGER = """\
from pathlib import Path

Path(__file__).with_name("it-was-run").touch()


class Part:
    def __init__(self, **_):
        pass
"""


def edit(folder: Path, key: str, value: Any) -> None:
    config = OmegaConf.load(folder / "config.yaml")
    OmegaConf.update(config, key, value, merge=False)
    OmegaConf.save(config, folder / "config.yaml")


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "vtok.cli.main", "vtok.training.train"])
def test_only_components_are_built(target: str, exported: Path) -> None:
    edit(exported, "tokeniser.motion_pooling._target_", target)
    with pytest.raises(UserError, match=rf"motion_pooling\._target_={re.escape(target)}: it is no component"):
        from_pretrained(exported)


def test_a_target_in_the_place_of_a_number_or_in_a_list_is_seen(exported: Path) -> None:
    for value in ({"_target_": "os.getcwd"}, [{"_target_": "os.getcwd"}]):
        edit(exported, "tokeniser.key_frame", value)
        with pytest.raises(UserError, match=r"key_frame(\[0\])?\._target_=os\.getcwd: it is no component"):
            from_pretrained(exported)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${oc.decode:'{_target_: os.getcwd}'}", "${backbone}"])
def test_references_are_not_followed(value: str, exported: Path) -> None:
    edit(exported, "tokeniser.motion_pooling", value)
    with pytest.raises(UserError, match=r"tokeniser\.motion_pooling=.*vtok export writes no references"):
        from_pretrained(exported)


@pytest.mark.parametrize("place", ["mllm", "data", "generation.judge"])
def test_a_model_that_allows_its_own_code_is_not_run_by_commands(
    place: str, exported_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    edit(exported_model, "allowed_targets", ["vtok", "torch", "transformers", "stranger"])
    edit(exported_model, place, {"_target_": "stranger.Part"})
    with pytest.raises(UserError, match=rf"{re.escape(place)}\._target_=stranger\.Part: it is no component"):
        load_run(str(exported_model), outputs="none")
    assert not (tmp_path / "it-was-run").exists()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("config.yaml", "a: [", r"config\.yaml: it cannot be read"),
        ("config.yaml", "[1]", r"config\.yaml: it is of no tokeniser: backbone is missing"),
        ("config.yaml", "backbone: {}", r"config\.yaml: it is of no tokeniser: tokeniser is missing"),
        ("export.json", "[", r"export\.json: it cannot be read"),
        ("export.json", "{}", r"export\.json: it cannot be read"),
        ("export.json", '{"part": "soul"}', r"part=soul: known are tokeniser, model"),
    ],
)
def test_a_broken_folder_is_told_of(name: str, text: str, sentence: str, exported: Path) -> None:
    (exported / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        from_pretrained(exported)
