"""A folder that is not trusted runs no code, and a broken one is reported in one line."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from vtok.backbone import VisionBackbone
from vtok.common.errors import UserError
from vtok.hub import from_pretrained, save_pretrained
from vtok.inference.load import load_run
from vtok.mllm import CausalLanguageModel
from vtok.runs.folder import load_config

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


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "vtok.cli.main.main", "vtok.backbone.TinyBackbone"])
def test_only_components_are_built(target: str, exported: Path) -> None:
    edit(exported, "tokeniser.motion_pooling._target_", target)
    with pytest.raises(UserError, match=rf"motion_pooling\._target_={re.escape(target)}: this is not a component"):
        from_pretrained(exported)


def test_a_target_instead_of_a_number_or_in_a_list_is_found(exported: Path) -> None:
    for value in ({"_target_": "os.getcwd"}, [{"_target_": "os.getcwd"}]):
        edit(exported, "tokeniser.key_frame", value)
        with pytest.raises(UserError, match=r"tokeniser\.key_frame=.*_target_:os\.getcwd.*: must be one of first"):
            from_pretrained(exported)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${oc.decode:'{_target_: os.getcwd}'}", "${backbone}"])
def test_references_are_not_followed(value: str, exported: Path) -> None:
    edit(exported, "tokeniser.motion_pooling", value)
    with pytest.raises(UserError, match=r"tokeniser\.motion_pooling=.*write no references"):
        from_pretrained(exported)


@pytest.mark.parametrize("marked", [True, False], ids=["exported", "without export.json"])
@pytest.mark.parametrize("place", ["mllm", "data", "generation.judge"])
def test_a_model_that_allows_its_own_code_is_not_run_by_commands(
    place: str, marked: bool, exported_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the folder is disguised as a run."""
    if not marked:
        (exported_model / "export.json").unlink()
        (exported_model / "checkpoints" / "step-00000001").mkdir(parents=True)
        (exported_model / "checkpoints" / "step-00000001" / "state.json").write_text("{}")
    (tmp_path / "stranger.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    edit(exported_model, "allowed_targets", ["vtok", "torch", "transformers", "stranger"])
    edit(exported_model, place, {"_target_": "stranger.Part"})
    with pytest.raises(UserError, match=rf"^{re.escape(place)}\._target_=stranger\.Part: the package stranger"):
        load_run(str(exported_model), outputs="none")
    assert not (tmp_path / "it-was-run").exists()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("config.yaml", "a: [", r"config\.yaml: it is not valid YAML"),
        ("config.yaml", "", r"config\.yaml: backbone is missing"),
        ("config.yaml", "[1]", r"config\.yaml: it is not a mapping"),
        ("config.yaml", "backbone: {}", r"config\.yaml: tokeniser is missing"),
        ("config.yaml", "{backbone: {}, tokeniser: {}}", r"backbone\._target_=None: must be the full name of a class"),
        ("export.json", "[", r"export\.json: it is not valid JSON"),
        ("export.json", "{}", r"export\.json: part=None"),
        ("export.json", '{"part": "soul"}', r"part=soul: must be one of tokeniser, model"),
    ],
)
def test_a_broken_folder_is_reported(name: str, text: str, sentence: str, exported: Path) -> None:
    (exported / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        from_pretrained(exported)


def test_a_run_folder_does_not_unpickle(
    usual_run: Path, faults_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`torch.load` as a target, which the folder's own list allows."""
    evil = shutil.copytree(usual_run, tmp_path / "evil")
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, str(faults_dir / "run_folder_code" / "make.py"), str(evil)], check=True)
    for verb in (
        lambda: load_run("evil", outputs="none"),
        lambda: save_pretrained(evil, tmp_path / "out", part="model"),
    ):
        with pytest.raises(UserError, match=r"^visual_head\._target_=torch\.load: this is not a component"):
            verb()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil"]


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "x${oc.decode:y}", "${backbone.width}"])
def test_references_in_a_run_folder_are_not_followed(value: str, usual_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(usual_run / "config.yaml", tmp_path / "run")
    edit(tmp_path / "run", "mllm.width", value)
    with pytest.raises(UserError, match=r"mllm\.width=.*: runs write no references"):
        load_config(tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "build"),
    [
        ("backbone.weights", lambda place: VisionBackbone(weights=place, image_size=32)),
        ("mllm.weights", lambda place: CausalLanguageModel(place)),
    ],
)
def test_code_beside_weights_is_not_run(key: str, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (tmp_path / "stranger.py").write_text(STRANGER)
    auto = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "stranger.Part")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "strange", "auto_map": auto}))
    with pytest.raises(UserError, match=rf"^{re.escape(key)}=.*contains custom code"):
        build(str(tmp_path))
    assert not (tmp_path / "it-was-run").exists()
