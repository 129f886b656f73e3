from pathlib import Path

import pytest

from vtok.common import paths
from vtok.common.paths import natural_key, unwritable_reason, user_path


def test_a_checkout_has_the_folders_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "vtok")
    assert paths.conf_dir() == tmp_path / "conf"
    assert paths.experiments_dir() == tmp_path / "experiments"


def test_a_wheel_carries_them_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "vtok" / "conf").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "vtok")
    assert paths.conf_dir() == tmp_path / "vtok" / "conf"


def test_an_incomplete_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "vtok")
    with pytest.raises(FileNotFoundError, match="incomplete"):
        paths.experiments_dir()


def test_reasons_why_a_folder_is_unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert unwritable_reason(tmp_path / "new" / "one") is None
    assert unwritable_reason(tmp_path / "file" / "one") == f"{tmp_path / 'file'} is not a folder"
    assert "longer than 255 bytes" in str(unwritable_reason(tmp_path / ("ü" * 128)))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]

    def full(*, prefix: str, dir: Path) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert unwritable_reason(tmp_path / "new") == f"no folder can be created in {tmp_path} (No space left on device)"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux has it")
def test_proc_is_unwritable_even_for_root() -> None:
    assert str(unwritable_reason(Path("/proc/new"))).startswith("no folder can be created in /proc (")


def test_the_home_of_an_unknown_user_is_not_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/a") == Path("/home/me/a")
    assert user_path("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")


def test_numbers_in_names_count_and_other_digits_are_letters() -> None:
    names = ["x10", "x9", "x10\u00b2", "\u0663", "x", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "x", "x9", "x10", "x10\u00b2", "\u0663"]
