"""Reads clips from a feature cache of `vtok precompute`: no file is decoded, and no backbone is run.

A cache is a folder with `cache.json`, which holds the settings it was computed with, and blocks,
`blocks/00012.safetensors`. A clip's block is a hash of its name, so clips can be added to the data set later. A block
holds tensors named ROW/NAME, and in its metadata an `Entry` for each clip by name.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.hashing import stable_hash
from vtok.common.overrides import command
from vtok.common.paths import CACHE_FILE, user_path
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipSample
from vtok.data.file_identity import Identity, is_unchanged
from vtok.data.sampler import SampleKey
from vtok.data.video.common import BadVideoError

TIMESTAMPS, TARGET, LATENTS, POOLED = "timestamps", "target", "latents", "pooled/"
OPEN_BLOCKS = 64
# Errors of a file that is not a block.
BROKEN = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Entry:
    """A clip in a block.

    Attributes:
        row: number of the clip's tensors in the block.
        file: identity of the clip's file when the features were computed; None if there was no file.
        bad: why the clip cannot be read; None if it can.
    """

    row: int
    file: Identity | None
    bad: str | None


class Block:
    """An open block, its tensors mapped into memory.

    Raises:
        OSError: the file does not exist. One of BROKEN: the file is not a block.
    """

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self.entries = {name: _entry(given) for name, given in json.loads(self._file.metadata()["clips"]).items()}
        self._names: dict[int, list[str]] = {}
        for key in self._file.keys():  # noqa: SIM118 - a safe_open is not iterable
            row, _, name = key.partition("/")
            self._names.setdefault(int(row), []).append(name)

    def tensors(self, row: int) -> dict[str, Tensor]:
        """The tensors of a row, by name."""
        return {name: self._file.get_tensor(f"{row}/{name}") for name in self._names[row]}


def _entry(given: Mapping[str, Any]) -> Entry:
    match given:
        case {"row": int(row), "file": None, "bad": None | str() as bad}:
            return Entry(row, None, bad)
        case {"row": int(row), "file": {"stamp": [*stamp], "digest": str(digest)}, "bad": None | str() as bad}:
            return Entry(row, Identity(tuple(stamp), digest), bad)
    raise ValueError("an entry of a clip is damaged")


def block_metadata(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The metadata of a block with these entries, by clip name."""
    return {"clips": json.dumps({name: asdict(entry) for name, entry in entries.items()})}


def clip_name(clip: Clip) -> str:
    """A clip's name in a cache; it includes the range of seconds in the file and how the clip is played."""
    played = "" if clip.playback is None else f"\n{clip.playback!r}"
    return f"{clip.id}\n{clip.start!r} {clip.end!r}{played}"


def block_path(folder: Path, clip: Clip, blocks: int) -> Path:
    """The path of a clip's block; `blocks` is the number of blocks in the cache."""
    return folder / "blocks" / f"{stable_hash('block', clip_name(clip)) % blocks:05d}.safetensors"


def read_cache_file(folder: Path, *, setting: str) -> dict[str, Any]:
    """The content of `cache.json`.

    Args:
        folder: folder of the cache.
        setting: `key=value` that names the folder, for the message.

    Raises:
        UserError: the folder has no such file, or the file is not one of a cache.
    """
    try:
        cache = read_mapping(folder / CACHE_FILE)
    except UserError as error:
        raise UserError(f"{setting} is not a feature cache: {error} {make_cache(folder)}") from error
    match cache:
        case {
            "blocks": int(blocks),
            "settings": dict(),
            "weights": dict(weights),
            "backbone": {
                "feature_dim": int(),
                "image_size": int(),
                "stride": int(),
                "num_parameters": int(),
                **others,
            },
            "dtype": str(),
            "digest": str(),
        } if (
            blocks > 0
            # Older caches have no depth.
            and (others.keys() <= {"depth"} and isinstance(others.get("depth"), int | None))
            and all(map(_is_fingerprint, weights.values()))
        ):
            return cache
    raise UserError(f"{setting}: its {CACHE_FILE} is damaged. {make_cache(folder)}")


def _is_fingerprint(given: Any) -> bool:
    """Whether this is JSON of `feature_cache.weight_files.fingerprint`."""
    match given:
        case {"name": str(), "revision": None | str(), "files": dict(files)}:
            return all(
                isinstance(file, dict) and file.keys() == {"bytes", "modified", "sha256"} for file in files.values()
            )
    return False


def make_cache(folder: Path) -> str:
    """The instruction to compute a cache, or what a cache lacks."""
    return f"Run: {command('vtok', 'precompute', f'out={folder}')}, followed by the overrides of this run."


class CachedReader:
    """Reads samples from a feature cache. A clip's file is only checked for changes; it may be absent.

    Args:
        folder: folder of the cache.
        with_target: whether samples hold the decoder's target frames or latents.

    Raises:
        UserError: the folder is not a feature cache.
    """

    def __init__(self, folder: str | Path, *, with_target: bool) -> None:
        self.folder = user_path(folder)
        self.with_target = with_target
        self.blocks = int(read_cache_file(self.folder, setting=f"data.cache={folder}")["blocks"])
        self._open: OrderedDict[Path, Block] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": OrderedDict()}

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        """The sample of a clip.

        Raises:
            BadVideoError: the clip could not be read when the features were computed.
            UserError: the clip is not in the cache, or its file has changed since.
        """
        block = self._block(clip)
        entry = self._check(clip, block)
        if entry.bad is not None:
            raise BadVideoError(clip.path, entry.bad)
        try:
            stored = block.tensors(entry.row)
            timestamps = stored[TIMESTAMPS].float()
        except BROKEN as error:
            raise UserError(
                f"data.cache={self.folder}: the features of {clip.path} cannot be read ({error}). "
                f"Delete blocks/{block_path(self.folder, clip, self.blocks).name}. {make_cache(self.folder)}"
            ) from error
        tensors = {name: one.float() if one.is_floating_point() else one for name, one in stored.items()}
        return ClipSample(
            frames=None,
            timestamps=timestamps,
            key=-1,
            clip=clip,
            epoch=key.epoch,
            target=tensors.get(TARGET) if self.with_target else None,
            pooled={name.removeprefix(POOLED): tensor for name, tensor in tensors.items() if name.startswith(POOLED)},
            latents=tensors.get(LATENTS) if self.with_target else None,
        )

    def check(self, clips: Iterable[Clip], *, files: bool) -> None:
        """Raise UserError if a clip is not in the cache or, with `files`, its file has changed since."""
        by_block: dict[Path, list[Clip]] = {}
        for clip in clips:
            by_block.setdefault(block_path(self.folder, clip, self.blocks), []).append(clip)
        for few in by_block.values():
            block = self._block(few[0])
            for clip in few:
                self._check(clip, block, files=files)

    def _check(self, clip: Clip, block: Block, *, files: bool = True) -> Entry:
        entry = block.entries.get(clip_name(clip))
        if entry is None:
            raise UserError(f"data.cache={self.folder}: {clip.path} is not in the cache. {make_cache(self.folder)}")
        if files and not is_unchanged(clip, entry.file):
            raise UserError(
                f"data.cache={self.folder}: {clip.path} has changed since its features were computed. "
                f"{make_cache(self.folder)}"
            )
        return entry

    def _block(self, clip: Clip) -> Block:
        path = block_path(self.folder, clip, self.blocks)
        block = self._open.pop(path, None)
        try:
            block = Block(path) if block is None else block
        except (OSError, *BROKEN) as error:
            raise UserError(
                f"data.cache={self.folder}: {clip.path} is not in the cache, which is unfinished "
                f"({path.name}: {error}). {make_cache(self.folder)}"
            ) from error
        self._open[path] = block
        if len(self._open) > OPEN_BLOCKS:
            self._open.popitem(last=False)
        return block
