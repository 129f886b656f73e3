"""Reads manifests: jsonl, csv or parquet files that list videos with their annotations.

Errors of the file refuse the manifest: it cannot be parsed, a line has more or fewer cells than the header, a row has
no video, a video outside the root or an unknown split. Errors of a clip, such as a caption that is a list, leave out
that clip, which counts as broken.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from vtok.common.errors import UserError
from vtok.common.foreign_files import parse_json, read_lines, reason_of
from vtok.data.sources.annotations import KNOWN, SPLIT_NAMES, VIDEO, excerpt, fields_of
from vtok.data.sources.base import Split

K = TypeVar("K")
V = TypeVar("V")

COLUMNS = (
    "video (or file, or path), caption, question, answer, choices (or candidates, or options), category, start, end, "
    "split, group"
)


@dataclass(frozen=True)
class Row:
    """A row of a manifest: the video's path relative to the root, its annotations and its split."""

    video: str
    fields: Mapping[str, Any]
    split: Split | None


def read_manifest(manifest: Path) -> Iterator[Row]:
    """The rows of a jsonl, csv or parquet file. Column names are case-insensitive; unknown columns are ignored.

    Raises:
        UserError: the file cannot be read, or a row has no video, a video outside the root, or an unknown split.
    """
    for where, record in _records(manifest):
        try:
            fields = fields_of(record)
        except ValueError as error:
            raise UserError(f"{where}: {error}. Remove one.") from error
        video = next((fields[name] for name in VIDEO if name in fields), None)
        if not isinstance(video, str):
            raise UserError(f"{where} has no video. Use the columns {COLUMNS}.")
        relative = os.path.normpath(video.replace("\\", "/"))
        if os.path.isabs(relative) or relative.split(os.sep)[0] == "..":
            raise UserError(
                f"{where}: the video {excerpt(video)} is outside data.root. Write paths relative to data.root, without "
                "'..'."
            )
        split = fields.get("split", "train")
        split = split.strip().lower() if isinstance(split, str) else type(split).__name__
        if split not in SPLIT_NAMES:
            raise UserError(f"{where}: split={excerpt(split)} is unknown. Use {', '.join(SPLIT_NAMES)}.")
        yield Row(relative, fields, SPLIT_NAMES[split] if "split" in fields else None)


def completed(rows: list[Row], manifest: Path) -> list[Row]:
    """Give rows without a group that of their file's other rows, and rows without a split that of their group's.

    A row keeps none if those rows differ.

    Raises:
        UserError: a group has rows of two splits.
    """
    groups = _values_by((row.video, _group_name(row)) for row in rows)
    rows = [
        replace(row, fields={**row.fields, "group": group})
        if "group" not in row.fields and (group := _only(groups[row.video]))
        else row
        for row in rows
    ]
    splits: dict[str | Path, set[Split]] = _values_by((_cluster(row), row.split) for row in rows)
    for cluster, found in splits.items():
        if isinstance(cluster, str) and len(found) > 1:
            raise UserError(
                f"{manifest}: the group {excerpt(cluster)} has rows of the splits {' and '.join(sorted(found))}. A "
                "group must be in one split. Give its rows the same split, or rename the column if it holds no groups."
            )
    return [replace(row, split=row.split or _only(splits[_cluster(row)])) for row in rows]


def _group_name(row: Row) -> str | None:
    return str(row.fields["group"]).strip() or None if "group" in row.fields else None


def _cluster(row: Row) -> str | Path:
    """What the row must share its split with: its group, or its file if it has none."""
    return _group_name(row) or Path(row.video)


def _values_by(pairs: Iterable[tuple[K, V | None]]) -> dict[K, set[V]]:
    """The values of each key, without None."""
    values: dict[K, set[V]] = defaultdict(set)
    for key, value in pairs:
        values[key] |= set() if value is None else {value}
    return values


def _only(values: set[V]) -> V | None:
    return next(iter(values)) if len(values) == 1 else None


def _records(manifest: Path) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """(name of the row for messages, its fields) of each row."""
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
                raise UserError(f"{manifest} line {number}: {error}. Write one JSON object a line.") from error
            if not isinstance(record, dict):
                raise UserError(f"{manifest} line {number} is not a JSON object. Use the keys {COLUMNS}.")
            yield f"{manifest} line {number}", record


def _csv_records(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows by the names in the header, with the number of their first line."""
    # Excel on a Macintosh ends lines with \r alone, which `read_lines` does not split.
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
                    f"{manifest} line {number} has {len(row)} cells, but the header has {len(names)}. "
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
    # Columns may have no name, such as the index column of pandas.
    return [name or f"unnamed {number}" for number, name in enumerate(names)]


def _check_names(names: Iterable[str], manifest: Path) -> None:
    """Raise UserError if a table has no column of videos, or a known column twice."""
    known = [name for name in names if name in KNOWN]
    if twice := sorted({name for name in known if known.count(name) > 1}):
        raise UserError(f"{manifest} has two columns {twice[0]}. Rename or remove one.")
    if not set(known) & set(VIDEO):
        raise UserError(
            f"{manifest} has no column video, its columns are {excerpt(', '.join(names))}. Use {COLUMNS}, with commas "
            "between them."
        )


def _parquet_records(manifest: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(manifest) as table:
            names = table.schema_arrow.names
            _check_names([name.strip().lower() for name in names], manifest)
            # Do not read other columns, which may hold the videos themselves.
            columns = [name for name in names if name.strip().lower() in KNOWN]
            for batch in table.iter_batches(columns=columns):
                batch.validate(full=True)
                yield from batch.to_pylist()
    # Arrow raises many kinds of errors; OverflowError for dates that Python does not support.
    except (ArrowException, OSError, ValueError, OverflowError, NotImplementedError, MemoryError) as error:
        raise UserError(f"{manifest} is not a readable parquet file ({reason_of(error)}). Write it again.") from error
