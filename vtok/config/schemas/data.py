"""`conf/data` and `conf/data/augmentation`: files to clips."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class ShapesData:
    _target_: str = "vtok.data.ShapesData"
    root: str = MISSING
    level: str = "easy"
    train_clips: int = 2400
    heldout_clips: int = 400
    seed: int = 0
    pixels: int = 64
    families: list[str] | None = None
    make_workers: int | None = None
    size: int = MISSING
    num_frames: int = 30
    fps: float | None = None
    batch_size: int = 32
    num_workers: int = 1
    max_bad_fraction: float = 0.1
    limit: int | None = None
    decode_timeout: float | None = 60.0
    cache: str | None = None
    augmentation: Any = None


@dataclass
class ShardData:
    _target_: str = "vtok.data.ShardData"
    root: str = MISSING
    index: str | None = None
    index_cache: str = "outputs/data/shards"
    frames_fps: float = 24.0
    heldout_fraction: float = 0.1
    shuffle_buffer: int | None = None
    size: int = MISSING
    num_frames: int = 30
    fps: float | None = None
    batch_size: int = 8
    num_workers: int = 1
    max_bad_fraction: float = 0.1
    decode_timeout: float | None = 60.0
    cache: str | None = None
    limit: int | None = None
    augmentation: Any = None


@dataclass
class FolderData:
    _target_: str = "vtok.data.FolderData"
    root: str = MISSING
    manifest: str | None = None
    frames_fps: float = 24.0
    heldout_fraction: float = 0.1
    size: int = MISSING
    num_frames: int = 30
    fps: float | None = None
    batch_size: int = 8
    num_workers: int = 1
    max_bad_fraction: float = 0.1
    limit: int | None = None
    decode_timeout: float | None = 60.0
    cache: str | None = None
    augmentation: Any = None


@dataclass
class Augmentation:
    _target_: str = "vtok.data.Augmentation"
    min_area: float = 1.0
    max_aspect: float = 1.0
    horizontal_flip: float = 0.0
    left_right: str = "refuse"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    random_start: bool = False


@dataclass
class MixtureData:
    _target_: str = "vtok.data.MixtureData"
    sources: dict[str, Any] = MISSING
    weights: Any = None
    size: int = MISSING
    num_frames: int = 30
    fps: float | None = None
    batch_size: int = 8
    num_workers: int = 1
    max_bad_fraction: float = 0.1
    limit: int | None = None
    decode_timeout: float | None = 60.0
    cache: str | None = None
