"""How much memory tensors take at most, on any device."""

import weakref
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Within its context, the bytes of all tensors that were made there and still exist, and the most there were.

    Each storage counts once, whatever views there are of it; what an operation needs within itself is not seen.
    torch's own `MemTracker` does not take frozen parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = [one.untyped_storage() for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor) and not any(one.untyped_storage() is storage for storage in before):
                self._add(one.untyped_storage())
        return made

    def _add(self, storage: UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, bytes_: int) -> None:
        self.now -= bytes_
