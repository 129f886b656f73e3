"""Files that are there whole or not at all."""

from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.common.files import whole


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write() -> None:
        with whole(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"a\.txt: it cannot be written \(No space left on device\)"):
        write()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_file_that_is_written_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "new")]
