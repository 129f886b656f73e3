"""Configurations of twins: their source, and mistakes."""

import pytest

from vtok.common.errors import UserError
from vtok.config import check, compose
from vtok.config.nodes import data_nodes
from vtok.data import ClipSettings, MixtureData, ShapesData
from vtok.model.build import build

SHAPES = ["data=twins", "data@data.source=shapes"]
MIXTURE = ["data=twins", "data@data.source=mixture", "+data@data.source.sources.easy=shapes"]


def test_the_source_follows_the_twins() -> None:
    config = compose([*SHAPES, "clip.num_frames=12", "clip.size=48", "tokeniser.stride=4"])
    check(config)
    made = build(config.data)
    assert isinstance(made.source, ShapesData)
    assert made.clip == made.source.clip == ClipSettings(size=48, num_frames=12)


@pytest.mark.parametrize(
    "overrides",
    [["tokeniser.stride=14"], ["tokeniser.stride=29", "data.categories=[arrow,order]"], ["tokeniser=key_frame"]],
)
def test_few_planned_frames_that_show_the_difference(overrides: list[str]) -> None:
    check(compose([*SHAPES, *overrides]))


def test_the_source_can_be_a_mixture_with_a_limit() -> None:
    config = compose([*MIXTURE, "data.source.limit=3"])
    check(config)
    assert [path for path, _ in data_nodes(config)] == ["data", "data.source.sources.easy"]
    made = build(config.data)
    assert isinstance(made.source, MixtureData)
    assert made.source.sources["easy"].limit == 3


@pytest.mark.parametrize(
    ("overrides", "start", "way_out"),
    [
        (["data=twins"], "data.source.root is required by data=twins", "Set data.source.root=PATH"),
        (["data=twins", "data.source.root=/nowhere"], "data.source.root=/nowhere is not a folder", "Use an"),
        (["data=twins", "data.source=shapes"], "data.source=shapes: an option", "Use data@data.source=shapes"),
        ([*SHAPES, "data.categories=[arow]"], "data.categories=[arow]", "arrow"),
        ([*SHAPES, "data.window=1"], "data.window=1", "< 1"),
        ([*SHAPES, "data.source.num_frames=9"], "data.source.num_frames", "unknown key"),
        ([*SHAPES, "data.source.cache=x"], "data.source.cache=x", "data.cache=FOLDER"),
        ([*SHAPES, "data.source._target_=os.system"], "data.source._target_=os.system", "option of data"),
        ([*SHAPES, "tokeniser=codec_motion"], "tokeniser=codec_motion: the motion vectors", "Use another tokeniser"),
        (
            [*SHAPES, "tokeniser.stride=29"],
            "tokeniser.stride=29: 2 planned frames are too few",
            "Use 14 or less, or data",
        ),
        ([*SHAPES, "clip.num_frames=4", "tokeniser.stride=1"], "tokeniser.stride=1: 4 planned", "without speed"),
        (
            [*SHAPES, "tokeniser=elastic", "tokeniser.num_tokens=5", "tokeniser.train_tokens=[5]"],
            "data=twins: 2 planned",
            "that plans more frames",
        ),
        ([*SHAPES, "objective=joint", "generation/judge=oracle"], "generation/judge=oracle", "generation/judge=own"),
        ([*MIXTURE, "data.source.weights={easy:1}"], "data.source.weights", "data.source.weights=null"),
        (["data=twins", "data@data.source=twins"], "data.source: twins cannot be shown", "Use data@data.source=folder"),
        (
            ["data=mixture", "+data@data.sources.a=twins", "data.sources.a.source.root=."],
            "data.sources.a: a mixture cannot hold twins",
            "data=twins data@data.source=mixture",
        ),
        (
            [*SHAPES, "data.cache=x", "data/augmentation@data.source.augmentation=standard", "backbone=clip"],
            "data.cache=x: data.source.augmentation.min_area=0.5",
            "Use data/augmentation@data.source.augmentation=none",
        ),
    ],
)
def test_a_mistake_names_the_key_and_what_to_do(overrides: list[str], start: str, way_out: str) -> None:
    with pytest.raises(UserError) as error:
        check(compose(overrides))
    assert str(error.value).startswith(start)
    assert way_out in str(error.value)
