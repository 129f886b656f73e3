"""Detects changed files: by size and modification time, and if these differ by a hash of the content."""

from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path

from vtok.common.hashing import stable_hash
from vtok.data.clip import Clip
from vtok.data.storage import is_remote, read_span
from vtok.data.video.image_folder import image_files


@dataclass(frozen=True)
class Identity:
    """The state of a clip's file.

    Attributes:
        stamp: numbers that are cheap to read, see `stamp_of`.
        digest: hash of the content; "" if the file is remote.
    """

    stamp: tuple[int, ...]
    digest: str


def identify(clip: Clip) -> Identity | None:
    """The state of a clip's file; None if there is no file."""
    try:
        stamp = stamp_of(clip)
        return None if stamp is None else Identity(stamp, digest_of(clip))
    except OSError:
        return None


def is_unchanged(clip: Clip, before: Identity | None) -> bool:
    """Whether a clip's file has the same content as `before`. An absent file counts as unchanged.

    A file that was absent before and exists now has changed.
    """
    try:
        now = stamp_of(clip)
        return now is None or (before is not None and (now == before.stamp or digest_of(clip) == before.digest != ""))
    except OSError:
        return True


def stamp_of(clip: Clip) -> tuple[int, ...] | None:
    """Numbers that change with a clip's file; None if there is no file.

    For a file they are its size and modification time, for a folder a hash of those of its images, and for a part of a
    larger file its offset, its size and the modification time of that file.
    """
    if clip.span is not None and is_remote(clip.span.url):
        return (clip.span.offset, clip.span.size)
    path = Path(clip.path if clip.span is None else clip.span.url)
    try:
        if path.is_dir():
            files = [(file.name, file.stat()) for file in image_files(path)]
            return (stable_hash(*(f"{name} {one.st_size} {one.st_mtime_ns}" for name, one in files)),)
        found = path.stat()
    except FileNotFoundError:
        return None
    if clip.span is not None:
        return (clip.span.offset, clip.span.size, found.st_mtime_ns)
    return (found.st_size, found.st_mtime_ns)


def digest_of(clip: Clip) -> str:
    """A hash of a clip's bytes, with the file names of frames; raises OSError if they cannot be read."""
    if clip.span is not None:
        return "" if is_remote(clip.span.url) else blake2b(read_span(clip.span), digest_size=16).hexdigest()
    if not clip.path.is_dir():
        return _file_digest(clip.path)
    frames = [f"{file.name} {_file_digest(file)}" for file in image_files(clip.path)]
    return blake2b("\n".join(frames).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
