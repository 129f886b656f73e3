"""Trained runs to export, and exported parts to load."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vtok.config import compose
from vtok.hub import save_pretrained
from vtok.training import train

Run = Callable[..., Path]


@pytest.fixture
def make_run(tiny_run: list[str], tmp_path: Path) -> Run:
    """Trains a run of a few steps; settings of the tiny components that the overrides replace are left out."""

    def make(*overrides: str) -> Path:
        others = [f"{item.partition('=')[0]}." for item in overrides if item.startswith(("backbone=", "mllm="))]
        kept = [item for item in tiny_run if not item.startswith(tuple(others))]
        train(compose([*kept, *overrides]), run_dir=tmp_path / "run", overrides=list(overrides))
        return tmp_path / "run"

    return make


@pytest.fixture(scope="session")
def usual_run(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the default settings; tests must not change it."""
    folder = tmp_path_factory.mktemp("usual")
    train(compose([*tiny_settings, f"outputs={folder}"]), run_dir=folder / "run", overrides=["seed=0"])
    return folder / "run"


@pytest.fixture(scope="session")
def usual_parts(usual_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both exported parts of that run; tests must not change them."""
    folder = tmp_path_factory.mktemp("parts")
    save_pretrained(usual_run, folder / "tokeniser", part="tokeniser")
    save_pretrained(usual_run, folder / "model", part="model")
    return folder


@pytest.fixture
def exported(usual_parts: Path, tmp_path: Path) -> Path:
    """An exported tokeniser that a test may change."""
    return shutil.copytree(usual_parts / "tokeniser", tmp_path / "out")


@pytest.fixture
def exported_model(usual_parts: Path, tmp_path: Path) -> Path:
    """An exported model that a test may change."""
    return shutil.copytree(usual_parts / "model", tmp_path / "out")
