"""The rows of a manifest: a jsonl, csv or parquet file that lists videos and what is written about them.

What is wrong with a manifest as a file refuses it, with the line: it cannot be read as its kind, a line has more or
fewer cells than the header, a row names no video, one outside of the root, or an unknown split. What is wrong with one
clip, such as a caption that is a list, leaves out that clip, which counts as broken.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any

from vtok.common.errors import UserError
from vtok.common.foreign_files import parse_json, read_lines, reason_of
from vtok.data.sources.annotations import KNOWN, SPLITS, VIDEO, fields_of, shown
from vtok.data.sources.base import Split

COLUMNS = (
    "video (or file, or path), caption, question, answer, choices (or candidates, or options), category, start, end, "
    "split"
)


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
        try:
            fields = fields_of(record)
        except ValueError as error:
            raise UserError(f"{where}: {error}.") from error
        video = next((fields[name] for name in VIDEO if name in fields), None)
        if not isinstance(video, str):
            raise UserError(f"{where} names no video; columns are {COLUMNS}.")
        relative = os.path.normpath(video.replace("\\", "/"))
        if os.path.isabs(relative) or relative.split(os.sep)[0] == "..":
            raise UserError(
                f"{where}: the video {shown(video)} lies outside of data.root; write paths relative to it, without "
                "'..'."
            )
        split = fields.get("split", "train")
        split = split.strip().lower() if isinstance(split, str) else type(split).__name__
        if split not in SPLITS:
            raise UserError(f"{where}: split={shown(split)}; allowed are {', '.join(SPLITS)}.")
        yield Row(relative, fields, SPLITS[split] if "split" in fields else None)


def _records(manifest: Path) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """(where it stands, what is written) of each row."""
    if manifest.suffix.lower() == ".parquet":
        for number, record in enumerate(_parquet_records(manifest), start=1):
            yield f"{manifest} row {number}", record
        return
    if manifest.suffix.lower() == ".csv":
        for number, record in _csv_records(manifest):
            yield f"{manifest} line {number}", record
        return
    for number, line in enumerate(read_lines(manifest), start=1):
        if line.strip():
            try:
                record = parse_json(line)
            except ValueError as error:
                raise UserError(f"{manifest} line {number}: {error}.") from error
            if not isinstance(record, dict):
                raise UserError(f"{manifest} line {number} is not a JSON object; columns are {COLUMNS}.")
            yield f"{manifest} line {number}", record


def _csv_records(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows by the names in the header, each with the number of its first line."""
    # A line may hold several that end with \r alone, as of Excel on a Macintosh.
    lines = chain.from_iterable(StringIO(line, newline="") for line in read_lines(manifest))
    rows, first = csv.reader(lines, strict=True), 1
    names: list[str] | None = None
    try:
        for row in rows:
            number, first = first, rows.line_num + 1
            if not row:
                continue
            if names is None:
                names = _header(row, manifest)
                continue
            if len(row) != len(names):
                raise UserError(
                    f"{manifest} line {number} has {len(row)} cells, and the header has {len(names)}. "
                    'Write a cell with a comma or a line break in double quotes: "a dog, two cats".'
                )
            yield number, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{manifest} line {first} is not CSV ({error}). Write a double quote within quotes twice."
        ) from error


def _header(row: list[str], manifest: Path) -> list[str]:
    names = [name.strip().lower() for name in row]
    _check_names(names, manifest)
    # Columns may have no name, as the first one of pandas.
    return [name or f"unnamed {number}" for number, name in enumerate(names)]


def _check_names(names: Iterable[str], manifest: Path) -> None:
    """Raise UserError where the columns of a table name no video, or one of those that we know twice."""
    known = [name for name in names if name in KNOWN]
    if twice := sorted({name for name in known if known.count(name) > 1}):
        raise UserError(f"{manifest} has two columns {twice[0]}. Each must have a name of its own.")
    if not set(known) & set(VIDEO):
        raise UserError(
            f"{manifest} has no column video, its columns are {shown(', '.join(names))}. Columns are {COLUMNS}, with "
            "commas between them."
        )


def _parquet_records(manifest: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(manifest) as table:
            names = table.schema_arrow.names
            _check_names([name.strip().lower() for name in names], manifest)
            # Other columns may hold the videos themselves.
            columns = [name for name in names if name.strip().lower() in KNOWN]
            for batch in table.iter_batches(columns=columns):
                batch.validate(full=True)
                yield from batch.to_pylist()
    # Arrow's errors are of many kinds; dates that Python has not overflow.
    except (ArrowException, OSError, ValueError, OverflowError, NotImplementedError, MemoryError) as error:
        raise UserError(f"{manifest} is not a parquet file that can be read ({reason_of(error)}).") from error
