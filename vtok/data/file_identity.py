"""Whether a clip's file is still the one that it was: by its size and date, and by its bytes where these differ."""

from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path

from vtok.common.hashing import stable_hash
from vtok.data.clip import Clip
from vtok.data.storage import is_remote, read_span
from vtok.data.video.image_folder import image_files


@dataclass(frozen=True)
class Identity:
    """What a clip's file was like.

    Attributes:
        stamp: numbers that are cheap to ask for: bytes, nanoseconds of the last change, and what else tells it.
        digest: of its bytes; empty where they are on a server.
    """

    stamp: tuple[int, ...]
    digest: str


def identify(clip: Clip) -> Identity | None:
    """What a clip's file is like; None where it is not there."""
    try:
        stamp = stamp_of(clip)
        return None if stamp is None else Identity(stamp, digest_of(clip))
    except OSError:
        return None


def is_unchanged(clip: Clip, before: Identity | None) -> bool:
    """Whether a clip's file is what it was `before`, where it is there at all; a copy of it is.

    A file that was not there `before` and is now has changed.
    """
    try:
        now = stamp_of(clip)
        return now is None or (before is not None and (now == before.stamp or digest_of(clip) == before.digest != ""))
    except OSError:
        return True


def stamp_of(clip: Clip) -> tuple[int, ...] | None:
    """Of a file (bytes, last change), of a folder of frames (a hash of these), of a part of a larger file (its place,
    bytes, the file's last change); None where it is not there.
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
    """Of the bytes of a clip, of frames with their names; raises OSError where they cannot be read."""
    if clip.span is not None:
        return "" if is_remote(clip.span.url) else blake2b(read_span(clip.span), digest_size=16).hexdigest()
    if not clip.path.is_dir():
        return _file_digest(clip.path)
    frames = [f"{file.name} {_file_digest(file)}" for file in image_files(clip.path)]
    return blake2b("\n".join(frames).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
