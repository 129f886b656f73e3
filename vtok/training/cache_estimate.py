"""Size of a feature cache and time to compute it, before it is computed."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vtok.data import BadVideoError, LoaderSettings
from vtok.data.cache_blocks import LATENTS, TARGET
from vtok.data.footage import Footage, FootageReader, Wanted
from vtok.feature_cache.blocks import read_entries
from vtok.feature_cache.extract import Extractor
from vtok.training.cache_footage import Blocks, items_of, with_known

# Pictures of the first clip that can be read, by which the duration is estimated.
CALIBRATION = 32


@dataclass(frozen=True)
class Estimate:
    """What is still to be computed.

    Attributes:
        pictures: number of pictures to encode.
        bytes: size of the tensors to be written in bytes; broken clips are found when they are decoded.
        seconds: estimated duration; None if there is nothing to compute.
    """

    pictures: int
    bytes: int
    seconds: float | None

    def __str__(self) -> str:
        minutes = "" if self.seconds is None else f", about {self.seconds / 60:.1f} minutes in this process"
        return f"{self.pictures:,} pictures to encode, {self.bytes:,} bytes{minutes}"


def estimated(blocks: Blocks, reader: FootageReader, extractor: Extractor, settings: LoaderSettings) -> Estimate:
    """What is to be computed: counted in the clips' timestamps, and timed on the first pictures."""
    several = []
    for path, footage in blocks.items():
        entries = read_entries(path)
        several += [known for name, one in footage.items() if (known := with_known(one, entries.get(name)))]
    found = [wanted for batch in items_of(several, reader, settings, scan=True) for _, wanted in batch]
    todo = [(one, wanted) for one, wanted in zip(several, found, strict=True) if isinstance(wanted, Wanted)]
    pictures, targets = (sum(len(getattr(one, name)) for _, one in todo) for name in ("pictures", "targets"))
    # The times of the frames, float32, are written with the first pictures of a footage.
    size = pictures * extractor.picture_bytes + sum(4 * wanted.frames for one, wanted in todo if one.frames is None)
    lacking = (one for one, wanted in todo if wanted.pictures or wanted.targets)
    read, encode, target_bytes = calibrated(lacking, reader, extractor)
    # Worker processes decode while this one encodes.
    workers = settings.num_workers
    each = read + encode if workers == 0 else max(encode, read / workers)
    return Estimate(pictures, size + targets * target_bytes, pictures * each if pictures else None)


def calibrated(footage: Iterable[Footage], reader: FootageReader, extractor: Extractor) -> tuple[float, float, int]:
    """Seconds to read a picture and to encode it, and bytes of a target, of the first footage that can be read."""
    for one in footage:
        try:
            began = time.monotonic()
            sample = reader.read(replace(one, clips=one.clips[:1], pictures=frozenset(), targets=frozenset()))
        except BadVideoError:
            # Broken clips are reported when the cache is computed.
            continue
        read = (time.monotonic() - began) / max(1, len(sample.pixels))
        sample = replace(sample, pixels=sample.pixels[:CALIBRATION])
        # The first call is slower than the others.
        (tensors,) = extractor([sample])
        began = time.monotonic()
        extractor([sample])
        encode = (time.monotonic() - began) / max(1, len(sample.pixels))
        return read, encode, sum(each.nbytes for name, each in tensors.items() if name.startswith((TARGET, LATENTS)))
    return 0.0, 0.0, 0
