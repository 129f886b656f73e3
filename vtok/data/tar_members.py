"""The members of a tar archive that may be damaged or made to mislead."""

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO


def tar_members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The members of an uncompressed tar archive in their order, each with its bytes within the file.

    Raises:
        tarfile.TarError: at the first header that cannot be read, or member that is not there to its end.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="replace") as archive:
            while (member := archive.next()) is not None:
                # A size below 0, which PAX headers can write, would lead back to the same member for ever.
                if not 0 <= member.size <= size - member.offset_data:
                    raise tarfile.ReadError(f"{member.name!r} is not whole")
                yield member
            # Python takes any header that it cannot read for the end, which is blocks of zeros.
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError("a header cannot be read")
    # Numbers in headers of PAX and of files with holes are taken as they are.
    except (ValueError, OverflowError) as error:
        raise tarfile.ReadError(f"a header cannot be read: {error}") from error
