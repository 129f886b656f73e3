from pathlib import Path

import pytest

from vtok import paths


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
