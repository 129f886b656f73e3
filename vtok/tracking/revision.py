"""Which code ran: the git commit of the installed package and what is not committed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Revision:
    """`commit` is None where the code is not under git; `changes` is empty where nothing differs from the commit."""

    commit: str | None
    changes: str


def revision(folder: Path) -> Revision:
    """The state of the repository that tracks the package in `folder`.

    `changes` is `git status --short` followed by `git diff HEAD`. A package installed into an ignored folder of another
    repository (a virtual environment) is not tracked by it: that commit would say nothing about our code.
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
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
