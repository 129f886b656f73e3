"""Files by path or URL: local ones by the system's own calls, others through fsspec (s3://, hf://, https://, ...)."""

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
FIRST_PAUSE = 1.0  # seconds; doubled each time, so that a read is given up after a quarter of a minute
# A tar's headers are read one by one: large blocks would fetch the videos between them.
BLOCK_BYTES = 2**16


def is_remote(url: str) -> bool:
    """Whether this is a URL, and not a path of this machine."""
    return "://" in url


def join(folder: str, name: str) -> str:
    """The path or URL of `name` within a folder."""
    return f"{folder.rstrip('/')}/{name}"


def filesystem(url: str) -> "tuple[AbstractFileSystem, str]":
    """fsspec's file system of a path or URL, and what it calls it there.

    Asked for at every use: fsspec keeps its file systems, and makes new ones after a fork, which their threads do not
    outlive.

    Raises:
        UserError: there is no such kind of URL, or the package that reads it is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: this kind of address cannot be read ({error}).") from error


def open_binary(url: str) -> BinaryIO:
    """A file to read and seek in; raises what its file system raises."""
    if not is_remote(url):
        return open(url, "rb")
    system, path = filesystem(url)
    return system.open(path, "rb", block_size=BLOCK_BYTES)


def size_of(url: str) -> int | None:
    """Bytes of a file, None where its server does not say; raises OSError where it cannot be asked."""
    system, path = filesystem(url)
    return _patient(lambda: system.info(path).get("size"), url)


def read_span(span: Span) -> bytes:
    """The bytes of a span.

    Raises:
        OSError: the file is not there, ends before the span does, or cannot be read.
    """
    if is_remote(span.url):
        system, path = filesystem(span.url)
        content = _patient(lambda: system.cat_file(path, start=span.offset, end=span.offset + span.size), span.url)
    else:
        with open(span.url, "rb") as file:
            file.seek(span.offset)
            content = file.read(span.size)
    if len(content) != span.size:
        raise OSError(f"{len(content)} of its {span.size} bytes are there")
    return content


def _patient(read, url: str):
    """What `read` gives, tried again where it fails; what is not there or not allowed is not waited for."""
    for attempt in count(1):
        try:
            return read()
        except (FileNotFoundError, PermissionError):
            raise
        # Each file system has errors of its own, and few of them are OSErrors.
        except Exception as error:
            told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if attempt == ATTEMPTS:
                raise OSError(f"{url} failed {ATTEMPTS} times, last with {told}") from error
            log.warning("%s: %s; trying again", url, told)
            time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
