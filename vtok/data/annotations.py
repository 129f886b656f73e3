"""Captions and questions as people write them down: text files, JSON beside a video, the rows of a manifest."""

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from vtok.data.clip import Clip, Question, category_of
from vtok.data.source import Split
from vtok.errors import UserError

SPLITS: dict[str, Split] = {
    "train": "train",
    "heldout": "heldout",
    "val": "heldout",
    "validation": "heldout",
    "test": "heldout",
}
COLUMNS = "video (or file, or path), caption, question, answer, choices, category, start, end, split"


@dataclass(frozen=True)
class Row:
    """A row of a manifest: the video's path relative to the root, and what is written about it."""

    video: str
    fields: Mapping[str, Any]
    split: Split | None


def read_manifest(manifest: Path) -> Iterator[Row]:
    """The rows of a jsonl, csv or parquet file; names of columns in any case, columns we do not know are left alone.

    Raises:
        UserError: the file cannot be read, or a row names no video, a video outside of the root, or an unknown split.
    """
    for where, record in _records(manifest):
        fields = {str(name).strip().lower(): field for name, field in record.items() if not _is_blank(field)}
        video = next((fields[name] for name in ("video", "file", "path") if name in fields), None)
        if not isinstance(video, str):
            raise UserError(f"{where} names no video; columns are {COLUMNS}.")
        relative = os.path.normpath(video.replace("\\", "/"))
        if os.path.isabs(relative) or relative.split(os.sep)[0] == "..":
            raise UserError(
                f"{where}: the video {video} lies outside of data.root; write paths relative to it, without '..'."
            )
        split = str(fields.get("split", "train")).strip().lower()
        if split not in SPLITS:
            raise UserError(f"{where}: split={split}; allowed are {', '.join(SPLITS)}.")
        yield Row(relative, fields, SPLITS[split] if "split" in fields else None)


def _is_blank(field: Any) -> bool:
    """Whether a row says nothing here; tables of numbers write NaN for it, and tables of lists an empty one."""
    return field is None or field == "" or field == [] or (isinstance(field, float) and math.isnan(field))


def _records(manifest: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        if manifest.suffix.lower() == ".parquet":
            from pyarrow.parquet import ParquetFile

            with ParquetFile(manifest) as table:
                records = chain.from_iterable(batch.to_pylist() for batch in table.iter_batches())
                for number, record in enumerate(records, start=1):
                    yield f"{manifest} row {number}", record
            return
        with open(manifest, encoding="utf-8-sig", newline="") as lines:
            if manifest.suffix.lower() == ".csv":
                for number, record in enumerate(csv.DictReader(lines), start=2):
                    yield f"{manifest} row {number}", record
                return
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise UserError(f"{manifest} line {number} is not a JSON object; columns are {COLUMNS}.")
                    yield f"{manifest} line {number}", record
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"data.manifest: {manifest} cannot be read after line {number}: {error}.") from error


def parse_caption(content: bytes, name: str) -> str:
    """The text of the caption file `name`; raises ValueError where it is not UTF-8."""
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text") from None


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    """The object in the JSON file `name`, its keys in lower case; raises ValueError where it is none."""
    try:
        record = json.loads(parse_caption(content, name))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError(f"{name} holds no JSON object")
    return {str(name).strip().lower(): field for name, field in record.items() if field is not None}


def clip_of(name: str, path: Path, fields: Mapping[str, Any]) -> Clip:
    """The clip that `fields` write of a file; `name` is its id, to which a range of seconds is added.

    Raises:
        ValueError, TypeError: there is neither a caption nor a question, or they do not make sense.
    """
    caption, questions, (start, end) = caption_of(fields), questions_of(fields), range_of(fields)
    if caption is None and not questions:
        raise ValueError("it has neither a caption nor a question")
    if start or end is not None:
        name = f"{name}@{start:g}-{'' if end is None else format(end, 'g')}"
    return Clip(id=name, path=path, caption=caption, questions=questions, start=start, end=end)


def caption_of(fields: Mapping[str, Any]) -> str | None:
    """The caption, None where there is none; raises ValueError where it is not text."""
    caption = fields.get("caption", "")
    if not isinstance(caption, str):
        raise ValueError(f"the caption {caption!r} is not text")
    return caption.strip() or None


def range_of(fields: Mapping[str, Any]) -> tuple[float, float | None]:
    """(start, end) in seconds; raises ValueError where they are no range."""
    start = float(fields.get("start", 0.0))
    end = float(fields["end"]) if "end" in fields else None
    if not 0 <= start < math.inf or (end is not None and not start < end < math.inf):
        raise ValueError(f"start={start} and end={end} are no range of seconds")
    return start, end


def questions_of(fields: Mapping[str, Any]) -> tuple[Question, ...]:
    """Questions from `question`, `answer`, `choices`, `category`, or from `questions` and `answers`.

    `questions` is a list of objects with those four names, or a list of texts with `answers`, `choices` and `category`
    beside it; choices are a list, or text with "|" between them.

    Raises:
        ValueError: an answer is missing, or is none of the choices, or a category is no name for metrics.
    """
    asked = fields.get("questions", fields.get("question"))
    if asked is None:
        return ()
    if not isinstance(asked, list):
        return (
            _question(
                asked, fields.get("answer", fields.get("answers")), fields.get("choices"), fields.get("category")
            ),
        )
    if all(isinstance(one, Mapping) for one in asked):
        return tuple(
            _question(one.get("question", one.get("text")), one.get("answer"), one.get("choices"), one.get("category"))
            for one in asked
        )
    answers = fields.get("answers", fields.get("answer"))
    if not isinstance(answers, list) or len(answers) != len(asked):
        raise ValueError(f"{len(asked)} questions need a list of {len(asked)} answers")
    choices, category = fields.get("choices"), fields.get("category")
    if not (isinstance(choices, list) and len(choices) == len(asked) and all(isinstance(one, list) for one in choices)):
        choices = [choices] * len(asked)
    categories = category if isinstance(category, list) and len(category) == len(asked) else [category] * len(asked)
    return tuple(_question(*one) for one in zip(asked, answers, choices, categories, strict=True))


def _question(text: Any, answer: Any, choices: Sequence[Any] | str | None, category: Any) -> Question:
    text, answer = str(text or "").strip(), _word(answer)
    if not text or not answer:
        raise ValueError(f"the question {text!r} has the answer {answer!r}, and needs both")
    names = choices.split("|") if isinstance(choices, str) else choices or ()
    options = tuple(option for option in map(_word, names) if option)
    skill = category_of(str(category or "general"))
    lower = [option.lower() for option in options]
    if answer.lower() in ("yes", "no") and (not options or sorted(lower) == ["no", "yes"]):
        return Question(skill, "yes_no", text, answer.lower(), ("yes", "no"))
    if not options:
        return Question(skill, "open", text, answer)
    if lower.count(answer.lower()) != 1 or len(options) < 2:
        raise ValueError(f"the answer {answer!r} is not one of the choices {', '.join(options)}")
    return Question(skill, "choice", text, options[lower.index(answer.lower())], options)


def _word(given: Any) -> str:
    """Text of an answer; JSON's true and false are a yes and a no."""
    if isinstance(given, bool):
        return "yes" if given else "no"
    return "" if given is None else str(given).strip()
