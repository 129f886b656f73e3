"""Computing a feature cache, with any number of processes on one folder. Each may be killed and started again."""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig
from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.files import atomic_file
from vtok.common.paths import CACHE_FILE
from vtok.data import BadVideoError, DataSource, LoaderSettings
from vtok.data.broken_clips import list_bad
from vtok.data.cache_blocks import block_path
from vtok.data.cached_reader import read_cache_file
from vtok.data.clip_reader import Planner
from vtok.data.footage import Footage, FootageReader, FootageSample
from vtok.data.plan import TargetPlan
from vtok.feature_cache.blocks import CachedFootage, claim_blocks, read_block, read_entries, write_block
from vtok.feature_cache.compatibility import decodes, recipe_of
from vtok.feature_cache.extract import Extractor, build_extractor
from vtok.model.build import build, build_tokeniser, device_of
from vtok.training.cache_estimate import Estimate, estimated
from vtok.training.cache_footage import Blocks, footage_of, items_of, with_known
from vtok.training.model_tensors import digest

log = logging.getLogger("vtok")


@dataclass(frozen=True)
class CacheSummary:
    """The content of a cache.

    Attributes:
        folder: cache folder.
        clips: number of clips; versions of a clip count.
        pictures: number of encoded pictures.
        blocks: number of blocks.
        bytes: size of the blocks in bytes.
        bad: reason why a clip cannot be read, by path.
        estimate: what was to be computed at the start.
    """

    folder: Path
    clips: int
    pictures: int
    blocks: int
    bytes: int
    bad: dict[str, str]
    estimate: Estimate


def precompute(
    config: DictConfig,
    out: Path,
    *,
    planners: Sequence[Planner],
    block: int,
    dtype: str,
    attention: bool,
    only_estimate: bool = False,
    progress: bool = True,
) -> CacheSummary | Estimate:
    """Write or finish the feature cache of a configuration's clips of all splits.

    What is cached of files that have not changed is not computed again.

    Args:
        config: configuration that `vtok.config.check` accepts, without `data.cache`.
        out: output folder.
        planners: planners whose frames are cached.
        block: approximate number of clips in a file; a killed process loses this many.
        dtype: number format of the cached feature maps.
        attention: whether the backbone's attention is cached.
        only_estimate: return the estimate, and write nothing.
        progress: whether a progress bar is shown.

    Raises:
        UserError: the folder has a cache of other settings or cannot be written, or a file is missing of which more
            frames are needed; or files could not be read this time, which is raised after all others are cached.
    """
    backbone = build_tokeniser(config).backbone
    extractor, description = build_extractor(
        config, backbone, device=device_of(config), dtype=dtype, attention=attention
    )
    description["digest"] = digest(backbone.state_dict())
    source: DataSource = build(config.data)
    settings: LoaderSettings = build(config.loader)
    source.prepare()
    footage = footage_of(source)
    target = TargetPlan(config.decoder.num_frames, config.decoder.size) if decodes(config) else None
    reader = FootageReader(tuple(planners), source.clip, target)
    number = open_cache(config, out, {**description, "blocks": -(-len(footage) // block)}, write=not only_estimate)
    blocks: dict[Path, dict[str, Footage]] = defaultdict(dict)
    for name, one in footage.items():
        blocks[block_path(out, one.clips[0], number)][name] = one

    estimate = estimated(blocks, reader, extractor, settings)
    if only_estimate:
        return estimate
    log.info("%s: %s", out, estimate)
    bar = tqdm(total=estimate.pictures, desc="computing features", unit="picture", disable=None if progress else True)
    unread: dict[str, str] = {}
    with bar:
        for path in claim_blocks(blocks, out / "locks"):
            unread |= fill_block(path, blocks[path], reader, extractor, settings, bar)
    if unread:
        raise UserError(
            f"out={out}: {len(unread)} files could not be read this time, and are not in the cache. Run the same "
            f"command again for these files alone, or use a larger clip.decode_timeout:\n{list_bad(unread)}"
        )
    return summarise(out, blocks, estimate)


def open_cache(config: DictConfig, out: Path, description: dict[str, Any], *, write: bool) -> int:
    """Write `cache.json`, or check the existing one against this configuration, and return the number of blocks.

    Raises:
        UserError: the folder has a cache of other settings, or cannot be written.
    """
    if not write:
        return check_existing(config, out, description) if (out / CACHE_FILE).exists() else description["blocks"]
    try:
        (out / "blocks").mkdir(parents=True, exist_ok=True)
        (out / "locks").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror or error}). Use another folder.") from error
    with FileLock(out / "locks" / "cache.lock"):
        if (out / CACHE_FILE).exists():
            return check_existing(config, out, description)
        with atomic_file(out / CACHE_FILE) as partial:
            partial.write_text(json.dumps(description, indent=2), encoding="utf-8")
        return description["blocks"]


def check_existing(config: DictConfig, out: Path, description: Mapping[str, Any]) -> int:
    """Check an existing cache, to which more is added, and return its number of blocks."""
    existing = read_cache_file(out, setting=f"out={out}")
    recipe_of(config).check_cache(existing, setting=f"out={out}", advice="Choose another folder.")
    for key in ("dtype", "attention"):
        if existing[key] != description[key]:
            has, wanted = (str(one[key]).lower() for one in (existing, description))
            raise UserError(
                f"out={out} has a cache with {key}={has}, not {wanted}. Set {key}={has}, or use another folder."
            )
    # A cache of the network's own maps serves runs of any map_size, but what is added must have its size.
    if existing["backbone"]["map_size"] != description["backbone"]["map_size"]:
        raise UserError(f"out={out} has maps of another size. Set backbone.map_size=null, or use another folder.")
    # Random weights can differ between versions of a library.
    if existing["digest"] != description["digest"]:
        raise UserError(f"out={out} has a cache of a backbone with other weights. Use another folder.")
    return int(existing["blocks"])


def fill_block(
    path: Path,
    footage: Mapping[str, Footage],
    reader: FootageReader,
    extractor: Extractor,
    settings: LoaderSettings,
    bar: "tqdm[Any]",
) -> dict[str, str]:
    """Compute what a block lacks, and write it.

    Returns:
        The reason why a file could not be read this time, by path. A later call tries again.
    """
    entries = read_entries(path)
    pairs = [(name, known) for name, one in footage.items() if (known := with_known(one, entries.get(name)))]
    lacking = [
        (name, one)
        for name, one in pairs
        if one.frames is None or (wanted := reader.scan(one)).pictures or wanted.targets
    ]
    unread: dict[str, str] = {}
    if not lacking:
        return unread
    known_block = read_block(path)
    remaining = iter(lacking)
    for batch in items_of([one for _, one in lacking], reader, settings):
        read = [(file, sample, *next(remaining)) for file, sample in batch]
        good = [(file, sample, name, one) for file, sample, name, one in read if isinstance(sample, FootageSample)]
        for (file, sample, name, one), tensors in zip(good, extractor([each[1] for each in good]), strict=True):
            computed = CachedFootage(file, None, sample.wanted.frames, sample.wanted.pictures, tensors)
            known_block[name] = computed if one.frames is None else known_block[name].with_more(computed)
            bar.update(len(sample.wanted.pictures))
        for file, error, name, one in read:
            if isinstance(error, BadVideoError):
                if error.transient:
                    unread[error.path] = error.reason
                    continue
                if one.frames is not None:
                    raise UserError(
                        f"{error}: more frames of it are to be cached, and the file cannot be read any more. Use "
                        "the file as it was, or another out=FOLDER."
                    )
                known_block[name] = CachedFootage(file, error.reason, 0, (), {})
    write_block(path, known_block)
    return unread


def summarise(out: Path, blocks: Blocks, estimate: Estimate) -> CacheSummary:
    """The summary of the finished cache, of all processes."""
    bad, clips, pictures = {}, 0, 0
    for path, footage in blocks.items():
        entries = read_entries(path)
        for name, one in footage.items():
            # Missing: another process could not read it this time, and reports it.
            if (entry := entries.get(name)) is None:
                continue
            clips += len(one.clips)
            pictures += len(entry.places)
            if reason := entry.bad:
                bad[str(one.clips[0].path)] = reason
    return CacheSummary(
        folder=out,
        clips=clips,
        pictures=pictures,
        blocks=len(blocks),
        bytes=sum(path.stat().st_size for path in blocks),
        bad=bad,
        estimate=estimate,
    )
