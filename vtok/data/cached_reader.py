"""Clips out of a feature cache, which `vtok precompute` makes: no file is decoded, and no backbone is run.

A cache is a folder of `cache.json`, which says what it was made with, and of blocks, `blocks/00012.safetensors`. A
clip's block follows from its name alone, so that clips may be added to a data set. A block holds tensors ROW/NAME, and
in its metadata an `Entry` for each clip by its name.
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
# What comes of a file that is no block.
BROKEN = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Entry:
    """What a block knows of a clip.

    Attributes:
        row: which tensors are its.
        file: what its file was like; None where there was none.
        bad: why it cannot be read; None of a good one.
    """

    row: int
    file: Identity | None
    bad: str | None


class Block:
    """An open block, its tensors mapped into memory.

    Raises:
        OSError: the file is not there; one of BROKEN: it is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self.entries = {name: _entry(given) for name, given in json.loads(self._file.metadata()["clips"]).items()}
        self._names: dict[int, list[str]] = {}
        for key in self._file.keys():  # noqa: SIM118 - a safe_open cannot be walked through
            row, _, name = key.partition("/")
            self._names.setdefault(int(row), []).append(name)

    def stored(self, row: int) -> dict[str, Tensor]:
        """The tensors of a row by name."""
        return {name: self._file.get_tensor(f"{row}/{name}") for name in self._names[row]}


def _entry(given: Mapping[str, Any]) -> Entry:
    match given:
        case {"row": int(row), "file": None, "bad": None | str() as bad}:
            return Entry(row, None, bad)
        case {"row": int(row), "file": {"stamp": [*stamp], "digest": str(digest)}, "bad": None | str() as bad}:
            return Entry(row, Identity(tuple(stamp), digest), bad)
    raise ValueError("an entry of a clip is damaged")


def block_metadata(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The metadata of a block of these clips, by their names."""
    return {"clips": json.dumps({name: asdict(entry) for name, entry in entries.items()})}


def clip_name(clip: Clip) -> str:
    """A clip's name in a cache: another range of the same file is another clip."""
    return f"{clip.id}\n{clip.start!r} {clip.end!r}"


def block_path(folder: Path, clip: Clip, blocks: int) -> Path:
    """The block of a clip, of `blocks` in all."""
    return folder / "blocks" / f"{stable_hash('block', clip_name(clip)) % blocks:05d}.safetensors"


def read_cache_file(folder: Path, *, said: str) -> dict[str, Any]:
    """What `cache.json` says; `said` is what the user wrote of the folder, for the error.

    Raises:
        UserError: there is no such file, or it is not of a cache.
    """
    try:
        made = read_mapping(folder / CACHE_FILE)
    except UserError as error:
        raise UserError(
            f"{said}: there is no feature cache ({str(error).rstrip('.')}). Make it by: {remedy(folder)}"
        ) from error
    match made:
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
            # Caches of before backbones said it have no depth.
            and (others.keys() <= {"depth"} and isinstance(others.get("depth"), int | None))
            and all(map(_is_fingerprint, weights.values()))
        ):
            return made
    raise UserError(f"{said}: its {CACHE_FILE} is damaged. Make it again by: {remedy(folder)}")


def _is_fingerprint(given: Any) -> bool:
    """Whether JSON is what `feature_cache.weights.fingerprint` writes."""
    match given:
        case {"name": str(), "revision": None | str(), "files": dict(files)}:
            return all(
                isinstance(file, dict) and file.keys() == {"bytes", "modified", "sha256"} for file in files.values()
            )
    return False


def remedy(folder: Path) -> str:
    return f"{command('vtok', 'precompute', f'out={folder}')}, followed by the overrides of this run."


class CachedReader:
    """Samples out of a feature cache, whose files are looked at for changes alone, where they are there.

    Args:
        folder: of the cache.
        with_target: whether a decoder wants its frames or latents.

    Raises:
        UserError: there is no cache.
    """

    def __init__(self, folder: str | Path, *, with_target: bool) -> None:
        self.folder = user_path(folder)
        self.with_target = with_target
        self.blocks = int(read_cache_file(self.folder, said=f"data.cache={folder}")["blocks"])
        self._open: OrderedDict[Path, Block] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": OrderedDict()}

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        """The sample of a clip.

        Raises:
            BadVideoError: the clip could not be read when the cache was made.
            UserError: it is not in the cache, or its file has changed since.
        """
        block = self._block(clip)
        entry = self._check(clip, block)
        if entry.bad is not None:
            raise BadVideoError(clip.path, entry.bad)
        try:
            stored = block.stored(entry.row)
            timestamps = stored[TIMESTAMPS].float()
        except BROKEN as error:
            raise UserError(
                f"data.cache={self.folder}: the features of {clip.path} cannot be read ({error}); "
                f"delete blocks/{block_path(self.folder, clip, self.blocks).name}, and go on by: {remedy(self.folder)}"
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
        """Raise UserError where a clip is not in the cache or, with `files`, has changed since."""
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
            raise UserError(f"data.cache={self.folder}: {clip.path} is not in it; add it by: {remedy(self.folder)}")
        if files and not is_unchanged(clip, entry.file):
            raise UserError(
                f"data.cache={self.folder}: {clip.path} has changed since its features were computed; "
                f"compute them again by: {remedy(self.folder)}"
            )
        return entry

    def _block(self, clip: Clip) -> Block:
        path = block_path(self.folder, clip, self.blocks)
        block = self._open.pop(path, None)
        try:
            block = Block(path) if block is None else block
        except (OSError, *BROKEN) as error:
            raise UserError(
                f"data.cache={self.folder}: {clip.path} is not in it, as it is not finished ({path.name}: {error}); "
                f"go on by: {remedy(self.folder)}"
            ) from error
        self._open[path] = block
        if len(self._open) > OPEN_BLOCKS:
            self._open.popitem(last=False)
        return block
