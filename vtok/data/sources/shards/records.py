"""The JSON of a clip in a shard, and its row in the index."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from vtok.common.foreign_files import parse_json, printable
from vtok.data.clip import Clip, Question, Span, category_of
from vtok.data.sources.annotations import SPLIT_NAMES, caption_of, excerpt, group_of, range_of, replace_surrogates
from vtok.data.sources.base import Split
from vtok.data.video.common import BadVideoError

QUESTION = ("category", "kind", "text", "answer", "choices")


class SplitClip(NamedTuple):
    """A clip with its split.

    Attributes:
        clip: the clip.
        split: given split; None: `rank` decides.
        rank: hash in [0, 1), see `DataSource.split_rank`; None: the clip keeps its given split.
    """

    clip: Clip
    split: Split | None
    rank: float | None


class MemberRange(NamedTuple):
    """The bytes of a clip: number of the shard, name of the member, and `offset`, `size` and `frames` of a `Span`."""

    shard: int
    member: str
    offset: int
    size: int
    frames: bool


def to_sidecar(placed: Sequence[SplitClip]) -> bytes:
    """The JSON beside a video: `clips`, from which the index can be rebuilt, and one caption for other tools."""
    captions = [one.clip.caption for one in placed if one.clip.caption]
    clips = [
        {
            "id": clip.id,
            "caption": clip.caption,
            "questions": [asdict(question) for question in clip.questions],
            "attributes": clip.attributes,
            "start": clip.start,
            "end": clip.end,
            "group": clip.group,
            "unseen": clip.unseen,
            "split": split,
            "rank": rank,
        }
        for clip, split, rank in placed
    ]
    return json.dumps({"caption": captions[0] if captions else "", "clips": clips}).encode()


def from_sidecar(records: Any, path: Path) -> list[SplitClip]:
    """The clips in a JSON of `to_sidecar`; raises ValueError, TypeError or KeyError for any other JSON."""
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
            group=group_of(given),
            unseen=given.get("unseen") is True,
        )
        written = SPLIT_NAMES[given["split"]] if "split" in given else None
        rank = float(given["rank"]) if written is None or "rank" in given else None
        found.append(SplitClip(clip, written, rank))
    return found


def to_row(placed: SplitClip, place: MemberRange) -> dict[str, Any]:
    """A row of the index."""
    clip = placed.clip
    return {
        "id": printable(clip.id),
        **place._asdict(),
        "caption": None if clip.caption is None else replace_surrogates(clip.caption),
        "questions": json.dumps([asdict(question) for question in clip.questions]) if clip.questions else None,
        "attributes": json.dumps(clip.attributes) if clip.attributes else None,
        "start": clip.start,
        "end": clip.end,
        "group": None if clip.group is None else printable(clip.group),
        "unseen": clip.unseen,
        "split": placed.split,
        "rank": placed.rank,
        "bad": None,
    }


def bad_row(name: str, *, shard: int, member: str, reason: str) -> dict[str, Any]:
    """A row for data that cannot be used; `name` is its id."""
    where = {"shard": shard, "member": printable(member), "offset": 0, "size": 0, "frames": False}
    return {"id": printable(name), **where, "bad": printable(reason)}


def to_clip(row: Mapping[str, Any], *, url: str, path: Path) -> Clip:
    """The clip of a row of the index.

    Args:
        row: row by column name.
        url: path or URL of the shard.
        path: name of the clip for messages.

    Raises:
        BadVideoError: the questions or attributes do not have the format of `to_row`.
    """
    try:
        questions = _questions(parse_json(row["questions"] or "[]"))
        attributes = {str(name): str(value) for name, value in parse_json(row["attributes"] or "{}").items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadVideoError(path, f"its row of the index is damaged ({type(error).__name__}: {error})") from error
    return Clip(
        id=row["id"],
        path=path,
        caption=row["caption"],
        questions=questions,
        attributes=attributes,
        start=row["start"] or 0.0,
        end=row["end"],
        group=row["group"],
        unseen=bool(row["unseen"]),
        span=Span(url, row["offset"], row["size"], row["frames"]),
    )


def _questions(records: Any) -> tuple[Question, ...]:
    """Questions from their `asdict`; raises ValueError, TypeError or KeyError for any other data."""
    return tuple(_question(*(record[name] for name in QUESTION)) for record in records)


def _question(category: Any, kind: Any, text: Any, answer: Any, choices: Any) -> Question:
    if not all(isinstance(one, str) for one in (category, kind, text, answer, *choices)) or isinstance(choices, str):
        raise TypeError("a question has fields that are not text")
    fits = {"open": not choices, "yes_no": tuple(choices) == ("yes", "no"), "choice": len(choices) > 1}
    if not fits.get(kind, False) or (choices and answer not in choices):
        raise ValueError(f"the choices of the question {excerpt(text)!r} do not fit its kind or its answer")
    return Question(category, kind, text, answer, tuple(choices))
