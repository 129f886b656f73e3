"""Answers: one row for every question that was asked about a clip. All accuracies and comparisons are made of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vtok.common.errors import UserError
from vtok.common.files import atomic_file

ANSWERS = "answers.parquet"


@dataclass(frozen=True)
class Answer:
    """A model's answer to one question about one clip.

    Attributes:
        clip: id of the clip.
        group: cluster of the clip, such as its scene or its file; answers of one group are not independent.
        source: data set of the clip in a mixture; empty if there is only one.
        category: what the question is about, such as "colour".
        kind: "choice", "yes_no", "caption", "reconstruct", "generate" or "control".
        question: text of the question, or the caption that a video was generated from.
        choices: possible answers; empty if they are unknown.
        total: log-likelihood of each choice in nats; empty if the answer was not chosen by likelihoods.
        token: log-likelihood of each choice divided by its number of tokens; empty as `total` is.
        prior: log-likelihood of each choice minus that without the video; empty as `total` is.
        answer: the model's answer.
        truth: the true answer.
        right: whether the answer is right.
        chance: probability of a right answer by random guessing; 0 if unknown.
    """

    clip: str
    group: str
    source: str
    category: str
    kind: str
    question: str
    choices: tuple[str, ...]
    total: tuple[float, ...]
    token: tuple[float, ...]
    prior: tuple[float, ...]
    answer: str
    truth: str
    right: bool
    chance: float


SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("clip", "group", "source", "category", "kind", "question")),
        ("choices", pa.list_(pa.string())),
        *((name, pa.list_(pa.float64())) for name in ("total", "token", "prior")),
        ("answer", pa.string()),
        ("truth", pa.string()),
        ("right", pa.bool_()),
        ("chance", pa.float64()),
    ]
)


def write_answers(answers: Sequence[Answer], path: Path) -> None:
    """Write answers as parquet, in their order."""
    table = pa.Table.from_pylist([asdict(answer) for answer in answers], schema=SCHEMA)
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_answers(path: Path) -> list[Answer]:
    """The answers of a file that `write_answers` wrote.

    Raises:
        UserError: the file does not exist, is broken, or has other columns.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. Evaluate the run again: vtok evaluate run={path.parent}.")
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}). Evaluate the run again.") from error
    lists = ("choices", "total", "token", "prior")
    return [Answer(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in table.to_pylist()]
