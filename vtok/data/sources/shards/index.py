"""The index of a set of shards: an Arrow file with one row a clip, memory-mapped and never loaded completely."""

import json
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from vtok.common.errors import UserError
from vtok.common.files import atomic_file
from vtok.common.foreign_files import parse_json, parse_text, reason_of

VERSION = 3
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),  # index into `ShardIndex.shards`
        pa.field("member", pa.string(), nullable=False),  # name of the video in the shard, or of the first image
        pa.field("offset", pa.int64(), nullable=False),  # position of the first byte in the shard
        pa.field("size", pa.int64(), nullable=False),  # bytes
        pa.field("frames", pa.bool_(), nullable=False),  # the bytes are a tar of images
        pa.field("caption", pa.string()),
        pa.field("questions", pa.string()),  # JSON
        pa.field("attributes", pa.string()),  # JSON
        pa.field("start", pa.float64()),  # seconds
        pa.field("end", pa.float64()),
        pa.field("group", pa.string()),
        pa.field("unseen", pa.bool_()),  # its combination of attributes was kept out of training
        pa.field("split", pa.string()),  # given split; null: `rank` decides
        pa.field("rank", pa.float64()),  # hash in [0, 1), see `DataSource.split_rank`
        pa.field("bad", pa.string()),  # why the clip cannot be used; null: it can
    ]
)
BATCH_ROWS = 2**16


# Errors of Arrow and JSON for files that are damaged or of another kind.
DAMAGES = (
    pa.ArrowException, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, NotImplementedError,
    MemoryError,
)  # fmt: skip


class Shard(NamedTuple):
    """A tar file: its name relative to the root, and its size in bytes (None if the server does not report it)."""

    name: str
    size: int | None


def _shard(name: Any, size: Any) -> Shard:
    """A shard from the index's metadata; raises ValueError if it is invalid."""
    if not isinstance(name, str) or "\0" in name or not (size is None or (isinstance(size, int) and 0 <= size < 2**62)):
        raise ValueError("its shards are not pairs of name and size")
    return Shard(name, size)


class ShardIndex:
    """An open index file. It is pickled as its path, and reopened by the process that receives it.

    Args:
        path: the file.
        mapped: whether the file is memory-mapped as long as this object lives; False: it is read and closed.

    Attributes:
        shards: tar files, in the order of the numbers in the column `shard`.

    Raises:
        UserError: the file is not an index, or has another version.
    """

    def __init__(self, path: Path, *, mapped: bool = True) -> None:
        self.path = path
        try:
            content = pa.memory_map(str(path)) if mapped else pa.py_buffer(path.read_bytes())
            reader = pa.ipc.open_file(content, options=pa.ipc.IpcReadOptions(use_threads=False))
            about = parse_json(parse_text((reader.schema.metadata or {}).get(b"vtok", b"{}")))
            if about.get("version") != VERSION or not reader.schema.equals(SCHEMA):
                raise UserError(f"{path} is not an index of this version. Make it again with `vtok data index`.")
            self.shards = [_shard(*pair) for pair in about["shards"]]
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except DAMAGES as error:
            raise UserError(
                f"{path} cannot be read as an index ({reason_of(error)}). Make it again with `vtok data index`."
            ) from error
        self._firsts = np.cumsum([0, *(batch.num_rows for batch in self._batches)]).tolist()

    def __reduce__(self) -> tuple[type["ShardIndex"], tuple[Path]]:
        return type(self), (self.path,)

    def __len__(self) -> int:
        return self._firsts[-1]

    def check(self) -> None:
        """Read the index once, to find damage before training.

        Raises:
            UserError: a text is invalid, or a shard's number or a range of bytes or seconds is out of range.
        """
        try:
            for batch in self._batches:
                batch.validate(full=True)
        except DAMAGES as error:
            raise UserError(
                f"{self.path} is damaged ({reason_of(error)}). Make it again with `vtok data index`."
            ) from error
        shards, offsets, sizes = (self.column(name) for name in ("shard", "offset", "size"))
        starts, ends = np.nan_to_num(self.column("start"), posinf=-1), self.column("end")
        # A shard of unknown size is not bounded. Images may exceed a truncated shard by part of a block, which breaks
        # that clip alone.
        bytes_of = np.array([2**62 if shard.size is None else shard.size for shard in self.shards], dtype=np.int64)
        wrong = (shards < 0) | (shards >= len(self.shards))
        bounds = np.append(bytes_of, 0)[np.where(wrong, -1, shards)]
        wrong |= (offsets < 0) | (sizes < 0) | (offsets > bounds) | (sizes > bounds - offsets + tarfile.BLOCKSIZE)
        wrong |= (starts < 0) | (ends <= starts) | np.isinf(ends)
        if wrong.any():
            row = int(wrong.argmax()) + 1
            raise UserError(
                f"{self.path} is damaged (row {row} is outside its shard, or has an invalid range of seconds). "
                "Make it again with `vtok data index`."
            )

    def row(self, number: int) -> dict[str, Any]:
        """A row, by column name."""
        batch = bisect_right(self._firsts, number) - 1
        return self._batches[batch].slice(number - self._firsts[batch], 1).to_pylist()[0]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order."""
        yield from self._batches

    def texts(self, name: str) -> Iterator[str | None]:
        """A column of texts, row by row."""
        for batch in self._batches:
            yield from batch.column(name).to_pylist()

    def column(self, name: str) -> np.ndarray:
        """A column of numbers; NaN for null."""
        parts = [batch.column(name).to_numpy(zero_copy_only=False) for batch in self._batches]
        return np.concatenate(parts) if parts else np.empty(0, dtype=SCHEMA.field(name).type.to_pandas_dtype())

    def equal(self, name: str, text: str | None) -> np.ndarray:
        """Whether each row of a column of texts equals `text`, bool (rows,)."""
        import pyarrow.compute as pc

        parts = []
        for batch in self._batches:
            column = batch.column(name)
            same = pc.is_null(column) if text is None else pc.fill_null(pc.equal(column, text), False)
            parts.append(same.to_numpy(zero_copy_only=False))
        return np.concatenate(parts) if parts else np.empty(0, dtype=bool)


def write_index(path: Path, shards: Sequence[Shard], batches: Iterable[pa.RecordBatch]) -> None:
    """Write an index file atomically.

    Raises:
        UserError: the file cannot be written.
    """
    about = json.dumps({"version": VERSION, "shards": shards})
    schema = SCHEMA.with_metadata({"vtok": about})
    with atomic_file(path) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in _larger(batches):
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def to_batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of `records.py` as columns."""
    return pa.RecordBatch.from_pylist(list(rows), schema=SCHEMA)


def _larger(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at least BATCH_ROWS: small shards would give many small batches."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch.replace_schema_metadata(None))
        if sum(one.num_rows for one in held) >= BATCH_ROWS:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)
