"""The torch data set of clips, which replaces broken ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch.utils.data import Dataset

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data.broken_clips import list_bad
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipReader, ClipSample
from vtok.data.kept_samples import KeptSamples
from vtok.data.sampler import SampleKey
from vtok.data.sources.mixture.clips import MixtureClips
from vtok.data.video.common import BadVideoError

# Broken clips in a row after which reading fails.
MAX_ATTEMPTS = 100


class ClipDataset(Dataset[ClipSample]):
    """Samples of clips by `SampleKey`.

    Args:
        clips: clips of a split.
        reader: reader of the clips.
        seed: random seed of the run, which decides which clip replaces a broken one.
        reject_reason: function that returns why a sample's texts cannot be used, or None; such a clip counts as broken.
        replace_bad: whether another clip of the same source replaces a broken one, the same in every run whatever the
            number of workers; False: a broken clip raises `BadVideoError`.
        keep_bytes: largest size of samples to keep in memory, in each process that reads, see `KeptSamples`; 0 if the
            reader draws random numbers in each epoch.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        reader: ClipReader,
        *,
        seed: int,
        replace_bad: bool,
        reject_reason: Callable[[ClipSample], str | None] | None = None,
        keep_bytes: int = 0,
    ) -> None:
        self.clips = clips
        self.reader = reader
        self.seed = seed
        self.replace_bad = replace_bad
        self.reject_reason = reject_reason
        # Each worker has its own. A broken clip is broken for every worker, so the order stays the same.
        self._broken: dict[int, str] = {}
        self._kept = KeptSamples(clips=len(clips), max_bytes=keep_bytes)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: SampleKey) -> ClipSample:
        bad: dict[str, str] = {}
        siblings = self._siblings(key.index)
        for attempt in range(min(len(siblings), MAX_ATTEMPTS)):
            index = self._candidate(key, siblings, attempt)
            try:
                return replace(self._read(index, key), bad=tuple(bad.items()))
            except BadVideoError as error:
                if not self.replace_bad:
                    raise
                self._broken[index] = error.reason
                bad[error.path] = error.reason
        number = len(siblings)
        scope = f"All {number}" if number <= MAX_ATTEMPTS else f"{MAX_ATTEMPTS} of {number}"
        raise UserError(f"{scope} clips are broken. Check the files with `vtok data check`:\n{list_bad(bad)}")

    def _siblings(self, index: int) -> range:
        """The clips that may replace a clip, including itself."""
        return self.clips.siblings(index) if isinstance(self.clips, MixtureClips) else range(len(self.clips))

    def _candidate(self, key: SampleKey, siblings: range, attempt: int) -> int:
        """The clip of an attempt. Steps are coprime to the number of clips, so each clip is tried once."""
        if attempt == 0:
            return key.index
        count = len(siblings)
        step = stable_hash("replacement", self.seed, key.epoch, key.index) % count
        while math.gcd(step, count) != 1:
            step += 1
        return siblings[(siblings.index(key.index) + attempt * step) % count]

    def _sample(self, clip: Clip, key: SampleKey) -> ClipSample:
        if (kept := self._kept.get(key.index)) is not None:
            return replace(kept, epoch=key.epoch)
        try:
            sample = self.reader.read(clip, key)
        except BadVideoError as error:
            # Several clips can share a file, and each counts.
            raise BadVideoError(clip.label, error.reason) from error
        self._kept.add(key.index, sample)
        return sample

    def _read(self, index: int, key: SampleKey) -> ClipSample:
        clip = self.clips[index]
        if index in self._broken:
            raise BadVideoError(clip.label, self._broken[index])
        sample = self._sample(clip, SampleKey(key.epoch, index))
        if self.reject_reason is not None and (reason := self.reject_reason(sample)) is not None:
            raise BadVideoError(clip.label, reason)
        return sample
