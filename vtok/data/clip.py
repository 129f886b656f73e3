"""Clips and questions: the items of a data set before decoding."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vtok.data.playback import Playback

# Prefix of the metrics on validation clips; those on test clips have none.
VALIDATION = "validation/"
# Suffixes of the metrics that accompany a category's own metric.
METRIC_SUFFIXES = ("_low", "_high", "_chance", "_majority", "_questions", "_by_total", "_by_token", "_by_prior")


def category_of(name: str) -> str:
    """A name as a category of questions: in lower case, with `_` for characters that no metric's name may have.

    Raises:
        ValueError: metrics of this category would have invalid or ambiguous names.
    """
    category = re.sub(r"[^\w .:-]", "_", name.strip().lower())
    if not category.strip(".") or category.endswith(METRIC_SUFFIXES):
        ends = ", ".join(METRIC_SUFFIXES)
        raise ValueError(f"the category {name!r} cannot name a metric: use a name that does not end in {ends}")
    return category


@dataclass(frozen=True)
class Question:
    """A question about a clip with its true answer.

    Attributes:
        category: skill that the question tests, for example "colour".
        kind: "choice" (the answer is one of `choices`), "yes_no" (the choices are ("yes", "no")) or "open" (no choices;
            used for training, not for multiple-choice evaluation).
        text: the question.
        answer: the true answer.
        choices: possible answers.
    """

    category: str
    kind: Literal["choice", "yes_no", "open"]
    text: str
    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """The bytes of a clip within a larger file, such as a tar shard.

    Attributes:
        url: path or URL of the file.
        offset: position of the first byte.
        size: number of bytes.
        frames: whether the bytes are a tar archive of the clip's images, instead of a video file.
    """

    url: str
    offset: int
    size: int
    frames: bool = False


@dataclass(frozen=True)
class Clip:
    """A clip: a video file or a folder of frames, with its annotations.

    Attributes:
        id: name of the clip, unique within its data set and the same in every run.
        path: video file or folder; with a `span` only a name for messages, the shard and the member in it.
        caption: description of the clip; None: no caption.
        questions: questions with their true answers.
        attributes: true values by category, for example {"colour": "red"}, to score free-form captions.
        start: beginning of the clip in the file, in seconds.
        end: end of the clip in the file, in seconds; None: the end of the file.
        span: bytes of the clip within a larger file; None: the file at `path`.
        source: name of the clip's data set within a mixture, else "".
        group: name shared by clips that are not independent, such as their scene or lab; None: the clip's file.
        playback: how the clip is played; None: as it was filmed.
        footage: id of the original clip if this is an altered version; None: this is the original.
        unseen: whether its combination of attributes was kept out of training.
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
    group: str | None = None
    playback: Playback | None = None
    footage: str | None = None
    unseen: bool = False

    @property
    def cluster(self) -> str:
        """The group, or the file if there is none: answers about clips of one cluster are not independent."""
        return self.group or str(self.path)

    @property
    def label(self) -> str:
        """The path, with the id if the path does not contain it: a name for messages and counts, unique as the id."""
        path = str(self.path)
        return path if self.path.stem == self.id or path.endswith(self.id) else f"{path} ({self.id})"
