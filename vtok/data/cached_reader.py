"""Reads clips from a feature cache of `vtok precompute`: no file is decoded, and no backbone is run."""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.overrides import command
from vtok.common.paths import CACHE_FILE, user_path
from vtok.data.cache_blocks import (
    ATTENTION,
    BROKEN,
    LATENTS,
    LEVELS,
    MAPS,
    SECONDS,
    SHARPNESS,
    TARGET,
    Block,
    Entry,
    block_path,
    footage_name,
    pictures_of,
    target_name,
)
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipSample, Planner
from vtok.data.file_identity import is_unchanged
from vtok.data.frame_maps import FrameMaps
from vtok.data.plan import FramePlan, TargetPlan
from vtok.data.sampler import SampleKey
from vtok.data.video.common import BadVideoError

OPEN_BLOCKS = 64


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
            "settings": dict(settings),
            "weights": dict(weights),
            "backbone": {
                "feature_dim": int(),
                "image_size": int(),
                "stride": int(),
                "num_parameters": int(),
                "depth": None | int(),
                "map_size": None | int(),
                **others,
            },
            "dtype": str(),
            "attention": bool(),
            "digest": str(),
        } if blocks > 0 and not others and settings and all(map(_is_fingerprint, weights.values())):
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


def make_cache(folder: str | Path) -> str:
    """The instruction to compute a cache, or what a cache lacks."""
    return f"Run: {command('vtok', 'precompute', f'out={folder}')}, followed by the overrides of this run."


class CachedReader:
    """Reads samples from a feature cache. A clip's file is only checked for changes; it may be absent.

    Args:
        folder: folder of the cache.
        planner: planner of the frames whose feature maps are read.
        target: plan of the decoder's target frames, whose frames or latents are read; None: no decoder.

    Raises:
        UserError: the folder is not a feature cache.
    """

    def __init__(self, folder: str | Path, planner: Planner, target: TargetPlan | None = None) -> None:
        self.folder = user_path(folder)
        self.planner = planner
        self.target = target
        self.blocks = int(read_cache_file(self.folder, setting=f"data.cache={folder}")["blocks"])
        self._open: OrderedDict[Path, Block] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": OrderedDict()}

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        """The sample of a clip.

        Raises:
            BadVideoError: the clip could not be read when the features were computed, or the planner refuses it.
            UserError: the clip or one of its frames is not in the cache, its file has changed since, or the planner
                keeps frames by the change of their pixels.
        """
        block = self._block(clip)
        entry = self._check(clip, block)
        if entry.bad is not None:
            raise BadVideoError(clip.path, entry.bad)
        plan = self._plan(clip, entry)
        frames = torch.tensor([entry.places[one] for one in pictures_of(clip, plan.indices, entry.frames)])
        names = block.names(entry.row)
        targets = {kind: target_name(kind, clip) for kind in (TARGET, LATENTS)}
        try:
            seconds = block.tensor(entry.row, SECONDS)[list(plan.indices)]
            maps = FrameMaps(
                maps=block.tensor(entry.row, MAPS)[frames],
                sharpness=block.tensor(entry.row, SHARPNESS)[frames],
                levels=block.tensor(entry.row, LEVELS)[frames],
                attention=block.tensor(entry.row, ATTENTION)[frames] if ATTENTION in names else None,
            )
            found: dict[str, Tensor] = {
                kind: block.tensor(entry.row, name).clone()
                for kind, name in targets.items()
                if self.target is not None and name in names
            }
        except (*BROKEN, IndexError) as error:
            raise UserError(
                f"data.cache={self.folder}: the features of {clip.path} cannot be read ({error}). "
                f"Delete blocks/{block_path(self.folder, clip, self.blocks).name}. {make_cache(self.folder)}"
            ) from error
        return ClipSample(
            frames=None,
            timestamps=seconds,
            key=-1 if plan.key is None else plan.key,
            clip=clip,
            epoch=key.epoch,
            target=found.get(TARGET),
            maps=maps,
            latents=found[LATENTS].float() if LATENTS in found else None,
            indices=plan.indices,
        )

    def check(self, clips: Iterable[Clip], *, files: bool) -> None:
        """Raise UserError if a clip's planned frames are not in the cache or, with `files`, its file has changed."""
        by_block: dict[Path, list[Clip]] = {}
        for clip in clips:
            by_block.setdefault(block_path(self.folder, clip, self.blocks), []).append(clip)
        for few in by_block.values():
            block = self._block(few[0])
            for clip in few:
                entry = self._check(clip, block, files=files)
                if entry.bad is None:
                    try:
                        self._plan(clip, entry)
                    except BadVideoError:
                        # It counts as broken when it is read, as without a cache.
                        continue

    def _plan(self, clip: Clip, entry: Entry) -> FramePlan:
        """The plan for a clip, whose pictures are all in the cache."""
        try:
            plan = self.planner.plan(entry.frames)
        except UserError as error:
            raise BadVideoError(clip.path, str(error).rstrip(".")) from error
        if plan.change is not None:
            raise UserError(
                f"data.cache={self.folder}: the tokeniser keeps frames by the change of their pixels, and a feature "
                "cache holds feature maps. Set data.cache=null, or use another tokeniser."
            )
        for picture in pictures_of(clip, plan.indices, entry.frames):
            if picture not in entry.places:
                part = "" if picture.window is None else " in the window that this clip shows"
                raise UserError(
                    f"data.cache={self.folder}: frame {picture.frame}{part} of {clip.path} is not in the cache, which "
                    f"was made for other plans (tokeniser.stride, tokeniser.key_frame). {make_cache(self.folder)}"
                )
        return plan

    def _check(self, clip: Clip, block: Block, *, files: bool = True) -> Entry:
        entry = block.entries.get(footage_name(clip))
        if entry is None:
            raise UserError(f"data.cache={self.folder}: {clip.path} is not in the cache. {make_cache(self.folder)}")
        if files and not is_unchanged(clip, entry.file):
            raise UserError(
                f"data.cache={self.folder}: {clip.path} has changed since its features were computed. "
                f"{make_cache(self.folder)}"
            )
        if self.target is not None and entry.bad is None:
            names = {target_name(kind, clip) for kind in (TARGET, LATENTS)}
            if not names & entry.targets:
                raise UserError(
                    f"data.cache={self.folder}: {clip.path} has no targets of the decoder in the cache. "
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
