"""Reads files by path or URL; URLs are read through fsspec (s3://, hf://, https://, ...)."""

import logging
import time
from itertools import count
from typing import TYPE_CHECKING, BinaryIO

from vtok.common.errors import UserError
from vtok.data.clip import Span

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_PAUSE = 1.0  # seconds; doubled each time, so a read fails after 15 seconds of pauses
# The headers of a tar are read one by one; larger blocks would fetch the videos between them.
BLOCK_BYTES = 2**16


def is_remote(url: str) -> bool:
    """Whether this is a URL, and not a local path."""
    return "://" in url


def join(folder: str, name: str) -> str:
    """The path or URL of `name` in a folder."""
    return f"{folder.rstrip('/')}/{name}"


def filesystem(url: str) -> "tuple[AbstractFileSystem, str]":
    """fsspec's file system of a path or URL, and the path in it.

    Call it at every use: fsspec caches file systems, and creates new ones after a fork, which their threads do not
    survive.

    Raises:
        UserError: the kind of URL is unknown, or the package that reads it is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: cannot read this kind of URL ({error}). Install the package or use a path.") from error


def open_binary(url: str) -> BinaryIO:
    """Open a file for reading and seeking; raises the errors of its file system."""
    if not is_remote(url):
        return open(url, "rb")
    system, path = filesystem(url)
    return system.open(path, "rb", block_size=BLOCK_BYTES)


def size_of(url: str) -> int | None:
    """Number of bytes of a file; None if the server does not report it. Raises OSError if the server fails."""
    system, path = filesystem(url)
    return _with_retries(lambda: system.info(path).get("size"), url)


def read_span(span: Span) -> bytes:
    """The bytes of a span.

    Raises:
        OSError: the file does not exist, ends before the span does, or cannot be read.
    """
    if is_remote(span.url):
        system, path = filesystem(span.url)
        content = _with_retries(lambda: system.cat_file(path, start=span.offset, end=span.offset + span.size), span.url)
    else:
        with open(span.url, "rb") as file:
            file.seek(span.offset)
            content = file.read(span.size)
    if len(content) != span.size:
        raise OSError(f"only {len(content)} of {span.size} bytes could be read")
    return content


def _with_retries(read, url: str):
    """The result of `read`, with retries; a missing file or permission is not retried."""
    for attempt in count(1):
        try:
            return read()
        except (FileNotFoundError, PermissionError):
            raise
        # File systems have their own errors, and few of them are OSErrors.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if attempt == ATTEMPTS:
                raise OSError(f"{url} failed {ATTEMPTS} times, last with {reason}") from error
            log.warning("%s: %s; trying again", url, reason)
            time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
