"""A trained run's configuration with overrides, without the model."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.config.declaration import declaration_of
from vtok.data import ClipSettings
from vtok.evaluation.cost.meter import FlopMeter
from vtok.inference import load as prepare
from vtok.model.build import build
from vtok.runs.folder import load_config, open_run


class NoModel:
    def place(self, device: str) -> "NoModel":
        return self

    def eval(self) -> "NoModel":
        return self


@pytest.fixture
def run_dir(tmp_path: Path, tiny_run: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run without weights; loading them is replaced."""
    monkeypatch.setattr(prepare, "latest_checkpoint", lambda run_dir: SimpleNamespace())
    monkeypatch.setattr(prepare, "build_model", lambda config: NoModel())
    monkeypatch.setattr(prepare, "load_weights", lambda checkpoint, model, averaged: None)
    return write_run(tmp_path, compose(tiny_run))


def write_run(tmp_path: Path, config: DictConfig) -> Path:
    open_run(tmp_path / "run", config, [])
    return tmp_path / "run"


def load(run_dir: Path, *overrides: str) -> DictConfig:
    return prepare.load_run(str(run_dir), outputs=str(run_dir), overrides=overrides)[1]


def edit(run_dir: Path, group: str, **keys: object) -> None:
    """Set keys of a group in config.yaml; None removes a key."""
    file = run_dir / "config.yaml"
    config = yaml.safe_load(file.read_text())
    for key, value in keys.items():
        config[group].pop(key, None)
        if value is not None:
            config[group][key] = value
    file.write_text(yaml.safe_dump(config))


def test_overrides_are_set(run_dir: Path) -> None:
    config = load(run_dir, "loader.batch_size=2", "evaluation.max_clips=null", "optimiser.lr=1e-4")
    assert (config.loader.batch_size, config.evaluation.max_clips, config.optimiser.lr) == (2, None, 1e-4)


def test_another_data_set_is_read_with_the_clip_settings_of_the_run(run_dir: Path, tmp_path: Path) -> None:
    config = load(run_dir, "data=folder", f"data.root={tmp_path}", "loader.batch_size=3")
    assert config.data._target_ == "vtok.data.FolderData"
    assert (config.data.root, config.loader.batch_size, config.clip.num_frames) == (str(tmp_path), 3, 12)
    assert config.clip.size == config.backbone.image_size
    assert build(config.data).clip == ClipSettings(size=64, num_frames=12)
    config = load(run_dir, "data=folder", f"data.root={tmp_path}", "clip.fps=4", "clip.num_frames=8")
    assert build(config.data).clip == ClipSettings(size=64, num_frames=8, fps=4.0)


def test_another_data_set_may_be_a_mixture(run_dir: Path, tmp_path: Path) -> None:
    sources = [f"+data@data.sources.{name}=folder" for name in "ab"]
    roots = [f"data.sources.{name}.root={tmp_path / name}" for name in "ab"]
    data = build(load(run_dir, "data=mixture", *sources, *roots, "data.sources.b.frames_fps=4", "clip.fps=3").data)
    assert [data.sources[name].root for name in "ab"] == [tmp_path / name for name in "ab"]
    assert [data.sources[name].frames_fps for name in "ab"] == [24, 4]
    for one in (data, *data.sources.values()):
        assert one.clip == ClipSettings(size=64, num_frames=12, fps=3.0)


@pytest.mark.parametrize(
    ("override", "start", "hint"),
    [
        ("loader.batch_size=abc", "loader.batch_size=abc", "an integer"),
        ("loader.batch_size=0", "loader.batch_size=0", ">= 1"),
        ("loader.batch_sise=2", "loader.batch_sise", "Did you mean loader.batch_size?"),
        ("sed=2", "sed", "Did you mean seed?"),
        ("seed=abc", "seed=abc", "an integer"),
        ("tokeniser.motion_pooling.sise=2", "tokeniser.motion_pooling.sise", "unknown key"),
        ("backbone=clip", "backbone=clip", "cannot be replaced, except data and generation/judge. Set data=folder"),
        ("data=folder", "data.root is required by data=folder", "Set data.root=PATH"),
        ("data=floder", "data=floder: unknown option", "Did you mean folder?"),
        ("tokeniser/motion_pooling=grid", "tokeniser/motion_pooling=grid", "cannot be replaced"),
        ("tokeniser.motion_pooling=grid", "tokeniser.motion_pooling=grid", "cannot be replaced"),
        ("data.root=[", "data.root=[", "in quotes"),
    ],
)
def test_a_mistaken_override_is_refused(run_dir: Path, override: str, start: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        load(run_dir, override)
    assert str(error.value).startswith(start)
    assert hint in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_run_whose_clips_were_deleted_is_loaded(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    write_run(tmp_path, compose(["data=folder", f"data.root={tmp_path / 'clips'}"]))
    shutil.rmtree(tmp_path / "clips")
    assert load(run_dir).data.root == str(tmp_path / "clips")


def test_a_key_that_a_run_does_not_know_yet_has_its_default(run_dir: Path) -> None:
    edit(run_dir, "loader", max_bad_fraction=None)
    assert (
        load_config(run_dir).loader.max_bad_fraction
        == declaration_of("vtok.data.LoaderSettings").settings["max_bad_fraction"].default
    )


def test_the_message_about_a_removed_key_names_the_run(run_dir: Path) -> None:
    edit(run_dir, "data", colour="red")
    with pytest.raises(UserError, match=rf"^run={run_dir}: .* data\.colour: unknown key"):
        load_config(run_dir)


def test_a_saved_config_is_the_composed_one(run_dir: Path, tiny_run: list[str]) -> None:
    loaded, composed = load_config(run_dir), compose(tiny_run)
    assert OmegaConf.to_container(loaded, resolve=True) == OmegaConf.to_container(composed, resolve=True)
    loaded.backbone.feature_dim = 24
    assert loaded.tokeniser.backbone.feature_dim == 24


def test_a_component_without_a_schema_stays_as_it_is(run_dir: Path) -> None:
    edit(run_dir, "tokeniser", _target_="torch.nn.Identity", mine=[1, 2])
    config = load_config(run_dir)
    assert config.tokeniser.mine == [1, 2]
    assert OmegaConf.is_interpolation(config.tokeniser, "backbone")


def test_a_budget_is_met_by_the_setting_that_it_changes(run_dir: Path, tmp_path: Path) -> None:
    # 16 + 2 tokens of 12 frames are those of strides 4 and 5.
    assert (load(run_dir).clip.num_frames, load(run_dir, "tokeniser.budget=18").tokeniser.stride) == (12, 5)
    with pytest.raises(UserError, match=r"tokeniser\.budget=1: no tokeniser\.stride makes this many tokens"):
        load(run_dir, "tokeniser.budget=1")
    elastic = write_run(tmp_path / "elastic", compose(["tokeniser=elastic", "tokeniser.train_tokens=[5,20]"]))
    tokeniser = load(elastic, "tokeniser.budget=11").tokeniser
    assert (tokeniser.num_tokens, tokeniser.budget, tokeniser.train_tokens) == (11, 11, [5, 20])


def test_a_budget_of_operations_is_met_by_the_setting_that_costs_as_much(run_dir: Path, tmp_path: Path) -> None:
    elastic = write_run(tmp_path / "elastic", compose(["tokeniser=elastic"]))
    # Strides of 3 keep 4 of 12 frames; 3 tokens are one spatial one and two of motion.
    for run, key, tokens in ((run_dir, "stride", 19), (elastic, "num_tokens", 3)):
        cost = FlopMeter(load(run), key).cost(3)
        tokeniser = load(run, f"tokeniser.budget={cost:.9f}GFLOP").tokeniser
        assert (tokeniser[key], tokeniser.budget) == (3, tokens)
