"""The one exception that means "the user can mend this"."""

import errno

# What the machine refuses, whoever asks: rights, room, and names that no file can have.
REFUSALS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOTDIR,
)  # fmt: skip


class UserError(Exception):
    """A mistake of the user's, told in one sentence: what, where, what is allowed, what to type instead.

    The command line prints the message alone and exits with a non-zero code; every other exception is a bug of ours and
    keeps its traceback.
    """


def refusal_of(error: OSError) -> UserError | None:
    """The sentence for what a disk refuses anywhere in a program; None where the error may be a bug of ours."""
    if error.errno not in REFUSALS:
        return None
    place = "a file" if error.filename is None else str(error.filename)
    return UserError(f"{place[:200]}: {error.strerror}. Make room or give the rights, or name another place.")
