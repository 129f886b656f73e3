"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A mistake of the user's, told in one sentence: what, where, what is allowed, what to type instead.

    The command line prints the message alone and exits with a non-zero code; every other exception is a bug of ours and
    keeps its traceback.
    """
