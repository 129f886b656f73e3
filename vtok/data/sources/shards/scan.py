"""Indexes tar shards by their headers: WebDataset's layout, KEY.mp4 with KEY.json or KEY.txt beside it."""

import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, cast

import pyarrow as pa
from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.paths import natural_key, user_path
from vtok.data.sources.annotations import SPLIT_NAMES, clip_of, parse_caption, parse_record
from vtok.data.sources.shards.index import Shard, to_batch, write_index
from vtok.data.sources.shards.names import INDEX, PATTERN_ADVICE, expand_braces, is_glob, split_pattern
from vtok.data.sources.shards.records import MemberRange, SplitClip, bad_row, from_sidecar, to_row
from vtok.data.sources.splits import rank_of
from vtok.data.storage import filesystem, is_remote, join, open_binary, size_of
from vtok.data.tar_members import tar_members
from vtok.data.video.container import VIDEO_SUFFIXES
from vtok.data.video.image_folder import IMAGE_SUFFIXES

# In WebDataset, a sample's key ends at the first dot of the file name.
MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
LARGEST_TEXT = 2**24  # bytes
SCANNED_AT_ONCE = 8
CHECK_ACCESS = "Check the path, the network and the permissions."


@dataclass(frozen=True)
class Indexed:
    """The result of indexing: path of the index, numbers of clips and shards, and why members cannot be used."""

    out: str
    clips: int
    shards: int
    bad: dict[str, str]


def index_shards(root: str, out: str | None = None, *, progress: bool = True) -> Indexed:
    """Write the index of existing shards, from the headers of their members.

    Args:
        root: folder or URL of the shards, with or without a pattern (`PATH/a-{000..127}.tar`, `PATH/**/*.tar`); without
            one, all files that end in .tar, in subfolders too.
        out: path or URL of the index; None: index.arrow in the root.
        progress: whether to show a progress bar.

    Raises:
        UserError: there are no such shards, a shard cannot be read or is compressed, or the index cannot be written.
    """
    folder, pattern = split_pattern(root if is_remote(root) else str(user_path(root)))
    target = out or join(folder, INDEX)
    names = _find(folder, pattern or "**/*.tar", root)
    urls = [join(folder, name) for name in names]
    clips, bad = 0, {}

    def batches(pool: ThreadPoolExecutor) -> Iterator[pa.RecordBatch]:
        nonlocal clips
        found = pool.map(scan_shard, urls, names, range(len(names)))
        for rows in tqdm(found, total=len(names), desc="indexing", unit="shard", disable=None if progress else True):
            bad.update({row["id"]: row["bad"] for row in rows if row["bad"]})
            clips += sum(not row["bad"] for row in rows)
            yield to_batch(rows)

    try:
        with ThreadPoolExecutor(SCANNED_AT_ONCE) as pool, TemporaryDirectory() as temporary:
            shards = [Shard(name, size) for name, size in zip(names, pool.map(size_of, urls), strict=True)]
            local = Path(temporary) / INDEX if is_remote(target) else user_path(target)
            write_index(local, shards, batches(pool))
            if is_remote(target):
                system, there = filesystem(target)
                system.put_file(str(local), there)
    except UserError:
        raise
    # Each file system has its own errors.
    except Exception as error:
        raise UserError(
            f"root={root} cannot be indexed to {target} ({type(error).__name__}: {error}). {CHECK_ACCESS}"
        ) from error
    return Indexed(target, clips, len(names), bad)


def _find(folder: str, pattern: str, root: str) -> list[str]:
    """Names of the shards, relative to their folder."""
    system, base = filesystem(folder)
    base = base.rstrip("/")
    try:
        patterns = expand_braces(pattern)
        names = {
            path.removeprefix(f"{base}/")
            for one in patterns
            for path in (system.glob(f"{base}/{one}") if is_glob(one) else [f"{base}/{one}"])
        }
    except ValueError as error:
        raise UserError(f"root={root}: {error}. {PATTERN_ADVICE}") from error
    except Exception as error:
        raise UserError(f"root={root} cannot be listed ({type(error).__name__}: {error}). {CHECK_ACCESS}") from error
    compressed = sorted(name for name in names if not name.endswith(".tar"))
    if compressed or not names:
        problem = f"{compressed[0]} is not a plain tar file" if compressed else "there are no tar files"
        raise UserError(f"root={root}: {problem}. Give uncompressed shards whose names end in .tar.")
    return sorted(names)


def scan_shard(url: str, name: str, number: int) -> list[dict[str, Any]]:
    """The rows of a shard.

    Data that cannot be used has a row with the reason: a member that is not a plain file or whose name leaves the
    archive, a sample without valid annotations, the missing rest of a truncated shard.

    Args:
        url: path or URL of the tar file.
        name: name of the shard, relative to the root.
        number: number of the shard.

    Raises:
        UserError: the shard is compressed.
        OSError: the shard cannot be read.
    """
    rows: list[dict[str, Any]] = []

    def note(member: str, reason: str) -> None:
        rows.append(bad_row(f"{name}/{member}" if member else name, shard=number, member=member, reason=reason))

    with open_binary(url) as file:
        start = file.read(8)
        for magic, kind in COMPRESSED.items():
            if start.startswith(magic):
                raise UserError(
                    f"{url} is compressed ({kind}). Shards must be plain tar files, because clips are read by byte "
                    "range. Write it again without compression."
                )
        for key, members in groupby(_members(file, note), key=lambda member: _parts(member.name)[0]):
            if key is not None:
                _Sample(file, key, list(members), shard=name, number=number).add_to(rows)
    return rows


def _members(file: BinaryIO, note: Callable[[str, str], None]) -> Iterator[tarfile.TarInfo]:
    """The plain files of an archive, up to the first unreadable header; other members are passed to `note`."""
    last = "its beginning"
    try:
        for member in tar_members(file):
            if _escapes(member.name):
                note(member.name, "its name leads outside the shard")
            elif member.isreg() and not member.issparse():
                yield member
            elif not member.isdir():
                note(member.name, "it is not a plain file but a link, a device or a sparse file")
            last = member.name
    except tarfile.TarError as error:
        note("", f"the shard is damaged or truncated after {last} ({error})")


def _escapes(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name


def _parts(name: str) -> tuple[str | None, str]:
    match = MEMBER.fullmatch(name.removeprefix("./"))
    return (match[1], match[2].lower()) if match else (None, "")


class _Sample:
    """The consecutive members of a shard with the same key."""

    def __init__(self, file: BinaryIO, key: str, members: list[tarfile.TarInfo], *, shard: str, number: int) -> None:
        self.file, self.key, self.members, self.shard, self.number = file, key, members, shard, number

    def add_to(self, rows: list[dict[str, Any]]) -> None:
        """Add a row for each clip of each video, or of the images if there is no video."""
        videos = [member for member in self.members if member.name.lower().endswith(VIDEO_SUFFIXES)]
        images = sorted(
            (member for member in self.members if member.name.lower().endswith(IMAGE_SUFFIXES)),
            key=lambda member: natural_key(member.name),
        )
        places = [
            MemberRange(self.number, one.name.removeprefix("./"), one.offset_data, one.size, False) for one in videos
        ]
        if not places and images:
            # Complete blocks with their headers: a section of a tar archive is a tar archive.
            first = min(one.offset for one in images)
            end = max(one.offset_data + -(-one.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for one in images)
            places = [MemberRange(self.number, images[0].name.removeprefix("./"), first, end - first, True)]
        for place in places:
            path = Path(self.shard) / place.member
            try:
                rows.extend(to_row(placed, place) for placed in self._clips(place, path))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
                rows.append(bad_row(str(path), shard=self.number, member=place.member, reason=reason))

    def _clips(self, place: MemberRange, path: Path) -> list[SplitClip]:
        fields = parse_record(text, f"{self.key}.json") if (text := self._text("json")) is not None else {}
        if "clips" in fields:
            return from_sidecar(fields["clips"], path)
        if not fields.get("caption") and (text := self._text("txt")) is not None:
            fields["caption"] = parse_caption(text, f"{self.key}.txt")
        if not fields:
            raise ValueError(f"there is no {self.key}.json or {self.key}.txt beside it")
        split = fields.get("split")
        if split is not None and str(split).lower() not in SPLIT_NAMES:
            raise ValueError(f"split={split} is unknown; use {', '.join(SPLIT_NAMES)}")
        name = f"{self.shard}/{self.key if place.frames else place.member}"
        clip = clip_of(name, path, fields)
        given = SPLIT_NAMES[str(split).lower()] if split else None
        return [SplitClip(clip, given, rank_of(clip.group or name))]

    def _text(self, suffix: str) -> bytes | None:
        member = next((one for one in self.members if _parts(one.name)[1] == suffix), None)
        if member is None:
            return None
        if member.size > LARGEST_TEXT:
            raise ValueError(f"{member.name} has {member.size} bytes, which is too large for an annotation")
        # The archive's next read seeks to its own position first, so this seek does not disturb it.
        self.file.seek(member.offset_data)
        return cast(bytes, self.file.read(member.size))
