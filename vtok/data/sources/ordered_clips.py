"""Clips of a data set that are made when they are asked for."""

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Self, overload

import numpy as np

from vtok.data.clip import Clip


class OrderedClips(Sequence[Clip]):
    """Clips by number. An item is created on access, and a slice copies no clip.

    Args:
        order: number of each clip in what a subclass holds.
    """

    def __init__(self, order: range | np.ndarray) -> None:
        self._order = order

    @abstractmethod
    def clip_at(self, place: int) -> Clip:
        """The clip of a number."""

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, number: int) -> Clip: ...
    @overload
    def __getitem__(self, number: slice) -> Self: ...
    def __getitem__(self, number: int | slice) -> Clip | Self:
        if isinstance(number, slice):
            part = copy(self)
            part._order = self._order[number]
            return part
        return self.clip_at(int(self._order[number]))
