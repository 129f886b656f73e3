"""The scripts of benchmarks/ as modules. They are no package: each is loaded from its file, as Python starts it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # Python puts the folder of a script first.
        patch.setattr(sys, "path", [str(FOLDER), *sys.path])
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def decode() -> ModuleType:
    return load("decode")


@pytest.fixture(scope="session")
def train() -> ModuleType:
    return load("train")


@pytest.fixture(scope="session")
def budgets() -> ModuleType:
    return load("budgets")


@pytest.fixture(scope="session")
def paper() -> ModuleType:
    return load("paper")


@pytest.fixture
def gpu() -> ModuleType:
    """Not shared: a test replaces its parts."""
    return load("gpu")


@pytest.fixture(scope="session")
def gpu_parts() -> ModuleType:
    return load("gpu_parts")
