"""Clips by number, broken ones replaced."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch.utils.data import Dataset

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data.broken_clips import list_bad
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipReader, ClipSample
from vtok.data.sampler import SampleKey
from vtok.data.sources.mixture.clips import MixtureClips
from vtok.data.video.common import BadVideoError

# Broken clips in a row after which a data set counts as broken as a whole.
MAX_ATTEMPTS = 100


class ClipDataset(Dataset[ClipSample]):
    """Clips by `SampleKey`.

    Args:
        clips: the clips of a split.
        reader: makes a sample of a clip.
        seed: of the run; decides which clip replaces a broken one.
        fits: says why what is written about a sample's clip cannot be used, None where it can; a clip that does not fit
            counts as broken.
        replace_bad: take another clip for a broken one, of the same source where there are several, the same in every
            run whatever the number of workers; False raises `BadVideoError`.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        reader: ClipReader,
        *,
        seed: int,
        replace_bad: bool,
        fits: Callable[[ClipSample], str | None] | None = None,
    ) -> None:
        self.clips = clips
        self.reader = reader
        self.seed = seed
        self.replace_bad = replace_bad
        self.fits = fits
        # Only what a worker knows already: a broken clip is broken for every worker, so the order stays the same.
        self._broken: dict[int, str] = {}

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
        scope = f"all {number}" if number <= MAX_ATTEMPTS else f"{MAX_ATTEMPTS} in a row of {number}"
        raise UserError(f"{scope} clips are broken, none can take their place:\n{list_bad(bad)}")

    def _siblings(self, index: int) -> range:
        """The clips of which one takes the place of a broken clip, itself among them."""
        return self.clips.siblings(index) if isinstance(self.clips, MixtureClips) else range(len(self.clips))

    def _candidate(self, key: SampleKey, siblings: range, attempt: int) -> int:
        """A walk from the wanted clip on, its step prime to the number of clips, so that it meets each once."""
        if attempt == 0:
            return key.index
        count = len(siblings)
        step = stable_hash("replacement", self.seed, key.epoch, key.index) % count
        while math.gcd(step, count) != 1:
            step += 1
        return siblings[(siblings.index(key.index) + attempt * step) % count]

    def _read(self, index: int, key: SampleKey) -> ClipSample:
        clip = self.clips[index]
        if index in self._broken:
            raise BadVideoError(clip.path, self._broken[index])
        sample = self.reader.read(clip, SampleKey(key.epoch, index))
        if self.fits is not None and (reason := self.fits(sample)) is not None:
            raise BadVideoError(clip.path, reason)
        return sample
