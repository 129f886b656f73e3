"""The members of a tar archive that may be damaged or malicious."""

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO


def tar_members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The members of an uncompressed tar archive, in order; each lies completely within the file.

    Raises:
        tarfile.TarError: a header cannot be read, or a member is truncated; members before it were yielded.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="replace") as archive:
            while (member := archive.next()) is not None:
                # A PAX header can give a negative size, which would read the same member forever.
                if not 0 <= member.size <= size - member.offset_data:
                    raise tarfile.ReadError(f"{member.name!r} is truncated")
                yield member
            # tarfile treats an unreadable header as the end of the archive; the real end is blocks of zeros.
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError("a header cannot be read")
    # tarfile does not validate the numbers in headers of PAX and of sparse files.
    except (ValueError, OverflowError) as error:
        raise tarfile.ReadError(f"a header cannot be read: {error}") from error
