"""Parses captions and questions: text files, JSON beside a video, rows of a manifest."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtok.common.foreign_files import parse_json, parse_text, printable
from vtok.common.paths import LONGEST_NAME
from vtok.data.clip import Clip, Question, category_of
from vtok.data.sources.base import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
VIDEO = ("video", "file", "path")
CHOICES = ("choices", "candidates", "options")
KNOWN = {
    *VIDEO, *CHOICES, "caption", "question", "questions", "answer", "answers", "category", "start", "end", "split",
    "group",
}  # fmt: skip
LATEST = 1e9  # seconds (30 years); later times in a video are mistakes
LONGEST_PATH = 4095  # bytes
LONGEST_EXCERPT = 100  # characters of a wrong text in a message


def fields_of(record: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of a record by name in lower case; raises ValueError if a known one occurs twice."""
    fields: dict[str, Any] = {}
    for name, field in record.items():
        name = str(name).strip().lower()
        if name in fields and name in KNOWN:
            raise ValueError(f"it has two fields {name}")
        if not _is_blank(field):
            fields[name] = field
    return fields


def _is_blank(field: Any) -> bool:
    """Whether a field is empty: tables write NaN in columns of numbers, and [] in columns of lists."""
    return field is None or field == "" or field == [] or (isinstance(field, float) and math.isnan(field))


def excerpt(text: str) -> str:
    """A text for use in a message: on one line and truncated."""
    return printable(text if len(text) <= LONGEST_EXCERPT else f"{text[:LONGEST_EXCERPT]}...")


def parse_caption(content: bytes, name: str) -> str:
    """The caption in the text file `name`; raises ValueError if it is not UTF-8."""
    try:
        return parse_text(content).strip()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def parse_record(content: bytes, name: str) -> dict[str, Any]:
    """The fields of the JSON file `name`, see `fields_of`; raises ValueError if it is not a JSON object."""
    try:
        record = parse_json(parse_text(content))
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
        return fields_of(record)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def clip_of(name: str, path: Path, fields: Mapping[str, Any], *, needs_text: bool = True) -> Clip:
    """The clip with these annotations.

    Args:
        name: id of the clip; a range of seconds is appended to it.
        path: video file or folder of frames.
        fields: annotations by name, see `fields_of`.
        needs_text: whether a clip needs a caption or a question.

    Raises:
        ValueError: there is no caption and no question but one is needed, an annotation is invalid, or the file's name
            is impossible.
    """
    check_file_name(path)
    caption, questions, (start, end) = caption_of(fields), questions_of(fields), range_of(fields)
    if needs_text and caption is None and not questions:
        raise ValueError("it has neither a caption nor a question")
    if start or end is not None:
        name = f"{name}@{start:.12g}-{'' if end is None else format(end, '.12g')}"
    return Clip(
        id=printable(name),
        path=path,
        caption=caption,
        questions=questions,
        start=start,
        end=end,
        group=group_of(fields),
    )


def check_file_name(path: Path) -> None:
    """Raise ValueError if no file can have this name."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError("its name holds characters that a file name cannot have") from None
    if b"\0" in name:
        raise ValueError("its name holds a NUL, which a file name cannot have")
    if len(name) > LONGEST_PATH or max(map(len, name.split(b"/"))) > LONGEST_NAME:
        raise ValueError(f"its name is longer than {LONGEST_NAME} bytes, or its path is longer than {LONGEST_PATH}")


def caption_of(fields: Mapping[str, Any]) -> str | None:
    """The caption; None if there is none. Raises ValueError if it is not text."""
    return _text(fields.get("caption", ""), "caption") or None


def group_of(fields: Mapping[str, Any]) -> str | None:
    """The group; None if there is none. Raises ValueError if it is not text or a number."""
    return _word(fields.get("group"), "group") or None


def range_of(fields: Mapping[str, Any]) -> tuple[float, float | None]:
    """(start, end) in seconds; raises ValueError if they are invalid."""
    start = _seconds(fields.get("start", 0.0), "start")
    end = _seconds(fields["end"], "end") if "end" in fields else None
    if end is not None and not start < end:
        raise ValueError(f"end={end:g} is not after start={start:g}")
    return start, end


def _seconds(given: Any, name: str) -> float:
    try:
        if isinstance(given, bool):
            raise TypeError
        seconds = float(given)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is not a number of seconds") from None
    if not 0 <= seconds < LATEST:
        raise ValueError(f"{name}={seconds:g} is not a number of seconds from 0 to {LATEST:g}")
    return seconds


def questions_of(fields: Mapping[str, Any]) -> tuple[Question, ...]:
    """Questions from the fields `question`, `answer`, `choices` and `category`, or from `questions` and `answers`.

    `questions` is a list of objects with those four fields, or a list of texts beside lists of `answers`, `choices` and
    `category`. Choices may also be called `candidates` or `options`. They are a list, a text with "|" between choices,
    or an object of texts by key; then the answer may be a key.

    Raises:
        ValueError: an answer is missing or not one of the choices, or a category cannot name a metric.
    """
    asked = fields.get("questions", fields.get("question"))
    if asked is None:
        return ()
    if isinstance(asked, Mapping):
        asked = [asked]
    choices, category = _choices_of(fields), fields.get("category")
    if not isinstance(asked, list):
        return (_question(asked, fields.get("answer", fields.get("answers")), choices, category),)
    if all(isinstance(one, Mapping) for one in asked):
        each = [fields_of(one) for one in asked]
        return tuple(
            _question(one.get("question", one.get("text")), one.get("answer"), _choices_of(one), one.get("category"))
            for one in each
        )
    answers = fields.get("answers", fields.get("answer"))
    if not isinstance(answers, list) or len(answers) != len(asked):
        raise ValueError(f"{len(asked)} questions need a list of {len(asked)} answers")
    own = isinstance(choices, list) and all(isinstance(one, list | Mapping) for one in choices)
    if own and len(choices) != len(asked):
        raise ValueError(f"{len(asked)} questions need {len(asked)} lists of choices, or one")
    categories = category if isinstance(category, list) and len(category) == len(asked) else [category] * len(asked)
    each_choices = choices if own else [choices] * len(asked)
    return tuple(_question(*one) for one in zip(asked, answers, each_choices, categories, strict=True))


def _choices_of(fields: Mapping[str, Any]) -> Any:
    given = [name for name in CHOICES if name in fields]
    if len(given) > 1:
        raise ValueError(f"it has both {given[0]} and {given[1]}, which mean the same; use one")
    return fields[given[0]] if given else None


def _question(asked: Any, answer: Any, choices: Any, category: Any) -> Question:
    text, answer = _text(asked or "", "question"), _word(answer, "answer")
    if not text or not answer:
        missing = "question has no text" if not text else f"question {excerpt(text)!r} has no answer"
        raise ValueError(f"a {missing}")
    options, answer = _options(choices, answer)
    skill = category_of(_text(category or "general", "category"))
    lower = [option.lower() for option in options]
    if answer.lower() in ("yes", "no") and (not options or sorted(lower) == ["no", "yes"]):
        return Question(skill, "yes_no", text, answer.lower(), ("yes", "no"))
    if not options:
        return Question(skill, "open", text, answer)
    if lower.count(answer.lower()) != 1 or len(options) < 2:
        raise ValueError(f"the answer {excerpt(answer)!r} is not one of the choices {excerpt(', '.join(options))}")
    return Question(skill, "choice", text, options[lower.index(answer.lower())], options)


def _options(choices: Any, answer: str) -> tuple[tuple[str, ...], str]:
    """The texts of the choices, and the text of the answer, which may be given by its key."""
    if choices is None or isinstance(choices, str):
        choices = [] if choices is None else choices.split("|")
    if isinstance(choices, Mapping):
        # In Arrow, each row has the keys of all rows.
        texts = {str(key).strip(): _word(text, "choice") for key, text in choices.items() if text is not None}
        answer = texts.get(answer, answer)
        choices = list(texts.values())
    if not isinstance(choices, list | tuple):
        raise ValueError(f"choices has type {type(choices).__name__}; use a list, or text with | between choices")
    return tuple(option for option in (_word(one, "choice") for one in choices) if option), answer


def _word(given: Any, name: str) -> str:
    """A text or number as text; JSON's true and false become "yes" and "no"."""
    if isinstance(given, bool):
        return "yes" if given else "no"
    return _text(str(given) if isinstance(given, int | float) else given or "", name)


def _text(given: Any, name: str) -> str:
    """Text without surrounding spaces; raises ValueError if it is not text."""
    if not isinstance(given, str):
        raise ValueError(f"{name} has type {type(given).__name__}; it must be text")
    return replace_surrogates(given).strip()


def replace_surrogates(text: str) -> str:
    """Text with "?" for unpaired surrogates, which JSON escapes allow but no tokeniser and no file accepts."""
    return text.encode("utf-8", "replace").decode()
