"""Every option composes, and its shapes are known before weights are loaded."""

import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import get_scheduler
from transformers.trainer_utils import SchedulerType

from vtok.common.errors import UserError
from vtok.common.paths import conf_dir, experiments_dir, toys_dir
from vtok.config import check, compose
from vtok.config.compose import groups, options_of
from vtok.config.declaration import declaration_of
from vtok.config.nodes import feature_shape, planner_of
from vtok.config.values import literal_values
from vtok.data.sources.shapes.scene import FAMILIES, LEVELS
from vtok.model.build import build
from vtok.training.schedule import Name

CHOICES = [(group, option) for group in groups() for option in options_of(group)]
DEBUG = sorted(file.stem for file in (conf_dir() / "debug").glob("*.yaml"))


def needs(group: str, option: str, folder: Path) -> list[str]:
    settings = {
        ("data", "folder"): [f"data.root={folder}"],
        ("data", "shards"): [f"data.root={folder}"],
        ("data", "videos"): [f"data.root={folder}"],
        ("data", "twins"): [f"data.source.root={folder}"],
        ("data", "mixture"): ["+data@data.sources.own=folder", f"data.sources.own.root={folder}"],
        ("mllm", "llava_next"): ["backbone=clip", "backbone.layer=-2"],
    }
    return settings.get((group, option), [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "index.arrow").touch()
    return tmp_path


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_every_option_composes_and_validates(
    group: str, option: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if every package were installed.
    monkeypatch.setattr(sys.modules["vtok.config.check"], "find_spec", lambda name: name)
    check(compose([f"{group}={option}", *needs(group, option, folder)]))


@pytest.mark.parametrize("debug", DEBUG)
@pytest.mark.parametrize("data", ["shapes", "folder", "shards", "mixture", "twins"])
def test_every_debug_mode_composes(debug: str, data: str, folder: Path) -> None:
    check(compose([f"debug={debug}", f"data={data}", *needs("data", data, folder)]))


@pytest.mark.parametrize("recipe", options_of("recipe"))
def test_every_recipe_composes(recipe: str, tmp_path: Path) -> None:
    for name in ("clip", "llava_next", "hunyuan_video"):
        (toys_dir(str(tmp_path)) / name).mkdir(parents=True)
    own = [f"data.source.root={tmp_path}"] if recipe == "real" else []
    check(compose([f"recipe={recipe}", f"outputs={tmp_path}", *own]))


@pytest.mark.parametrize("sweep", options_of("sweep"))
def test_every_sweep_composes_and_states_its_hypothesis(sweep: str) -> None:
    check(compose([f"sweep={sweep}"]))
    header = (experiments_dir() / "sweep" / f"{sweep}.yaml").read_text()
    words = ("Hypothesis", "Cost", "Expected direction", f"python train.py sweep={sweep}")
    assert all(word in header for word in words)


@pytest.mark.parametrize("option", options_of("tokeniser"))
@pytest.mark.parametrize("key_frame", ["first", "medoid"])
def test_the_plan_is_the_tokenisers_before_it_is_built(option: str, key_frame: str) -> None:
    wanted = {"stride": 5, "grid_size": 3, "key_frame": key_frame}
    known = compose([f"tokeniser={option}"]).tokeniser
    settings = [f"tokeniser.{key}={value}" for key, value in wanted.items() if key in known]
    config = compose([f"tokeniser={option}", *settings, "backbone.width=8"])
    assert planner_of(config) == build(config.tokeniser).planner


@pytest.mark.parametrize(
    "backbone",
    [
        ["backbone=tiny", "backbone.image_size=48"],
        ["backbone=vgg19", "backbone.weights=null", "backbone.image_size=64"],
        ["backbone=vgg19", "backbone.weights=null", "backbone.image_size=64", "backbone.layer=pool3"],
        ["backbone=vgg19", "backbone.weights=null", "backbone.image_size=64", "backbone.layer=relu2_1"],
    ],
    ids=" ".join,
)
def test_a_backbone_knows_its_feature_map_before_it_is_built(backbone: list[str]) -> None:
    config = compose(backbone)
    shape, built = feature_shape(config), build(config.backbone)
    assert shape is not None
    assert (shape.size, shape.channels) == (built.feature_size, built.feature_dim)


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        (["backbone=clip"], 24),
        (["backbone=clip", "backbone.weights=some/other"], None),
        (["backbone=vision"], 16),
        (["backbone=vision", "backbone.image_size=null", "clip.size=518"], 37),
        (["backbone=vision", "backbone.weights=some/other"], None),
    ],
)
def test_the_features_of_published_backbones_are_known(overrides: list[str], size: int | None) -> None:
    shape = feature_shape(compose(overrides))
    assert (shape and (shape.size, shape.channels)) == (size and (size, 1024))


def test_sgd_without_momentum_has_no_nesterov() -> None:
    check(compose(["optimiser=sgd", "optimiser.momentum=0", "optimiser.nesterov=false"]))


@pytest.mark.parametrize("option", ["generation", "joint"])
def test_an_objective_that_makes_videos_brings_a_head_and_a_decoder_that_can_be_others(option: str) -> None:
    config = compose([f"objective={option}"])
    assert (config.visual_head._target_, config.decoder._target_) == (
        "vtok.visual_head.FlowHead",
        "vtok.decoder.TinyDecoder",
    )
    other = compose([f"objective={option}", "visual_head=mixture"])
    assert other.visual_head._target_ == "vtok.visual_head.MixtureHead"
    check(other)


def test_the_choices_of_synthetic_clips_are_those_of_the_scenes() -> None:
    settings = declaration_of("vtok.data.ShapesData").settings
    assert literal_values(settings["level"].type) == list(LEVELS)
    assert literal_values(settings["families"].type) == list(FAMILIES)


def test_schedule_names_are_those_of_transformers() -> None:
    alone = []
    for name in SchedulerType:
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        try:
            schedule = get_scheduler(name.value, optimizer=optimiser, num_warmup_steps=2, num_training_steps=10)
            optimiser.step()
            schedule.step()
        except (TypeError, ValueError):
            continue
        alone.append(name.value)
    assert sorted(get_args(Name)) == sorted(alone)


def test_composition_works_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(compose(["recipe=clip_frozen"]))


def test_a_users_own_component_is_checked_against_its_signature() -> None:
    own = ["~scheduler.name", "scheduler._target_=torch.optim.lr_scheduler.ConstantLR"]
    with pytest.raises(UserError):
        check(compose(own))
