"""Files that are there whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vtok.common.errors import UserError
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
        raise UserError(f"{path}: it cannot be written ({error.strerror or error}).") from error
    finally:
        # Where nothing can be written, nothing can be removed either.
        with suppress(OSError):
            partial.unlink()


def write_text(path: Path, text: str) -> None:
    """The file is there whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
