"""Files and folders that are written atomically: complete, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from vtok.common.errors import UserError
from vtok.common.foreign_files import reason_of
from vtok.common.paths import unwritable_reason

REMEDY = "Check the permissions and the free disk space, or use another path."


def check_writable(path: Path, *, suffix: str) -> None:
    """Raise UserError if no file of this suffix can be written at `path`. Call it before the work that is saved."""
    if path.suffix.lower() != suffix:
        raise UserError(f"{path}: the file's name must end in {suffix}. Use {path.stem}{suffix}.")
    try:
        if path.is_dir():
            raise UserError(f"{path}: this is a folder. Give the name of a file.")
        if not path.parent.is_dir():
            raise UserError(f"{path}: the folder {path.parent} does not exist. Create it first.")
    except OSError as error:
        raise UserError(f"{path}: it cannot be written ({error.strerror}). {REMEDY}") from error
    if reason := unwritable_reason(path.parent):
        raise UserError(f"{path}: it cannot be written, because {reason}. {REMEDY}")


@contextmanager
def locked(file: Path, *, busy: str) -> Iterator[None]:
    """A block in which this process holds the lock of a file; raises UserError(`busy`) if another one holds it."""
    try:
        lock = FileLock(file).acquire(timeout=0)
    except Timeout:
        raise UserError(busy) from None
    with lock:
        yield


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary file to write. It replaces `path` at the end of the block, and is removed if the block fails.

    Raises:
        UserError: the file cannot be written.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path}: it cannot be written ({reason_of(error)}). {REMEDY}") from error
    finally:
        # In a folder without write permission it cannot be removed either.
        with suppress(OSError):
            partial.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_free(folder: Path) -> bool:
    """Whether the folder does not exist or is empty."""
    return not os.path.exists(folder) or (os.path.isdir(folder) and not os.listdir(folder))


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to write into. It replaces `folder`, which is empty or absent, at the end of the block.

    Raises:
        UserError: the folder cannot be written; nothing is left of it. The message names it `out=`.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".partial-{folder.name}-", dir=folder.parent) as temporary:
            partial = Path(temporary) / folder.name
            partial.mkdir()
            yield partial
            if folder.exists():
                folder.rmdir()
            partial.replace(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(f"out={folder}: it cannot be written ({reason_of(error)}). {REMEDY}") from error
