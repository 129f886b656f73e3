"""Configurations of mixtures: what the sources take from the mixture, and mistakes."""

from collections.abc import Callable

import pytest
from omegaconf import OmegaConf

from vtok.config import check, compose
from vtok.config.compose import complete_saved
from vtok.config.mixture import limit_sources
from vtok.data import ClipSettings
from vtok.model.build import build

RECIPE = ["recipe=shapes_mixture"]
OWN = ["data=mixture", "+data@data.sources.own=folder", "data.sources.own.root=/nowhere"]


def test_the_sources_follow_the_mixture() -> None:
    said = ["clip.num_frames=12", "clip.decode_timeout=null", "clip.size=48", "clip.fps=5", "data.limit=9"]
    config = compose([*RECIPE, *said])
    check(config)
    clip = ClipSettings(size=48, num_frames=12, fps=5.0, decode_timeout=None)
    made = build(config.data)
    assert [one.clip for one in (made, *made.sources.values())] == [clip] * 3
    assert [source.limit for source in made.sources.values()] == [9, 9]


def test_a_source_has_a_smaller_limit_of_its_own() -> None:
    config = compose([*RECIPE, "data.limit=9", "data.sources.easy.limit=4"])
    assert [source.limit for source in config.data.sources.values()] == [4, 9]
    assert compose([*RECIPE, "data.limit=9", "data.sources.easy.limit=40"]).data.sources.easy.limit == 9


def test_recipe_and_command_line_compose_the_same() -> None:
    said = [
        "data=mixture", "+data@data.sources.easy=shapes", "+data@data.sources.hard=shapes",
        "data.sources.hard.level=hard", "data.sources.hard.train_clips=800", "data.sources.hard.validation_clips=100",
        "data.sources.hard.test_clips=200",
        "data.weights={easy:3,hard:1}",
    ]  # fmt: skip
    assert compose(said).data == compose(RECIPE).data
    made = build(compose(RECIPE).data)
    assert {name: source.level for name, source in made.sources.items()} == {"easy": "easy", "hard": "hard"}
    assert made.weights == {"easy": 3, "hard": 1}


def test_a_saved_configuration_is_checked_and_its_sources_follow_the_mixture() -> None:
    saved = OmegaConf.create(OmegaConf.to_container(compose([*RECIPE, "data.limit=4"]), resolve=True))
    saved.tokeniser.backbone = "${backbone}"
    again = complete_saved(saved)
    check(again)
    again.data.limit = 2
    limit_sources(again)
    assert again.data.sources.hard.limit == 2


MISTAKES = [
    (["data=mixture"], "data.sources: a mixture needs one source or more", "recipe=shapes_mixture"),
    ([*RECIPE, "data.sources.easy.num_frames=12"], "data.sources.easy.num_frames", "unknown key"),
    ([*RECIPE, "data.sources.easy.clip={size:3}"], "data.sources.easy.clip={size:3}", "Set clip.KEY=VALUE"),
    ([*RECIPE, "+data.sources.easy.levl=hard"], "data.sources.easy.levl", "Did you mean data.sources.easy.level?"),
    ([*RECIPE, "data.sources.easy.level=mid"], "data.sources.easy.level=mid", "easy, hard"),
    ([*RECIPE, "data.sources.easy.train_clips=0"], "data.sources.easy.train_clips=0", ">= 1"),
    ([*RECIPE, "data.sources.easy._target_=os.system"], "data.sources.easy._target_=os.system: this", "of data"),
    ([*RECIPE, "data.sources.easy.cache=x"], "data.sources.easy.cache=x", "vtok precompute"),
    (
        [*RECIPE, "data.cache=x", "backbone=clip", "data/augmentation@data.sources.hard.augmentation=standard"],
        "data.cache=x: data.sources.hard.augmentation.min_area=0.5",
        "Use data/augmentation@data.sources.hard.augmentation=none",
    ),
    ([*RECIPE, "data.sources.hard.augmentation.min_area=0"], "data.sources.hard.augmentation.min_area=0", "> 0"),
    ([*RECIPE, "+data.weights.esy=1"], "data.weights.esy", "Did you mean easy?"),
    ([*RECIPE, "data.weights.easy=0"], "data.weights.easy=0", "~data.sources.easy ~data.weights.easy"),
    ([*RECIPE, "data.weights.easy=-2"], "data.weights.easy=-2", "above 0"),
    ([*RECIPE, "data.weights.easy=much"], "data.weights={easy:much,hard:1}", "a mapping {NAME: a number}"),
    ([*RECIPE, "~data.weights.easy"], "data.weights: the source easy has no weight", "+data.weights.easy=NUMBER"),
    ([*RECIPE, "+data@data.sources.more=mixture"], "data.sources.more: a mixture cannot hold", "Add its sources"),
    ([*RECIPE, "data.train_clips=5"], "data.train_clips: unknown key", "weights"),
    ([*RECIPE, "data@data.sources.more=shapes"], "data@data.sources.more", "Use +data@data.sources.more=shapes"),
    ([*RECIPE, "objective=joint", "clip.fps=3"], "clip.fps=3", "clip.fps=null"),
    (OWN, "data.sources.own.root=/nowhere", "is not a folder. Use an existing folder"),
    ([*OWN, "objective=joint"], "generation/judge=oracle", "generation/judge=own"),
    ([*OWN, "data.weights.own=3"], "data.weights.own: data.weights is null", "{ONE:3,OTHER:1}"),
    ([*OWN, "data.weights=3"], "data.weights=3", "a mapping {NAME: a number} or null"),
    (["data=mixture", "+data.sources.own.root=a"], "data.sources.own: it is not a data set", "+data@data"),
    (["data=mixture", "+backbone@data.sources.own=clip"], "data.sources.own._target_=vtok", "of data"),
    (["+data@data.sources.own=folder"], "data.sources: unknown key.", "Use a key of data: root"),
    (["data=mixture", "+data@data.sources.own=folder"], "data.sources.own.root is required", "root=PATH"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "key", "hint"), MISTAKES, ids=[" ".join(case[0]) for case in MISTAKES])
def test_a_mistake_names_the_key_and_what_is_allowed(
    overrides: list[str], key: str, hint: str, is_refused: Callable[[list[str], str, str], None]
) -> None:
    is_refused(overrides, key, hint)
