"""Computing a feature cache, with any number of processes on one folder. Each may be killed and started again."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from vtok import __version__
from vtok.common.errors import UserError
from vtok.common.files import atomic_file
from vtok.common.paths import CACHE_FILE
from vtok.common.pretrained import dtype_of
from vtok.data import BadVideoError, Clip, ClipReader, ClipSample, DataSource, LoaderSettings, SampleKey
from vtok.data.cached_reader import LATENTS, POOLED, TARGET, TIMESTAMPS, Block, block_path, clip_name, read_cache_file
from vtok.data.file_identity import Identity, identify
from vtok.data.plan import TargetPlan
from vtok.data.sources.base import SPLITS
from vtok.data.worker import ignore_stop_signals, start_method
from vtok.feature_cache.blocks import CachedClip, claim_blocks, is_cached, read_block, write_block
from vtok.feature_cache.compatibility import decodes, latent_decoder, recipe_of
from vtok.model.batch import stack_frames, stack_targets
from vtok.model.build import build, build_tokeniser, device_of
from vtok.tokeniser import Tokeniser
from vtok.training.model_tensors import digest


@dataclass(frozen=True)
class CacheSummary:
    """The content of a cache.

    Attributes:
        folder: cache folder.
        clips: number of clips.
        blocks: number of blocks.
        bytes: size of the blocks in bytes.
        bad: reason why a clip cannot be read, by path.
    """

    folder: Path
    clips: int
    blocks: int
    bytes: int
    bad: dict[str, str]


@dataclass(frozen=True)
class Extractor:
    """The frozen components, whose outputs are cached.

    Attributes:
        tokeniser: tokeniser whose `extract` computes the features.
        to_latents: VAE encoder of the decoder, for frames (B, F, 3, H, W); None: target frames are cached instead.
        dtype: number format of the cached features and latents.
    """

    tokeniser: Tokeniser
    to_latents: Callable[[Tensor], Tensor] | None
    dtype: torch.dtype

    @torch.no_grad()
    def __call__(self, samples: Sequence[ClipSample]) -> list[dict[str, Tensor]]:
        """The cached tensors of clips with the same number of frames, by name."""
        device = next(self.tokeniser.parameters()).device
        planned, target = stack_frames(samples), stack_targets(samples)
        pooled = self.tokeniser.extract(planned.to(device))
        named = {f"{POOLED}{name}": self._on_cpu(tensor) for name, tensor in pooled.items()}
        if target is not None and self.to_latents is not None:
            named[LATENTS] = self._on_cpu(self.to_latents(target.to(device)))
        elif target is not None:
            named[TARGET] = target
        # Not in half precision: 16 bits cannot distinguish the timestamps of a long clip.
        named[TIMESTAMPS] = planned.timestamps
        return [
            {name: tensor[row].clone(memory_format=torch.contiguous_format) for name, tensor in named.items()}
            for row in range(len(samples))
        ]

    def _on_cpu(self, tensor: Tensor) -> Tensor:
        return tensor.to("cpu", self.dtype if tensor.is_floating_point() else tensor.dtype)


def precompute(config: DictConfig, out: Path, *, block: int, dtype: str, progress: bool = True) -> CacheSummary:
    """Write or finish the feature cache of a configuration's clips of all splits.

    Cached clips whose files have not changed are not computed again.

    Args:
        config: configuration that `vtok.config.check` accepts, without `data.cache`.
        out: output folder.
        block: approximate number of clips in a file; a killed process loses this many.
        dtype: number format of the cached features, "float32" or "bfloat16".
        progress: whether a progress bar is shown.

    Raises:
        UserError: the folder has a cache of other settings or cannot be written, or the features are trained.
    """
    extractor, description = build_extractor(config, dtype=dtype)
    source: DataSource = build(config.data)
    settings: LoaderSettings = build(config.loader)
    source.prepare()
    clips = [clip for split in SPLITS for clip in source.clips(split)]
    if not clips:
        raise UserError("The data set has no clips. Check the settings of data.")
    target = TargetPlan(config.decoder.num_frames, config.decoder.size) if decodes(config) else None
    reader = source.frame_reader(extractor.tokeniser.planner, target)
    try:
        (out / "blocks").mkdir(parents=True, exist_ok=True)
        (out / "locks").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror or error}). Use another folder.") from error
    number = open_cache(config, out, {**description, "blocks": -(-len(clips) // block)})
    by_block: dict[Path, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_block[block_path(out, clip, number)].append(clip)

    bar = tqdm(total=len(clips), desc="computing features", unit="clip", disable=None if progress else True)
    with bar:
        for path in claim_blocks(by_block, out / "locks"):
            known = read_block(path)
            missing = [clip for clip in by_block[path] if not is_cached(clip, known)]
            bar.update(len(by_block[path]) - len(missing))
            if missing:
                loader = make_loader(missing, reader, settings)
                for clip, entry in compute_features(missing, loader, extractor):
                    known[clip_name(clip)] = entry
                    bar.update()
                write_block(path, known)
    return summarise(out, by_block)


def build_extractor(config: DictConfig, *, dtype: str) -> tuple[Extractor, dict[str, Any]]:
    """The tokeniser and the VAE of a configuration, without the rest of the model, and their description in the cache.

    Raises:
        UserError: the features are trained.
    """
    tokeniser = build_tokeniser(config)
    if not tokeniser.is_cacheable:
        raise UserError(
            f"{type(tokeniser).__name__}: its backbone or its pooling is trained, so its features cannot be cached. "
            "Set backbone.frozen=true, and use a pooling without weights."
        )
    device = device_of(config)
    backbone = tokeniser.to(device).eval().backbone
    to_latents = None
    if decodes(config) and (kind := latent_decoder(config)) is not None:
        decoder = config.decoder
        vae = kind.read_vae(decoder.weights, revision=decoder.revision, dtype=decoder.vae_dtype).to(device)
        if decoder.vae_tiling:
            vae.enable_tiling()
        # One video at a time, so that a batch needs no more memory than a clip.
        vae.enable_slicing()

        def to_latents(video: Tensor) -> Tensor:
            return kind.latents_of(vae, video)

    description = {
        **recipe_of(config).as_json(),
        "dtype": dtype,
        "backbone": {
            "feature_dim": backbone.feature_dim,
            "image_size": backbone.image_size,
            "stride": backbone.stride,
            "depth": backbone.depth,
            "num_parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        },
        "digest": digest(backbone.state_dict()),
        "versions": {"vtok": __version__, "torch": torch.__version__},
    }
    return Extractor(tokeniser, to_latents, dtype_of(dtype, key="dtype")), description


def open_cache(config: DictConfig, out: Path, description: dict[str, Any]) -> int:
    """Write `cache.json`, or check the existing one against this configuration, and return the number of blocks.

    Raises:
        UserError: the folder has a cache of other settings.
    """
    with FileLock(out / "locks" / "cache.lock"):
        if not (out / CACHE_FILE).exists():
            with atomic_file(out / CACHE_FILE) as partial:
                partial.write_text(json.dumps(description, indent=2), encoding="utf-8")
            return description["blocks"]
        existing = read_cache_file(out, setting=f"out={out}")
        recipe_of(config).check_cache(existing, setting=f"out={out}", advice="Choose another folder.")
        if existing["dtype"] != description["dtype"]:
            raise UserError(
                f"out={out} has a cache in {existing['dtype']}, not {description['dtype']}. "
                f"Set dtype={existing['dtype']}, or use another folder."
            )
        # Random weights can differ between versions of a library.
        if existing["digest"] != description["digest"]:
            raise UserError(f"out={out} has a cache of a backbone with other weights. Use another folder.")
        return existing["blocks"]


class IdentifiedSamples(Dataset[tuple[Identity | None, ClipSample | BadVideoError]]):
    """Each clip's file identity just before it was read, and its sample or the reason why there is none."""

    def __init__(self, clips: Sequence[Clip], reader: ClipReader) -> None:
        self.clips, self.reader = clips, reader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Identity | None, ClipSample | BadVideoError]:
        file = identify(self.clips[index])
        try:
            return file, self.reader.read(self.clips[index], SampleKey(0, index))
        except BadVideoError as error:
            return file, error


def make_loader(clips: Sequence[Clip], reader: ClipReader, settings: LoaderSettings) -> DataLoader[Any]:
    """A loader of lists of `IdentifiedSamples`, in the order of the clips."""
    return DataLoader(
        IdentifiedSamples(clips, reader),
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        collate_fn=list,
        worker_init_fn=ignore_stop_signals,
        multiprocessing_context=start_method(settings.num_workers),
    )


def compute_features(
    clips: Sequence[Clip], loader: DataLoader[Any], extractor: Extractor
) -> Iterator[tuple[Clip, CachedClip]]:
    """The cache entry of each clip. Clips with the same number of frames are encoded together, without padding."""
    remaining = iter(clips)
    for batch in loader:
        by_length: dict[int, list[tuple[Clip, Identity | None, ClipSample]]] = defaultdict(list)
        for (file, read), clip in zip(batch, remaining, strict=False):
            if isinstance(read, BadVideoError):
                yield clip, CachedClip(file, read.reason, {})
            else:
                by_length[read.num_planned].append((clip, file, read))
        for group in by_length.values():
            for (clip, file, _), tensors in zip(group, extractor([read for *_, read in group]), strict=True):
                yield clip, CachedClip(file, None, tensors)


def summarise(out: Path, by_block: Mapping[Path, Sequence[Clip]]) -> CacheSummary:
    """The summary of the finished cache, of all processes."""
    bad = {}
    for path, clips in by_block.items():
        entries = Block(path).entries
        for clip in clips:
            if reason := entries[clip_name(clip)].bad:
                bad[str(clip.path)] = reason
    return CacheSummary(
        folder=out,
        clips=sum(map(len, by_block.values())),
        blocks=len(by_block),
        bytes=sum(path.stat().st_size for path in by_block),
        bad=bad,
    )
