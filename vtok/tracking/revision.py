"""Which code ran: the git commit of the package, and its uncommitted changes."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Revision:
    """The state of a repository.

    Attributes:
        commit: hash of the commit; None if the code is not in a git repository.
        changes: output of `git status --short` and of `git diff HEAD`; empty if everything is committed.
    """

    commit: str | None
    changes: str


def revision(folder: Path) -> Revision:
    """The state of the repository that tracks the package in `folder`.

    A package may be installed in an ignored folder of another repository, such as a virtual environment. That
    repository does not track it, so its commit is not reported.
    """
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return Revision(commit=None, changes="")
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--short")
    if commit is None or not status:
        return Revision(commit=commit and commit.strip(), changes="")
    return Revision(commit=commit.strip(), changes=f"{status}\n{_git(folder, 'diff', 'HEAD') or ''}")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return result.stdout.decode(errors="replace") if result.returncode == 0 else None
