"""Training from a feature cache: whether the cache fits the configuration, and the placeholder for its backbone."""

from omegaconf import DictConfig

from vtok.backbone.cached import CachedBackbone
from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.config.nodes import constant_of
from vtok.data import CachedReader, DataSource
from vtok.data.cached_reader import read_cache_file
from vtok.data.plan import StridePlanner
from vtok.data.sources.base import SPLITS
from vtok.feature_cache.compatibility import decodes, recipe_of


def backbone_of_cache(config: DictConfig) -> CachedBackbone | None:
    """The placeholder for a backbone whose features are all in the cache; None if the backbone itself is needed.

    The backbone is needed without `data.cache`, and when the model evaluates its own generated videos.

    Raises:
        UserError: `data.cache` is not a feature cache, or it was computed with other settings or weights.
    """
    folder = config.data.get("cache")
    if folder is None:
        return None
    setting = f"data.cache={folder}"
    cache = read_cache_file(user_path(folder), setting=setting)
    advice = (
        "Use the settings it was computed with, set data.cache=null, or compute another cache: "
        "vtok precompute out=FOLDER, followed by the overrides of this run."
    )
    recipe_of(config).check_cache(cache, setting=setting, advice=advice)
    if constant_of(config.tokeniser, "reads_attention", False) and not cache["attention"]:
        raise UserError(
            f"{setting}: {config.tokeniser._target_} reads the backbone's attention, which this cache does not hold. "
            "Set data.cache=null, or make a cache with vtok precompute attention=true."
        )
    if decodes(config) and constant_of(config.generation.judge, "uses_the_model", False):
        return None
    # The maps of the cache are averaged to the size of this run.
    map_size = config.backbone.get("map_size") or cache["backbone"]["map_size"]
    return CachedBackbone(**{**cache["backbone"], "map_size": map_size})


def without_cache(config: DictConfig) -> None:
    """Unset `data.cache`, so that a model trained from a cache is built with its backbone and can read files."""
    if config.data.get("cache") is not None:
        config.data.cache = None


def check_clips(source: DataSource, planner: StridePlanner) -> None:
    """Check that the planned frames of all clips are in the data set's cache, if it has one, before one is read.

    Those of training clips are planned for training.

    Whether a clip's file has changed is checked when the clip is read.

    Raises:
        UserError: a clip or one of its frames is not in the cache.
    """
    if source.cache is not None:
        for split in SPLITS:
            reader = CachedReader(source.cache, planner.for_training() if split == "train" else planner)
            reader.check(source.clips(split), files=False)
