"""trainer.deterministic: torch's own setting, on only while a run trains."""

import pytest
import torch

from vtok.training.determinism import CUBLAS, deterministic_operations


def test_only_within_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    with deterministic_operations(False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert CUBLAS not in __import__("os").environ
    with pytest.raises(RuntimeError, match="no"), deterministic_operations(True):  # noqa: PT012
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        raise RuntimeError("no")
    assert not torch.are_deterministic_algorithms_enabled()
