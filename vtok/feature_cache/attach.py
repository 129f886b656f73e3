"""Training from a feature cache: whether it is the one that is wanted, and what stands in the backbone's place."""

from omegaconf import DictConfig

from vtok.backbone.absent import AbsentBackbone
from vtok.common.paths import user_path
from vtok.config.nodes import trait_of
from vtok.data import CachedReader, DataSource
from vtok.data.cached_reader import read_cache_file
from vtok.feature_cache.compatibility import decodes, recipe_of


def backbone_of_cache(config: DictConfig) -> AbsentBackbone | None:
    """What stands in the place of the backbone; None where a configuration needs the backbone itself.

    It does without `data.cache`, and where videos that the model has made are to be judged by the model.

    Raises:
        UserError: there is no such cache, or it was made otherwise.
    """
    folder = config.data.get("cache")
    if folder is None:
        return None
    said = f"data.cache={folder}"
    made = read_cache_file(user_path(folder), said=said)
    way_out = "say what it was made with, data.cache=null, or make another by: vtok precompute out=FOLDER"
    recipe_of(config).refuse(made, said=said, way_out=f"{way_out}, followed by the overrides of this run.")
    judged_by_itself = decodes(config) and trait_of(config.generation.judge, "uses_the_model", False)
    return None if judged_by_itself else AbsentBackbone(**made["backbone"])


def without_cache(config: DictConfig) -> None:
    """Have the model of a run that was trained from a cache built with its backbone, to be used on files."""
    if config.data.get("cache") is not None:
        config.data.cache = None


def check_clips(source: DataSource) -> None:
    """Whether all clips of a data set are in the cache that it is to be read from, if any, before the first is read.

    Their files are looked at when they are.

    Raises:
        UserError: one is not.
    """
    if source.cache is not None:
        reader = CachedReader(source.cache, with_target=False)
        for split in ("train", "heldout"):
            reader.check(source.clips(split), files=False)
