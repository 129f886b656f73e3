"""The exception for mistakes that the user can correct."""

import errno

# The operating system's refusals that are never a bug of ours: permissions, disk space, impossible file names.
USER_ERRNOS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOTDIR,
)  # fmt: skip


class UserError(Exception):
    """A mistake that the user can correct: `key=value: what is wrong. What is allowed. What to set instead.`

    The command line prints the message alone and exits with a non-zero code. Every other exception is a bug of ours and
    keeps its traceback.
    """


def to_user_error(error: OSError) -> UserError | None:
    """The message for a file that the operating system refuses; None if the error may be a bug of ours."""
    if error.errno not in USER_ERRNOS:
        return None
    place = "a file" if error.filename is None else str(error.filename)
    return UserError(f"{place[:200]}: {error.strerror}. Free disk space, change the permissions, or use another path.")
