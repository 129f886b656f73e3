"""Processes that decode beside a live CUDA are not forked."""

from importlib.util import find_spec

import pytest

from vtok.config import compose
from vtok.data import worker
from vtok.training import train


@pytest.mark.parametrize(
    ("system", "workers", "live", "method"),
    [
        ("fork", 2, True, "forkserver"),
        ("fork", 2, False, None),
        ("fork", 0, True, None),
        ("spawn", 2, True, None),
        ("forkserver", 2, True, None),
    ],
)
def test_forks_are_avoided_once_cuda_is_in_use(system, workers, live, method, monkeypatch):
    monkeypatch.setattr(worker, "is_initialized", lambda: live)
    monkeypatch.setattr(worker.multiprocessing, "get_start_method", lambda: system)
    assert worker.start_method(workers) == method


def test_the_fork_server_imports_what_workers_need() -> None:
    """A module that is misspelt would be ignored."""
    assert all(find_spec(name) for name in worker.PRELOADED)


@pytest.mark.slow
def test_a_run_is_the_same_with_processes_that_are_not_forked(tiny_run, tmp_path, monkeypatch):
    overrides = [*tiny_run, "objective=joint"]
    alone = train(compose(overrides), run_dir=tmp_path / "alone")
    monkeypatch.setattr(worker, "is_initialized", lambda: True)
    monkeypatch.setattr(worker.multiprocessing, "get_start_method", lambda: "fork")
    beside = train(compose([*overrides, "loader.num_workers=1"]), run_dir=tmp_path / "beside")
    assert beside["digest/trained"] == alone["digest/trained"]
