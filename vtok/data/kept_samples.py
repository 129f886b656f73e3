"""Samples that stay in memory, so that their clips are read once."""

from vtok.data.clip_reader import ClipSample


class KeptSamples:
    """Keeps the samples of a data set if all of them fit; some of a large set would be read again before they are used.

    Args:
        clips: number of clips in the data set.
        max_bytes: largest number of bytes to keep; 0: nothing is kept.
    """

    def __init__(self, *, clips: int, max_bytes: int) -> None:
        self.clips = clips
        self.max_bytes = max_bytes
        self._samples: dict[int, ClipSample] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, index: int) -> ClipSample | None:
        """The sample of a clip; None if it is not kept."""
        return self._samples.get(index)

    def add(self, index: int, sample: ClipSample) -> None:
        """Keep a sample, unless all clips would take more than `max_bytes` at the mean size so far."""
        number, size = len(self._samples) + 1, sample.num_bytes
        if (self._bytes + size) / number * self.clips > self.max_bytes:
            self.max_bytes = 0
            self._samples.clear()
            return
        self._samples[index] = sample
        self._bytes += size
