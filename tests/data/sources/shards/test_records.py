"""What shards and their index keep of a clip."""

import json
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest

from vtok.data.clip import Clip, Question
from vtok.data.sources.shards.index import SCHEMA
from vtok.data.sources.shards.records import MemberRange, SplitClip, from_sidecar, to_clip, to_row, to_sidecar

CLIP = Clip(
    id="a@0.5-2",
    path=Path("a.mp4"),
    caption="a red ball",
    questions=(Question("colour", "choice", "Which colour?", "red", ("red", "blue")),),
    attributes={"colour": "red"},
    start=0.5,
    end=2.0,
    group="kitchen",
    unseen=True,
)
# They say where a clip is, or are given to it by the source that reads the shards.
NOT_KEPT = {"path", "span", "source", "playback", "footage"}


def through_sidecar(clip: Clip) -> Clip:
    clips = json.loads(to_sidecar([SplitClip(clip, "test", None)]))["clips"]
    return from_sidecar(clips, clip.path)[0].clip


def through_index(clip: Clip) -> Clip:
    place = MemberRange(shard=0, member="a.mp4", offset=0, size=1, frames=False)
    table = pa.Table.from_pylist([to_row(SplitClip(clip, "test", None), place)], schema=SCHEMA)
    return to_clip(table.to_pylist()[0], url="a.tar", path=clip.path)


@pytest.mark.parametrize("saved", [through_sidecar, through_index])
def test_a_clip_is_kept_field_by_field(saved) -> None:
    """A field that a clip gains must be kept, or named above."""
    found, plain = saved(CLIP), Clip(id="", path=Path())
    for name in {field.name for field in fields(Clip)} - NOT_KEPT:
        assert getattr(CLIP, name) != getattr(plain, name), f"{name} of the test's clip must not be its default"
        assert getattr(found, name) == getattr(CLIP, name), name
