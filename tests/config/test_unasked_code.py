"""A package that is not allowed is never imported, wherever a configuration names it."""

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.config.check import check
from vtok.config.compose import complete
from vtok.runs.folder import load_config

STRANGER = """\
from pathlib import Path
Path(__file__).with_name("it-was-run").touch()
globals()["Hidden"] = type("Hidden", (), {})
class Seen: ...
"""
PLACES = (
    "tokeniser", "backbone", "mllm", "decoder", "visual_head", "data", "optimiser", "scheduler", "trainer.parallel",
    "tokeniser.motion_pooling", "generation.judge", "data.sources.a", "data.sources.a.augmentation",
)  # fmt: skip


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stranger_lab.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def was_run(stranger: Path) -> bool:
    return "stranger_lab" in sys.modules or (stranger / "it-was-run").exists()


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    config = OmegaConf.create(
        OmegaConf.to_container(compose(["data=mixture", "+data@data.sources.a=shapes"]), resolve=True)
    )
    assert isinstance(config, DictConfig)
    return config


@pytest.mark.parametrize("place", PLACES)
def test_of_a_configuration(place: str, stranger: Path, composed: DictConfig) -> None:
    config = composed.copy()
    OmegaConf.update(config, f"{place}._target_", "stranger_lab.Hidden")
    (stranger / "config.yaml").write_text(OmegaConf.to_yaml(config))
    for take in (lambda: check(load_config(stranger)), lambda: complete(config.copy())):
        with pytest.raises(UserError, match=r"stranger_lab"):
            take()
        assert not was_run(stranger)


@pytest.mark.parametrize(("verb", "name"), [(["validate"], "Seen"), (["train"], "Hidden"), (["train", "-m"], "Hidden")])
def test_of_a_folder_of_options(verb: list[str], name: str, stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for group in ("tokeniser", "data"):
        (stranger / "conf" / group).mkdir(parents=True)
        (stranger / "conf" / group / "theirs.yaml").write_text(f"_target_: stranger_lab.{name}\n")
        choice = f"{group}=theirs,theirs" if "-m" in verb else f"{group}=theirs"
        assert main([*verb, f"hydra.searchpath=[file://{stranger / 'conf'}]", choice]) == 1
        assert "the package stranger_lab is not trusted" in capsys.readouterr().err
        assert not was_run(stranger)
