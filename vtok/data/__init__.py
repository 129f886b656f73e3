"""Data sets, readers of video frames, and samplers."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.augmentation import Augmentation
    from vtok.data.broken_clips import BadFiles
    from vtok.data.cached_reader import CachedReader
    from vtok.data.clip import Clip, Question
    from vtok.data.clip_reader import ClipReader, ClipSample, FrameReader
    from vtok.data.clip_settings import ClipSettings
    from vtok.data.dataset import ClipDataset
    from vtok.data.loader_settings import LoaderSettings
    from vtok.data.sampler import EpochSampler, SampleKey
    from vtok.data.sources.base import DataSource
    from vtok.data.sources.folder import FolderData
    from vtok.data.sources.mixture import MixtureData
    from vtok.data.sources.shapes import ShapesData
    from vtok.data.sources.shards import ShardData
    from vtok.data.sources.twins import TwinsData
    from vtok.data.video.read import BadVideoError, open_video, read_video

__all__ = [
    "Augmentation",
    "BadFiles",
    "BadVideoError",
    "CachedReader",
    "Clip",
    "ClipDataset",
    "ClipReader",
    "ClipSample",
    "ClipSettings",
    "DataSource",
    "EpochSampler",
    "FolderData",
    "FrameReader",
    "LoaderSettings",
    "MixtureData",
    "Question",
    "SampleKey",
    "ShapesData",
    "ShardData",
    "TwinsData",
    "open_video",
    "read_video",
]

__getattr__, __dir__ = lazy_exports(__name__)
