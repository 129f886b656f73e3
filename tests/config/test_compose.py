"""Every option composes, every schema fits its target, and what does not fit is told."""

import inspect
import sys
from dataclasses import fields
from inspect import isclass
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import get_object
from omegaconf import MISSING
from transformers import get_scheduler
from transformers.trainer_utils import SchedulerType

from vtok.backbone.vgg19 import layer_names
from vtok.build import build
from vtok.config import check, compose
from vtok.config.compose import options_of
from vtok.config.nodes import feature_size, planner_of, token_dim
from vtok.config.ranges import CHOICES as CHOICES_OF
from vtok.config.ranges import SCHEDULES
from vtok.config.schemas import OPTIONS, ShapesData
from vtok.config.schemas.backbone import VGG19_LAYERS
from vtok.data.shapes.scene import FAMILIES, LEVELS
from vtok.errors import UserError
from vtok.paths import conf_dir, experiments_dir, toys_dir

CHOICES = [(group, option) for group, options in OPTIONS.items() for option in options]
DEBUG = sorted(file.stem for file in (conf_dir() / "debug").glob("*.yaml"))


def needs(group: str, option: str, folder: Path) -> list[str]:
    settings = {
        ("data", "folder"): [f"data.root={folder}"],
        ("data", "shards"): [f"data.root={folder}"],
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


def test_every_option_has_a_file_and_every_file_a_schema() -> None:
    for group, options in OPTIONS.items():
        assert options_of(group) == sorted(options)


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_a_schema_has_the_keys_and_defaults_of_its_target(group: str, option: str) -> None:
    schema = OPTIONS[group][option]()
    target = get_object(schema._target_)
    parameters = inspect.signature(target).parameters if "__init__" in vars(target) or not isclass(target) else {}
    keys = {key for key in vars(schema) if not key.startswith("_")}
    assert keys <= set(parameters)
    if not schema._target_.startswith("vtok"):
        return
    if not hasattr(schema, "_partial_"):
        assert keys == set(parameters)
    for key in keys:
        default, here = parameters[key].default, getattr(schema, key)
        # OmegaConf knows no tuples.
        here = tuple(here) if isinstance(here, list) else here
        assert default is inspect.Parameter.empty or here in (default, MISSING), key


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_an_options_file_has_every_key_of_its_schema(group: str, option: str) -> None:
    written = yaml.safe_load((conf_dir() / group / f"{option}.yaml").read_text())
    chosen = {next(iter(item)) for item in written["defaults"] if isinstance(item, dict)}
    own = chosen & {"motion_pooling", "judge", "augmentation", "parallel"}
    # An option that chooses others beside itself is written from the root.
    keys = set(written.get(group, written)) - {"defaults"}
    assert {field.name for field in fields(OPTIONS[group][option])} == keys | own


@pytest.mark.parametrize("debug", DEBUG)
@pytest.mark.parametrize("data", ["shapes", "folder", "shards", "mixture"])
def test_every_debug_mode_composes(debug: str, data: str, folder: Path) -> None:
    check(compose([f"debug={debug}", f"data={data}", *needs("data", data, folder)]))


@pytest.mark.parametrize("recipe", options_of("recipe"))
def test_every_recipe_composes(recipe: str, tmp_path: Path) -> None:
    for name in ("clip", "llava_next", "hunyuan_video"):
        (toys_dir(str(tmp_path)) / name).mkdir(parents=True)
    check(compose([f"recipe={recipe}", f"outputs={tmp_path}"]))


@pytest.mark.parametrize("sweep", options_of("sweep"))
def test_every_sweep_composes_and_says_what_it_is_for(sweep: str) -> None:
    check(compose([f"sweep={sweep}"]))
    header = (experiments_dir() / "sweep" / f"{sweep}.yaml").read_text()
    words = ("Hypothesis", "Cost", "Expected direction", f"python train.py sweep={sweep}")
    assert all(word in header for word in words)


@pytest.mark.parametrize("option", OPTIONS["tokeniser"])
@pytest.mark.parametrize("key_frame", ["first", "medoid"])
def test_a_tokenisers_schema_plans_as_the_tokeniser_does(option: str, key_frame: str) -> None:
    settings = [f"tokeniser={option}", "tokeniser.stride=5", "tokeniser.grid_size=3", "backbone.width=8"]
    if "key_frame" in OPTIONS["tokeniser"][option].__dataclass_fields__:
        settings.append(f"tokeniser.key_frame={key_frame}")
    config = compose(settings)
    assert planner_of(config) == build(config.tokeniser).planner


@pytest.mark.parametrize(
    "backbone",
    [
        ["backbone=tiny", "backbone.image_size=48"],
        ["backbone=vgg19", "backbone.image_size=64"],
        ["backbone=vgg19", "backbone.image_size=64", "backbone.layer=pool3"],
        ["backbone=vgg19", "backbone.image_size=64", "backbone.layer=relu2_1"],
    ],
    ids=" ".join,
)
def test_a_backbones_schema_knows_its_feature_map(backbone: list[str]) -> None:
    config = compose(backbone)
    built = build(config.backbone)
    assert (feature_size(config), token_dim(config)) == (built.feature_size, built.feature_dim)


def test_clip_l_336_has_24_by_24_features() -> None:
    assert (feature_size(compose(["backbone=clip"])), token_dim(compose(["backbone=clip"]))) == (24, 1024)
    assert feature_size(compose(["backbone=clip", "backbone.weights=some/other"])) is None


def test_help_names_every_option() -> None:
    template = (conf_dir() / "help.txt").read_text()
    for group in [*OPTIONS, "debug"]:
        line = next(line for line in template.splitlines() if line.split()[:1] == [group])
        assert all(option in line.replace("*", "") for option in options_of(group)), group
    defaults = yaml.safe_load((conf_dir() / "config.yaml").read_text())["defaults"]
    for item in (item for item in defaults if isinstance(item, dict)):
        for group, option in item.items():
            if group in OPTIONS:
                assert f"{option}*" in template, group


def test_the_features_of_dinov2_l_are_known() -> None:
    assert feature_size(compose(["backbone=vision"])) == 16
    assert feature_size(compose(["backbone=vision", "backbone.image_size=null", "data.size=518"])) == 37
    assert feature_size(compose(["backbone=vision", "backbone.weights=some/other"])) is None


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


def test_the_choices_of_made_clips_are_those_of_the_scenes() -> None:
    assert CHOICES_OF[ShapesData] == {"level": LEVELS, "families": tuple(FAMILIES)}


def test_the_layers_of_vgg19_are_those_of_the_backbone() -> None:
    assert sorted(VGG19_LAYERS) == sorted(layer_names())


def test_the_schedules_are_those_that_transformers_makes_and_steps_by_name_alone() -> None:
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
    assert sorted(SCHEDULES) == sorted(alone)


def test_composition_works_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(compose(["recipe=clip_frozen"]))


def test_a_users_own_component_is_held_to_its_signature() -> None:
    own = ["~scheduler.name", "scheduler._target_=torch.optim.lr_scheduler.ConstantLR"]
    with pytest.raises(UserError):
        check(compose(own))
