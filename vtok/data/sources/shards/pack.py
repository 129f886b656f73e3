"""Writes any data set as tar shards with an index; bytes are copied without decoding."""

import os
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.files import locked
from vtok.common.foreign_files import printable
from vtok.data.broken_clips import BadFiles
from vtok.data.clip import Clip
from vtok.data.loader_settings import LoaderSettings
from vtok.data.sources.base import SPLITS, DataSource, Split
from vtok.data.sources.shards.index import Shard, ShardIndex, to_batch, write_index
from vtok.data.sources.shards.names import INDEX
from vtok.data.sources.shards.records import MemberRange, SplitClip, bad_row, to_row, to_sidecar
from vtok.data.storage import read_span
from vtok.data.video.common import BadVideoError
from vtok.data.video.image_folder import image_files, images_in

LOCK = ".packing.lock"


@dataclass
class Packed:
    """The result of packing: folder, numbers of clips, shards and bytes, and why clips were left out, by id."""

    out: Path
    clips: int
    shards: int
    bytes: int
    left_out: dict[str, str]


def pack(
    source: DataSource,
    out: Path,
    *,
    shard_bytes: int,
    max_bad_fraction: float = LoaderSettings.max_bad_fraction,
    progress: bool = True,
) -> Packed:
    """Write the clips of a data set to `out` as shard-000000.tar, ... and index.arrow.

    A file with several clips is written once. Shards are written atomically and the index last. A folder without an
    index is unfinished: packing the same data set again resumes after the last complete shard. A clip whose file cannot
    be opened is left out and recorded in the index.

    Args:
        source: data set to pack.
        out: folder that is new, empty, or holds unfinished shards of the same data set.
        shard_bytes: largest size of a shard in bytes; a single larger clip has its own shard.
        max_bad_fraction: share of clips that cannot be opened above which packing stops.
        progress: whether to show a progress bar.

    Raises:
        UserError: the folder holds other files or cannot be written, too many clips cannot be opened, or the data set
            shows the clips of another one.
    """
    if source.wraps_source:
        raise UserError(
            "data=twins: shards hold clips as they were filmed. Use the data set of data.source here, and data=twins "
            "data@data.source=shards to read the shards."
        )
    source.prepare()
    try:
        out.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(out)
        busy = f"out={out}: another process is packing there. Wait for it, or use another folder."
        with locked(out / LOCK, busy=busy):
            packed = _pack(source, out, shard_bytes, max_bad_fraction, progress)
        (out / LOCK).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: it cannot be written ({error}). Run the same command again to resume.") from error
    return packed


def _refuse_foreign(out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    if INDEX in names:
        raise UserError(f"out={out} already holds packed shards. Use another folder, or empty this one.")
    own = {
        name for name in names if name == LOCK or name.startswith((".partial-shard-", ".shard-", f".partial-{INDEX}"))
    }
    own |= {_shard_file(out, number).name for number in range(_finished(out))}
    if foreign := sorted(names - own):
        raise UserError(f"out={out} holds other files ({foreign[0]}). Use a new or empty folder.")


def _pack(source: DataSource, out: Path, shard_bytes: int, max_bad_fraction: float, progress: bool) -> Packed:
    clips = {split: source.clips(split) for split in SPLITS}
    files: dict[Path, list[tuple[Split, int]]] = {}
    for split in SPLITS:
        for number, clip in enumerate(clips[split]):
            files.setdefault(clip.path, []).append((split, number))
    total = sum(map(len, clips.values()))
    if not total:
        raise UserError("The data set has no clips to pack. Check data.root and data.limit.")
    done = _finished(out)
    known = (name for number in range(done) for name in _rows(out, number).texts("id"))
    bad = BadFiles(clips=total, max_fraction=max_bad_fraction)
    with (
        Writer(out, first=done, shard_bytes=shard_bytes) as writer,
        tqdm(total=total, desc="packing", unit="clip", leave=False, disable=None if progress else True) as bar,
    ):
        for number, places in enumerate(files.values()):
            placed = [_placed(source, clips[split][place], split) for split, place in places]
            bar.update(len(placed))
            ids = [printable(one.clip.id) for one in placed]
            if (before := list(islice(known, len(ids)))) == ids:
                continue
            if before:
                raise UserError(
                    f"out={out} holds shards of other clips ({before[0]} instead of {ids[0]}). "
                    "Use another folder, or empty this one."
                )
            try:
                writer.add(f"{number:08d}", placed)
            except BadVideoError as error:
                writer.leave_out(placed, error.reason)
                bad.add((one.clip.label, error.reason) for one in placed)
                bad.check()
        writer.close()
    return _merge_indexes(out)


def _placed(source: DataSource, clip: Clip, split: Split) -> SplitClip:
    rank = source.split_rank(clip)
    return SplitClip(clip, split if rank is None else None, rank)


def _merge_indexes(out: Path) -> Packed:
    """Merge the indexes of the shards into one."""
    numbers = range(_finished(out))
    shards = [_rows(out, number).shards[0] for number in numbers]
    write_index(out / INDEX, shards, chain.from_iterable(_rows(out, number).batches() for number in numbers))
    for number in numbers:
        _rows_file(out, number).unlink()
    index = ShardIndex(out / INDEX)
    usable = index.equal("bad", None)
    left_out = [index.row(number) for number in np.flatnonzero(~usable).tolist()]
    return Packed(
        out=out,
        clips=int(usable.sum()),
        shards=len(shards),
        bytes=sum(shard.size or 0 for shard in shards),
        left_out={row["id"]: row["bad"] for row in left_out},
    )


def _shard_file(out: Path, number: int) -> Path:
    return out / f"shard-{number:06d}.tar"


def _rows_file(out: Path, number: int) -> Path:
    return out / f".shard-{number:06d}.rows"


def _rows(out: Path, number: int) -> ShardIndex:
    # Not memory-mapped: that would keep one file open per shard.
    return ShardIndex(_rows_file(out, number), mapped=False)


def _finished(out: Path) -> int:
    """Number of complete shards."""
    return next(n for n in count() if not (_shard_file(out, n).is_file() and _rows_file(out, n).is_file()))


class Writer:
    """Writes clips to shards. The `with` block removes an incomplete shard at its end."""

    def __init__(self, out: Path, *, first: int, shard_bytes: int) -> None:
        self.out, self.number, self.shard_bytes = out, first, shard_bytes
        self._archive: tarfile.TarFile | None = None
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive is not None:
            self._archive.close()
            self._partial.unlink(missing_ok=True)

    def add(self, key: str, placed: Sequence[SplitClip]) -> None:
        """Add a video file or a folder of frames, with all its clips.

        Raises:
            BadVideoError: the file cannot be opened.
        """
        with ExitStack() as opened:
            files, is_folder = _open_files(placed[0].clip, opened)
            sidecar = to_sidecar(placed)
            needed = sum(map(_member_bytes, [len(sidecar), *(size for _, size, _ in files)]))
            if self._archive is not None and self._archive.offset + needed > self.shard_bytes:
                self.close()
            archive = self._archive or self._begin()
            first = archive.offset
            names = [f"{key}.{suffix}" for suffix, _, _ in files]
            for name, (_, size, file) in zip(names, files, strict=True):
                _put(archive, name, size, file)
            if is_folder:
                place = MemberRange(self.number, names[0], first, archive.offset - first, True)
            else:
                place = MemberRange(self.number, names[0], first + tarfile.BLOCKSIZE, files[0][1], False)
            _put(archive, f"{key}.json", len(sidecar), BytesIO(sidecar))
        self._rows.extend(to_row(one, place) for one in placed)

    def leave_out(self, placed: Sequence[SplitClip], reason: str) -> None:
        """Record clips whose file cannot be opened."""
        name = str(placed[0].clip.path)
        self._rows.extend(bad_row(one.clip.id, shard=self.number, member=name, reason=reason) for one in placed)

    def close(self) -> None:
        """Finish the current shard."""
        if not self._rows:
            return
        archive = self._archive or self._begin()
        archive.close()
        self._archive = None
        shard = Shard(_shard_file(self.out, self.number).name, self._partial.stat().st_size)
        write_index(_rows_file(self.out, self.number), [shard], [to_batch(self._rows)])
        self._partial.replace(_shard_file(self.out, self.number))
        self._rows = []
        self.number += 1

    @property
    def _partial(self) -> Path:
        file = _shard_file(self.out, self.number)
        return file.with_name(f".partial-{file.name}")

    def _begin(self) -> tarfile.TarFile:
        self._archive = tarfile.open(self._partial, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 (closed by close)
        return self._archive


def _open_files(clip: Clip, opened: ExitStack) -> tuple[list[tuple[str, int, BinaryIO]], bool]:
    """The files of a clip as (suffix, size in bytes, file), and whether they are images of a folder."""
    try:
        if clip.span is not None:
            content = read_span(clip.span)
            if not clip.span.frames:
                return [(_suffix(clip.path), len(content), BytesIO(content))], False
            frames = [(file.name, file.getvalue()) for file in images_in(clip.path, content)]
        elif not clip.path.is_dir():
            file = opened.enter_context(clip.path.open("rb"))
            return [(_suffix(clip.path), os.fstat(file.fileno()).st_size, file)], False
        else:
            frames = [(file.name, file.read_bytes()) for file in image_files(clip.path)]
    except OSError as error:
        raise BadVideoError(clip.path, f"it cannot be read ({error.strerror or error})") from error
    if not frames:
        raise BadVideoError(clip.path, "the folder holds no frames")
    images: list[tuple[str, int, BinaryIO]] = [
        (f"{number:06d}.{_suffix(Path(name))}", len(content), BytesIO(content))
        for number, (name, content) in enumerate(frames)
    ]
    return images, True


def _suffix(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _put(archive: tarfile.TarFile, name: str, size: int, file: BinaryIO) -> None:
    # Without times and owners: the same clips give the same bytes.
    info = tarfile.TarInfo(name)
    info.size = size
    archive.addfile(info, file)


def _member_bytes(size: int) -> int:
    """Bytes of a member in the archive, including its header."""
    return tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE))
