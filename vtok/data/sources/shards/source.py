"""A data set in local or remote tar shards, read by byte ranges."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from torch.utils.data import Sampler

from vtok.common.errors import UserError
from vtok.common.files import atomic_file
from vtok.common.hashing import stable_hash
from vtok.common.overrides import command
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, Positive
from vtok.data.augmentation import Augmentation
from vtok.data.clip import Clip
from vtok.data.clip_settings import ClipSettings
from vtok.data.sampler import SampleKey, WindowSampler
from vtok.data.sources.base import SPLITS, DataSource, Split
from vtok.data.sources.ordered_clips import OrderedClips
from vtok.data.sources.shards.names import INDEX, PATTERN_ADVICE, expand_braces, is_glob, matches, split_pattern
from vtok.data.sources.shards.records import to_clip
from vtok.data.sources.splits import NOT_GIVEN, SplitFraction, assign_splits, check_fractions
from vtok.data.storage import filesystem, is_remote, join, size_of

if TYPE_CHECKING:
    from vtok.data.sources.shards.index import Shard, ShardIndex

# Concurrent requests to a server for the sizes of shards.
REQUESTS_AT_ONCE = 32


class ShardData(DataSource):
    """Clips in plain tar files with WebDataset's layout (KEY.mp4, KEY.json), and an index of their byte ranges.

    `vtok data pack` writes shards and index; `vtok data index` writes an index of existing shards. The bytes of a clip
    are read into memory on access, from a local file or through fsspec (s3://, hf://, https://, ...); nothing is
    unpacked. The list of clips is the memory-mapped index.

    Clips are assigned to splits as in `data=folder`, see `vtok.data.sources.splits`; the fractions can be changed
    without packing again.

    Args:
        root: folder or URL of the shards, with or without a pattern that selects some of them, such as
            `PATH/shard-{000..127}.tar` or `PATH/a*.tar`.
        index: path or URL of the index; None: `index.arrow` in the root.
        index_cache: folder for local copies of remote indexes.
        validation_fraction, test_fraction: share of the groups in the validation and in the test split, of the clips
            whose split is not given.
        shuffle_buffer: number of clips that are shuffled together, after the shards have been shuffled, so that reads
            stay near each other; None: all clips of an epoch.
        (for the others see `DataSource`)

    Raises:
        UserError: there are no shards or no index, or the index does not match the shards.
    """

    is_indexed = True

    def __init__(
        self,
        *,
        root: str,
        clip: ClipSettings,
        index: str | None = None,
        index_cache: str = "outputs/data/shards",
        frames_fps: Positive = 24.0,
        validation_fraction: SplitFraction = 0.05,
        test_fraction: SplitFraction = 0.1,
        shuffle_buffer: Count | None = None,
        limit: Count | None = None,
        cache: str | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(clip=clip, limit=limit, cache=cache, augmentation=augmentation)
        check_fractions(validation_fraction, test_fraction)
        if shuffle_buffer is not None and shuffle_buffer < 1:
            raise UserError(f"data.shuffle_buffer={shuffle_buffer}: it counts clips. Use 1 or more, or null.")
        folder, self.pattern = split_pattern(root)
        self.root = folder if is_remote(folder) else str(user_path(folder))
        self.index = index or join(self.root, INDEX)
        self.index_cache = user_path(index_cache)
        self.frames_fps = frames_fps
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.shuffle_buffer = shuffle_buffer
        self._index: ShardIndex | None = None
        self._rows: dict[Split, np.ndarray] = {}

    def prepare(self) -> None:
        if self._index is not None:
            return
        from vtok.data.sources.shards.index import ShardIndex

        index = ShardIndex(self._local_index())
        index.check()
        used = self._used(index.shards)
        self._check_sizes(index, [shard for shard, is_used in zip(index.shards, used, strict=True) if is_used])
        shards = index.column("shard")
        here = used[shards]
        usable = here & index.equal("bad", None)
        for number in np.flatnonzero(here & ~usable).tolist():
            row = index.row(number)
            path = path_of(self.root, index.shards[row["shard"]].name, row["member"])
            self.bad[Clip(row["id"], path).label] = row["bad"]
        if not usable.any():
            why = "; ".join(f"{path}: {reason}" for path, reason in list(self.bad.items())[:5])
            raise UserError(
                f"data.root={self.root} has no usable clip in its index {self.index} ({why or 'it is empty'}). "
                "Check the shards, or use others."
            )
        rows = np.flatnonzero(usable)
        given = np.select([index.equal("split", split)[rows] for split in SPLITS], range(len(SPLITS)), NOT_GIVEN)
        splits = assign_splits(
            given,
            index.column("rank")[rows],
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
        )
        self._rows = {split: rows[splits == number] for number, split in enumerate(SPLITS)}
        self._index = index

    def all_clips(self, split: Split) -> "ShardClips":
        self.prepare()
        assert self._index is not None
        return ShardClips(self._index, self._rows[split], root=self.root)

    def sampler(self, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> Sampler[SampleKey]:
        if self.shuffle_buffer is None:
            return super().sampler(seed=seed, start=start, rank=rank, world_size=world_size)
        shards = self.all_clips("train")[: self.limit].shards()
        return WindowSampler(
            shards, window=self.shuffle_buffer, seed=seed, rank=rank, world_size=world_size, start=start
        )

    def _local_index(self) -> Path:
        """The path of the index; a remote one is downloaded, because only local files can be memory-mapped."""
        missing = (
            f"data.root={self.root}: there is no index {self.index}. Make it with: {self._index_command()} "
            "(`vtok data pack` makes shards and an index from any data set)."
        )
        if not is_remote(self.index):
            path = user_path(self.index)
            if not os.path.isfile(path):
                raise UserError(missing)
            return path
        system, there = filesystem(self.index)
        try:
            kept = self.index_cache / f"{stable_hash(self.index, system.checksum(there)):016x}.arrow"
            self.index_cache.mkdir(parents=True, exist_ok=True)
            with FileLock(kept.with_suffix(".lock")):
                if not kept.is_file():
                    with atomic_file(kept) as partial:
                        system.get_file(there, str(partial))
        except FileNotFoundError as error:
            raise UserError(missing) from error
        except UserError:
            raise
        # Each file system has its own errors.
        except Exception as error:
            raise UserError(
                f"data.index={self.index} cannot be read ({type(error).__name__}: {error}). Check URL and network."
            ) from error
        return kept

    def _index_command(self) -> str:
        return command("vtok", "data", "index", f"root={self.root}")

    def _used(self, shards: "Sequence[Shard]") -> np.ndarray:
        """Whether the root selects each shard, bool (shards,)."""
        if self.pattern is None:
            return np.ones(len(shards), dtype=bool)
        try:
            patterns = expand_braces(self.pattern)
            used = np.array([matches(shard.name, patterns) for shard in shards], dtype=bool)
        except ValueError as error:
            raise UserError(f"data.root={self.root}/{self.pattern}: {error}. {PATTERN_ADVICE}") from error
        names = {shard.name for shard in shards}
        missing = next((one for one in patterns if one not in names and not is_glob(one)), None)
        if missing is not None or not used.any():
            raise UserError(
                f"data.root={self.root}/{self.pattern}: {self.index} has no shard {missing or self.pattern}. Use some "
                f"of its {len(shards)} shards, of which the first is {shards[0].name if shards else 'none'}."
            )
        return used

    def _check_sizes(self, index: "ShardIndex", used: "Sequence[Shard]") -> None:
        """Raise UserError if the shards have changed since the index was made."""
        again = f"Make the index again with: {self._index_command()}"
        for shard in used:
            path = Path(shard.name)
            if path.is_absolute() or ".." in path.parts:
                raise UserError(f"data.index={self.index}: the shard {shard.name} is outside the root. {again}")
        urls = [join(self.root, shard.name) for shard in used]
        try:
            if is_remote(self.root):
                with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                    sizes = list(pool.map(size_of, urls))
            else:
                sizes = [os.path.getsize(url) for url in urls]
        except OSError as error:
            raise UserError(f"data.root={self.root}: a shard of its index cannot be read ({error}). {again}") from error
        for shard, size in zip(used, sizes, strict=True):
            if None not in (shard.size, size) and shard.size != size:
                raise UserError(
                    f"data.root={self.root}: the shard {shard.name} has {size} bytes, but had {shard.size} when it was "
                    f"indexed. {again}"
                )


class ShardClips(OrderedClips):
    """Rows of an index as clips. It is pickled as the path of the index and the numbers of the rows."""

    def __init__(self, index: "ShardIndex", rows: np.ndarray, *, root: str) -> None:
        super().__init__(rows)
        self._index, self._root = index, root

    def clip_at(self, place: int) -> Clip:
        row = self._index.row(place)
        shard = self._index.shards[row["shard"]].name
        return to_clip(row, url=join(self._root, shard), path=path_of(self._root, shard, row["member"]))

    def shards(self) -> np.ndarray:
        """The number of each clip's shard, (clips,)."""
        return self._index.column("shard")[self._order]


def path_of(root: str, shard: str, member: str) -> Path:
    """The name of a member in messages; without the root if that is a URL, which `Path` would change."""
    return Path(shard) / member if is_remote(root) else Path(root) / shard / member
