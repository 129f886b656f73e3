"""What is written of a clip beside its video in a shard, and as a row of the index."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from vtok.data.annotations import SPLITS, caption_of, range_of
from vtok.data.clip import Clip, Question, Span, category_of
from vtok.data.source import Split


class Placed(NamedTuple):
    """A clip with what decides its split.

    `split` is the one that is written down, None where `rank` decides: a hash of its file's name in [0, 1).
    """

    clip: Clip
    split: Split | None
    rank: float | None


class Place(NamedTuple):
    """Where the bytes of a clip are: the shard's number, the member's name, and the span of a `Span`."""

    shard: int
    member: str
    offset: int
    size: int
    frames: bool


def to_sidecar(placed: Sequence[Placed]) -> bytes:
    """The JSON beside a video: `clips`, from which an index is made again, and one caption for other tools."""
    captions = [one.clip.caption for one in placed if one.clip.caption]
    clips = [
        {
            "id": clip.id,
            "caption": clip.caption,
            "questions": [asdict(question) for question in clip.questions],
            "attributes": clip.attributes,
            "start": clip.start,
            "end": clip.end,
            "split": split,
            "rank": rank,
        }
        for clip, split, rank in placed
    ]
    return json.dumps({"caption": captions[0] if captions else "", "clips": clips}).encode()


def from_sidecar(records: Any, path: Path) -> list[Placed]:
    """The clips of a JSON that `to_sidecar` wrote; raises ValueError, TypeError or KeyError where it is another one."""
    found = []
    for record in records:
        given = {name: value for name, value in record.items() if value is not None}
        start, end = range_of(given)
        clip = Clip(
            id=str(record["id"]),
            path=path,
            caption=caption_of(given),
            questions=tuple(
                replace(one, category=category_of(one.category)) for one in _questions(record["questions"])
            ),
            attributes={category_of(str(name)): str(value) for name, value in record["attributes"].items()},
            start=start,
            end=end,
        )
        written = SPLITS[given["split"]] if "split" in given else None
        found.append(Placed(clip, written, float(given["rank"]) if written is None else None))
    return found


def to_row(placed: Placed, place: Place) -> dict[str, Any]:
    """A row of the index."""
    clip = placed.clip
    return {
        "id": plain(clip.id),
        **place._asdict(),
        "caption": None if clip.caption is None else plain(clip.caption),
        "questions": json.dumps([asdict(question) for question in clip.questions]) if clip.questions else None,
        "attributes": json.dumps(clip.attributes) if clip.attributes else None,
        "start": clip.start,
        "end": clip.end,
        "split": placed.split,
        "rank": placed.rank,
        "bad": None,
    }


def bad_row(name: str, *, shard: int, member: str, reason: str) -> dict[str, Any]:
    """A row of what cannot be used; `name` stands for the clip that it would have been."""
    where = {"shard": shard, "member": member, "offset": 0, "size": 0, "frames": False}
    return {"id": plain(name), **where, "bad": plain(reason)}


def plain(text: str) -> str:
    """Text that can be written as UTF-8; file names may hold bytes that are none."""
    return text.encode("utf-8", "replace").decode()


def to_clip(row: Mapping[str, Any], *, url: str, path: Path) -> Clip:
    """The clip of a row, in the shard at `url`."""
    return Clip(
        id=row["id"],
        path=path,
        caption=row["caption"],
        questions=_questions(json.loads(row["questions"] or "[]")),
        attributes=json.loads(row["attributes"] or "{}"),
        start=row["start"] or 0.0,
        end=row["end"],
        span=Span(url, row["offset"], row["size"], row["frames"]),
    )


def _questions(records: Sequence[Mapping[str, Any]]) -> tuple[Question, ...]:
    return tuple(
        Question(
            category=str(record["category"]),
            kind=record["kind"],
            text=str(record["text"]),
            answer=str(record["answer"]),
            choices=tuple(map(str, record["choices"])),
        )
        for record in records
    )
