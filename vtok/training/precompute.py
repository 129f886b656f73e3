"""Computing features once: by any number of processes on one folder, each of which may be killed and started again."""

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
from vtok.common.files import whole
from vtok.common.paths import CACHE_FILE
from vtok.common.pretrained import dtype_of
from vtok.data import BadVideoError, Clip, ClipReader, ClipSample, DataSource, LoaderSettings, SampleKey
from vtok.data.cached_reader import LATENTS, POOLED, TARGET, TIMESTAMPS, Block, block_path, clip_name, read_cache_file
from vtok.data.file_identity import Identity, identify
from vtok.data.plan import TargetPlan
from vtok.data.worker import outlive_stops, start_method
from vtok.feature_cache.blocks import Kept, is_kept, known_clips, unclaimed, write_block
from vtok.feature_cache.compatibility import decodes, latent_decoder, recipe_of
from vtok.model.batch import stack_frames, stack_targets
from vtok.model.build import build, build_tokeniser, device_of
from vtok.tokeniser import Tokeniser
from vtok.training.model_tensors import digest


@dataclass(frozen=True)
class Precomputed:
    """What there is in a cache: clips, their blocks and bytes, and why some cannot be read, by their paths."""

    folder: Path
    clips: int
    blocks: int
    bytes: int
    bad: dict[str, str]


@dataclass(frozen=True)
class Extractor:
    """The frozen parts.

    Attributes:
        tokeniser: its `extract`.
        to_latents: a decoder's VAE, from frames (B, F, 3, H, W); None where there is none, and frames are kept.
        dtype: that what is computed is kept in.
    """

    tokeniser: Tokeniser
    to_latents: Callable[[Tensor], Tensor] | None
    dtype: torch.dtype

    @torch.no_grad()
    def __call__(self, samples: Sequence[ClipSample]) -> list[dict[str, Tensor]]:
        """What is kept of clips of as many frames each, by name."""
        device = next(self.tokeniser.parameters()).device
        planned, target = stack_frames(samples), stack_targets(samples)
        pooled = self.tokeniser.extract(planned.to(device))
        named = {f"{POOLED}{name}": self._kept(tensor) for name, tensor in pooled.items()}
        if target is not None and self.to_latents is not None:
            named[LATENTS] = self._kept(self.to_latents(target.to(device)))
        elif target is not None:
            named[TARGET] = target
        # Not in half precision: 16 bits do not tell the frames of a long clip apart.
        named[TIMESTAMPS] = planned.timestamps
        return [
            {name: tensor[row].clone(memory_format=torch.contiguous_format) for name, tensor in named.items()}
            for row in range(len(samples))
        ]

    def _kept(self, tensor: Tensor) -> Tensor:
        return tensor.to("cpu", self.dtype if tensor.is_floating_point() else tensor.dtype)


def precompute(config: DictConfig, out: Path, *, block: int, dtype: str, progress: bool = True) -> Precomputed:
    """Write, or finish, the feature cache of a configuration's clips of both splits.

    What is there of clips whose files have not changed stays.

    Args:
        config: as `vtok.config.check` lets pass, without `data.cache`.
        out: output folder.
        block: clips of a file, about; what is lost when a process is killed.
        dtype: "float32" or "bfloat16", of what is kept.
        progress: show a bar.

    Raises:
        UserError: the folder holds a cache that was made otherwise, or cannot be written, or what is to be kept is
            trained.
    """
    extractor, made = frozen_parts(config, dtype=dtype)
    source: DataSource = build(config.data)
    settings: LoaderSettings = build(config.loader)
    source.prepare()
    clips = [clip for split in ("train", "heldout") for clip in source.clips(split)]
    if not clips:
        raise UserError("the data set has no clips.")
    target = TargetPlan(config.decoder.num_frames, config.decoder.size) if decodes(config) else None
    reader = source.frame_reader(extractor.tokeniser.planner, target)
    try:
        (out / "blocks").mkdir(parents=True, exist_ok=True)
        (out / "locks").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: it cannot be written ({error.strerror or error}).") from error
    number = begin(config, out, {**made, "blocks": -(-len(clips) // block)})
    by_block: dict[Path, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_block[block_path(out, clip, number)].append(clip)

    bar = tqdm(total=len(clips), desc="computing features", unit="clip", disable=None if progress else True)
    with bar:
        for path in unclaimed(by_block, out / "locks"):
            known = known_clips(path)
            missing = [clip for clip in by_block[path] if not is_kept(clip, known)]
            bar.update(len(by_block[path]) - len(missing))
            if missing:
                loader = loader_of(missing, reader, settings)
                for clip, kept in computed(missing, loader, extractor):
                    known[clip_name(clip)] = kept
                    bar.update()
                write_block(path, known)
    return summary(out, by_block)


def frozen_parts(config: DictConfig, *, dtype: str) -> tuple[Extractor, dict[str, Any]]:
    """The tokeniser and the VAE of a configuration, without the rest of the model, and what the cache says of them."""
    tokeniser = build_tokeniser(config)
    if not tokeniser.is_cacheable:
        raise UserError(
            f"{type(tokeniser).__name__}: its backbone or its pooling is trained, so that features change with every "
            "step and cannot be kept; say backbone.frozen=true, and a pooling without weights."
        )
    device = device_of(config)
    backbone = tokeniser.to(device).eval().backbone
    to_latents = None
    if decodes(config) and (kind := latent_decoder(config)) is not None:
        decoder = config.decoder
        vae = kind.read_vae(decoder.weights, revision=decoder.revision, dtype=decoder.vae_dtype).to(device)
        if decoder.vae_tiling:
            vae.enable_tiling()
        # One video after the other, so that a batch takes no more memory than a clip.
        vae.enable_slicing()

        def to_latents(video: Tensor) -> Tensor:
            return kind.latents_of(vae, video)

    made = {
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
    return Extractor(tokeniser, to_latents, dtype_of(dtype, key="dtype")), made


def begin(config: DictConfig, out: Path, made: dict[str, Any]) -> int:
    """Write `cache.json`, or hold this process against the one that is there; returns the number of blocks.

    Raises:
        UserError: another cache is there.
    """
    with FileLock(out / "locks" / "cache.lock"):
        if not (out / CACHE_FILE).exists():
            with whole(out / CACHE_FILE) as partial:
                partial.write_text(json.dumps(made, indent=2), encoding="utf-8")
            return made["blocks"]
        there = read_cache_file(out, said=f"out={out}")
        recipe_of(config).refuse(there, said=f"out={out}", way_out="say another folder.")
        if there["dtype"] != made["dtype"]:
            raise UserError(f"out={out}: it was made with dtype={there['dtype']}, not {made['dtype']}; say that.")
        # Random weights may come out otherwise in another version of a library.
        if there["digest"] != made["digest"]:
            raise UserError(f"out={out}: it was made by a backbone of other weights; say another folder.")
        return there["blocks"]


class Reading(Dataset[tuple[Identity | None, ClipSample | BadVideoError]]):
    """Each clip's file as it was just before it was read, and the sample, or why there is none."""

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


def loader_of(clips: Sequence[Clip], reader: ClipReader, settings: LoaderSettings) -> DataLoader[Any]:
    """Lists of what `Reading` gives, in the order of the clips."""
    return DataLoader(
        Reading(clips, reader),
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        collate_fn=list,
        worker_init_fn=outlive_stops,
        multiprocessing_context=start_method(settings.num_workers),
    )


def computed(clips: Sequence[Clip], loader: DataLoader[Any], extractor: Extractor) -> Iterator[tuple[Clip, Kept]]:
    """What is to be kept of each clip. Clips of as many frames are encoded together, so that nothing is padded."""
    remaining = iter(clips)
    for batch in loader:
        alike: dict[int, list[tuple[Clip, Identity | None, ClipSample]]] = defaultdict(list)
        for (file, read), clip in zip(batch, remaining, strict=False):
            if isinstance(read, BadVideoError):
                yield clip, Kept(file, read.reason, {})
            else:
                alike[read.num_planned].append((clip, file, read))
        for group in alike.values():
            for (clip, file, _), tensors in zip(group, extractor([read for *_, read in group]), strict=True):
                yield clip, Kept(file, None, tensors)


def summary(out: Path, by_block: Mapping[Path, Sequence[Clip]]) -> Precomputed:
    """What there is in the end, of all processes."""
    bad = {}
    for path, clips in by_block.items():
        entries = Block(path).entries
        for clip in clips:
            if reason := entries[clip_name(clip)].bad:
                bad[str(clip.path)] = reason
    return Precomputed(
        folder=out,
        clips=sum(map(len, by_block.values())),
        blocks=len(by_block),
        bytes=sum(path.stat().st_size for path in by_block),
        bad=bad,
    )
