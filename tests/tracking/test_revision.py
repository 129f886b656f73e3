import subprocess
from pathlib import Path

from vtok.tracking.revision import Revision, revision


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_commit_and_changes(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("one\n")
    git(tmp_path, "init")
    assert revision(package) == Revision(commit=None, changes="")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert revision(package) == Revision(commit=commit, changes="")
    (package / "__init__.py").write_text("two\n")
    (package / "new.py").touch()
    found = revision(package)
    assert found.commit == commit
    assert "-one" in found.changes
    assert "+two" in found.changes
    assert "?? new.py" in found.changes


def test_package_ignored_by_the_repository_around_it(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / ".gitignore").write_text("site-packages\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "__init__.py").touch()
    assert revision(package).commit is None
