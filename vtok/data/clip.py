"""What a data set is made of, before anything is decoded."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# What stands beside a category's metric, by the end of its name.
BESIDE = ("_low", "_high", "_chance", "_majority", "_questions", "_by_total", "_by_token", "_by_prior")


def category_of(name: str) -> str:
    """The category that questions are counted under, in lower case, `_` for what no metric's name may hold.

    Raises:
        ValueError: it would break or shadow the names of metrics.
    """
    category = re.sub(r"[^\w .:-]", "_", name.strip().lower())
    if not category.strip(".") or category.endswith(BESIDE):
        ends = ", ".join(BESIDE)
        raise ValueError(f"the category {name!r} is not a name for metrics: use one that does not end in {ends}")
    return category


@dataclass(frozen=True)
class Question:
    """A question about a clip with its true answer.

    `kind` is "choice" (the answer is one of `choices`), "yes_no" (choices are ("yes", "no")) or "open" (no choices:
    used for training, not for multiple-choice evaluation). `category` is the skill it asks for, for example "colour".
    """

    category: str
    kind: Literal["choice", "yes_no", "open"]
    text: str
    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """Where a clip lies within a larger file, such as a tar shard: bytes offset to offset + size of a path or URL.

    `frames`: the bytes are members of a tar archive, a clip's images, instead of one video file.
    """

    url: str
    offset: int
    size: int
    frames: bool = False


@dataclass(frozen=True)
class Clip:
    """One clip: a video file or a folder of frames, and what is known of it.

    `id` is unique within its data set and stable between runs; of a mixture of data sets `source` says which it is of,
    and is empty elsewhere. With a `span`, `path` only names what is read: the
    shard, and the member within. `start` and `end` are seconds in the file; `end` None
    means to the end of the file. `attributes` holds the truth by category where the data set knows it (for example
    {"colour": "red"}), to score free-form captions.
    """

    id: str
    path: Path
    caption: str | None = None
    questions: tuple[Question, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    start: float = 0.0
    end: float | None = None
    span: Span | None = None
    source: str = ""
