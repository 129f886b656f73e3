"""Files and folders that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError

from vtok.common.errors import UserError
from vtok.common.foreign_files import reason_of
from vtok.common.paths import unwritable


def check_writable(path: Path, *, suffix: str) -> None:
    """Raise UserError where `path` cannot become a file of this suffix, before there is anything to write."""
    if path.suffix.lower() != suffix:
        raise UserError(f"{path}: the file's name must end in {suffix}.")
    try:
        if path.is_dir():
            raise UserError(f"{path}: this is a folder, and a file is to be written; say another name.")
        if not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent} to write it in; make it first.")
    except OSError as error:
        raise UserError(f"{path}: it cannot be written ({error.strerror}).") from error
    if reason := unwritable(path.parent):
        raise UserError(f"{path}: it cannot be written, as {reason}.")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name of a file to write, which takes the place of `path` at the end of the block; a failed one is removed.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path}: it cannot be written ({reason_of(error)}).") from error
    finally:
        # Where nothing can be written, nothing can be removed either.
        with suppress(OSError):
            partial.unlink()


def write_text(path: Path, text: str) -> None:
    """The file is there whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_free(folder: Path) -> bool:
    """Whether nothing is there yet, or an empty folder."""
    return not os.path.exists(folder) or (os.path.isdir(folder) and not os.listdir(folder))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder`, empty or none, at the end of the block.

    Raises:
        UserError: it cannot be written; nothing is left of it. The user has named the folder by out=.
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
        raise UserError(f"out={folder}: it cannot be written ({reason_of(error)}).") from error
