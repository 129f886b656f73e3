"""Operations that give the same result in each run on the same GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# cuBLAS reads it when it is first used. Without it, its matrix products may differ between runs.
CUBLAS, WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


@contextmanager
def deterministic_operations(wanted: bool) -> Iterator[None]:
    """A context in which torch uses deterministic operations, if `wanted`.

    An operation that has no deterministic version raises RuntimeError. Attention chooses among its deterministic
    kernels, and cuDNN does not choose its algorithms by timing them.
    """
    if not wanted:
        yield
        return
    before, timed = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    os.environ.setdefault(CUBLAS, WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = timed
