"""Captions and questions as people write them down: text files, JSON beside a video, a row of a manifest."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtok.common.foreign_files import parse_json, parse_text, printable
from vtok.common.paths import LONGEST_NAME
from vtok.data.clip import Clip, Question, category_of
from vtok.data.sources.base import Split

SPLITS: dict[str, Split] = {
    "train": "train",
    "heldout": "heldout",
    "val": "heldout",
    "validation": "heldout",
    "test": "heldout",
}
VIDEO = ("video", "file", "path")
CHOICES = ("choices", "candidates", "options")
KNOWN = {*VIDEO, "caption", "question", "questions", "answer", "answers", *CHOICES, "category", "start", "end", "split"}
LONGEST = 1e9  # seconds, 30 years: what is later is no time in a video
LONGEST_PATH = 4095  # bytes
LONGEST_SHOWN = 100  # characters of what is wrong


def fields_of(record: Mapping[Any, Any]) -> dict[str, Any]:
    """What is written, by names in lower case; raises ValueError where one that we know is there twice."""
    fields: dict[str, Any] = {}
    for name, field in record.items():
        name = str(name).strip().lower()
        if name in fields and name in KNOWN:
            raise ValueError(f"it has two {name}")
        if not _is_blank(field):
            fields[name] = field
    return fields


def _is_blank(field: Any) -> bool:
    """Whether a row says nothing here; tables of numbers write NaN for it, and tables of lists an empty one."""
    return field is None or field == "" or field == [] or (isinstance(field, float) and math.isnan(field))


def shown(text: str) -> str:
    """A foreign text as a sentence quotes it: on one line, cut where it is long."""
    return printable(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...")


def parse_caption(content: bytes, name: str) -> str:
    """The text of the caption file `name`; raises ValueError where it is not UTF-8."""
    try:
        return parse_text(content).strip()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def parse_record(content: bytes, name: str) -> dict[str, Any]:
    """The object in the JSON file `name`, as `fields_of` gives it; raises ValueError where it is none."""
    try:
        record = parse_json(parse_text(content))
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
        return fields_of(record)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def clip_of(name: str, path: Path, fields: Mapping[str, Any]) -> Clip:
    """The clip that `fields` write of a file; `name` is its id, to which a range of seconds is added.

    Raises:
        ValueError: there is neither a caption nor a question, they do not make sense, or no file can have this name.
    """
    check_file_name(path)
    caption, questions, (start, end) = caption_of(fields), questions_of(fields), range_of(fields)
    if caption is None and not questions:
        raise ValueError("it has neither a caption nor a question")
    if start or end is not None:
        name = f"{name}@{start:.12g}-{'' if end is None else format(end, '.12g')}"
    return Clip(id=printable(name), path=path, caption=caption, questions=questions, start=start, end=end)


def check_file_name(path: Path) -> None:
    """Raise ValueError where no file can be called this."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError("its name holds characters that no file's name has") from None
    if b"\0" in name:
        raise ValueError("its name holds a NUL, which no file's name does")
    if len(name) > LONGEST_PATH or max(map(len, name.split(b"/"))) > LONGEST_NAME:
        raise ValueError(f"its name is longer than {LONGEST_NAME} bytes, or its path than {LONGEST_PATH}")


def caption_of(fields: Mapping[str, Any]) -> str | None:
    """The caption, None where there is none; raises ValueError where it is not text."""
    return _text(fields.get("caption", ""), "caption") or None


def range_of(fields: Mapping[str, Any]) -> tuple[float, float | None]:
    """(start, end) in seconds; raises ValueError where they are no range."""
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
    if not 0 <= seconds < LONGEST:
        raise ValueError(f"{name}={seconds:g} is not a number of seconds from 0 to {LONGEST:g}")
    return seconds


def questions_of(fields: Mapping[str, Any]) -> tuple[Question, ...]:
    """Questions from `question`, `answer`, `choices`, `category`, or from `questions` and `answers`.

    `questions` is a list of objects with those four names, or a list of texts with `answers`, `choices` and `category`
    beside it. Choices, which may also be called `candidates` or `options`, are a list, text with "|" between them, or
    an object of a text for each key; then an answer that is a key stands for that key's text.

    Raises:
        ValueError: an answer is missing, or is none of the choices, or a category is no name for metrics.
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
        raise ValueError(f"it has both {given[0]} and {given[1]}, which are two names of the same")
    return fields[given[0]] if given else None


def _question(asked: Any, answer: Any, choices: Any, category: Any) -> Question:
    text, answer = _text(asked or "", "question"), _word(answer, "answer")
    if not text or not answer:
        missing = "question has no text" if not text else f"question {shown(text)!r} has no answer"
        raise ValueError(f"a {missing}")
    options, answer = _options(choices, answer)
    skill = category_of(_text(category or "general", "category"))
    lower = [option.lower() for option in options]
    if answer.lower() in ("yes", "no") and (not options or sorted(lower) == ["no", "yes"]):
        return Question(skill, "yes_no", text, answer.lower(), ("yes", "no"))
    if not options:
        return Question(skill, "open", text, answer)
    if lower.count(answer.lower()) != 1 or len(options) < 2:
        raise ValueError(f"the answer {shown(answer)!r} is not one of the choices {shown(', '.join(options))}")
    return Question(skill, "choice", text, options[lower.index(answer.lower())], options)


def _options(choices: Any, answer: str) -> tuple[tuple[str, ...], str]:
    """The texts of the choices, and the answer as one of them where it is a key."""
    if choices is None or isinstance(choices, str):
        choices = [] if choices is None else choices.split("|")
    if isinstance(choices, Mapping):
        # Arrow gives each row the keys of all.
        texts = {str(key).strip(): _word(text, "choice") for key, text in choices.items() if text is not None}
        answer = texts.get(answer, answer)
        choices = list(texts.values())
    if not isinstance(choices, list | tuple):
        raise ValueError(f"choices has type {type(choices).__name__}; it must be a list, or text with | between them")
    return tuple(option for option in (_word(one, "choice") for one in choices) if option), answer


def _word(given: Any, name: str) -> str:
    """A text or a number as text; JSON's true and false are a yes and a no."""
    if isinstance(given, bool):
        return "yes" if given else "no"
    return _text(str(given) if isinstance(given, int | float) else given or "", name)


def _text(given: Any, name: str) -> str:
    """Text without spaces around it; raises ValueError where it is none."""
    if not isinstance(given, str):
        raise ValueError(f"{name} has type {type(given).__name__}; it must be text")
    return without_halves(given).strip()


def without_halves(text: str) -> str:
    """Text with a "?" for each half of a character, which JSON's escapes can write and no tokeniser and file takes."""
    return text.encode("utf-8", "replace").decode()
