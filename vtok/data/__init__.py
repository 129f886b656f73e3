"""Files to clips: data sets, frames of videos, the order of a run."""

from typing import TYPE_CHECKING

from vtok.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.augmentation import Augmentation
    from vtok.data.cached import CachedReader
    from vtok.data.clip import Clip, Question
    from vtok.data.dataset import ClipDataset
    from vtok.data.folder import FolderData
    from vtok.data.mixture import MixtureData
    from vtok.data.reading import ClipReader, ClipSample, FrameReader
    from vtok.data.report import BadFiles
    from vtok.data.sampler import EpochSampler, SampleKey
    from vtok.data.shapes import ShapesData
    from vtok.data.shards import ShardData
    from vtok.data.source import DataSource
    from vtok.data.video import BadVideoError, open_video, read_video

__all__ = [
    "Augmentation",
    "BadFiles",
    "BadVideoError",
    "CachedReader",
    "Clip",
    "ClipDataset",
    "ClipReader",
    "ClipSample",
    "DataSource",
    "EpochSampler",
    "FolderData",
    "FrameReader",
    "MixtureData",
    "Question",
    "SampleKey",
    "ShapesData",
    "ShardData",
    "open_video",
    "read_video",
]

__getattr__, __dir__ = lazy_exports(__name__)
