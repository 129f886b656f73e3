"""Samples that stay in memory, so that their clips are read once."""

from vtok.data.clip_reader import ClipSample

# Clips after which their size is known well enough to say that all of them will not fit.
ENOUGH = 64


class KeptSamples:
    """Keeps the samples of a data set if all of them fit. Of a larger set each is used too seldom to be worth it.

    Args:
        clips: number of clips in the data set.
        max_bytes: largest number of bytes to keep; 0: nothing is kept.
    """

    def __init__(self, *, clips: int, max_bytes: int) -> None:
        self.clips = clips
        self.max_bytes = max_bytes
        self._full = max_bytes == 0
        self._samples: dict[int, ClipSample] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, index: int) -> ClipSample | None:
        """The sample of a clip; None if it is not kept."""
        return self._samples.get(index)

    def add(self, index: int, sample: ClipSample) -> None:
        """Keep a sample, unless all clips would take more than `max_bytes`, judged by those that were added so far."""
        if self._full:
            return
        self._samples[index] = sample
        self._bytes += sample.num_bytes
        number = len(self._samples)
        expected = self._bytes / number * self.clips if number >= ENOUGH else self._bytes
        if expected > self.max_bytes:
            self._full = True
            self._samples.clear()
