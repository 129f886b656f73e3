"""Files and folders are written atomically."""

from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.common.files import atomic_file, atomic_folder, is_free


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write() -> None:
        with atomic_file(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"a\.txt: it cannot be written \(No space left on device\)"):
        write()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_file_that_is_written_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with atomic_file(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "new")]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^out=.*new: it cannot be written \(No space left on device\)"):
        write_into(tmp_path / "new", fails=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_place_of_an_empty_one_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_into(tmp_path / "empty")
    write_into(tmp_path / "a" / "new")
    for folder in (tmp_path / "empty", tmp_path / "a" / "new"):
        assert [file.name for file in folder.iterdir()] == ["a.txt"]
        assert not is_free(folder)
    with pytest.raises(UserError, match=r"it cannot be written \(Directory not empty\)"):
        write_into(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


def write_into(folder: Path, *, fails: bool = False) -> None:
    with atomic_folder(folder) as partial:
        (partial / "a.txt").write_text("new")
        if fails:
            raise OSError(28, "No space left on device")
