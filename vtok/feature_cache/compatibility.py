"""What a feature cache was computed with, and whether a configuration would compute the same features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.nested import flatten
from vtok.config.nodes import constant_of, data_nodes, is_backbone_random
from vtok.feature_cache.weight_files import Weights, find_change, fingerprint

if TYPE_CHECKING:
    from vtok.decoder.latent import LatentDecoder

# Incremented when the same settings give other features, so that older caches are refused.
VERSION = 2
CLIP_SETTINGS = ("clip.size", "clip.num_frames", "clip.fps")
# Weights and revision are compared by their files; a cached backbone is always frozen.
NOT_COMPARED = ("weights", "revision", "frozen")
# Maps of this size, null, can be averaged to any other.
MAP_SIZE = "backbone.map_size"


@dataclass(frozen=True)
class Recipe:
    """Everything that features depend on, except the clips.

    Attributes:
        settings: values by configuration key. They are the settings of the backbone, of how clips are read, and of the
            decoder's targets. With random backbone weights, the seed.
        weights: pretrained weights by configuration key.
    """

    settings: dict[str, Any]
    weights: dict[str, Weights]

    def as_json(self) -> dict[str, Any]:
        """The recipe as it is saved in `cache.json`; this hashes the weight files."""
        return {
            "settings": self.settings,
            "weights": {key: fingerprint(weights) for key, weights in self.weights.items()},
        }

    def check_cache(self, cache: Mapping[str, Any], *, setting: str, advice: str) -> None:
        """Check that a cache has the features of this recipe. It may hold more than is needed.

        Args:
            cache: content of its `cache.json`, see `as_json`.
            setting: the setting that names the cache, as "data.cache=FOLDER", for the message.
            advice: the sentence of the message that says what to do instead.

        Raises:
            UserError: the cache was computed with other settings or weights; the message names the first difference.
        """
        settings = {_without_twins(key): value for key, value in cache["settings"].items()}
        for key, value in self.settings.items():
            if _without_twins(key) not in settings:
                raise UserError(f"{setting} was computed without {key}={_yaml_text(value)}. {advice}")
            cached = settings[_without_twins(key)]
            if cached != value and not (key == MAP_SIZE and cached is None):
                raise UserError(
                    f"{setting} was computed with {key}={_yaml_text(cached)}, not {_yaml_text(value)}. {advice}"
                )
        for key, weights in self.weights.items():
            if key not in cache["weights"]:
                raise UserError(f"{setting} was computed without {key}={weights.name}. {advice}")
            if change := find_change(cache["weights"][key], weights):
                raise UserError(f"{setting} was computed with other {key}: {change}. {advice}")


def _without_twins(key: str) -> str:
    """The key of a data set as it is without twins around it. They show its frames, so a cache may serve both."""
    within = key.removeprefix("data.source.")
    return key if within == key else f"data.{within}"


def _yaml_text(value: Any) -> str:
    return "null" if value is None else str(value)


def recipe_of(config: DictConfig) -> Recipe:
    """The recipe of a configuration's features."""
    given = flatten(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    ignored = {f"backbone.{name}" for name in NOT_COMPARED}
    compared = ("backbone.", *CLIP_SETTINGS, *(f"{path}.frames_fps" for path, _ in data_nodes(config)))
    settings = {key: value for key, value in given.items() if key.startswith(compared) and key not in ignored}
    settings["version"] = VERSION
    weights: dict[str, Weights] = {}
    if name := given.get("backbone.weights"):
        weights["backbone.weights"] = Weights(name, given.get("backbone.revision"))
    if is_backbone_random(config):
        settings["seed"] = config.seed
    if decodes(config):
        settings |= {key: given[key] for key in ("decoder.num_frames", "decoder.size")}
        settings["decoder's targets"] = "frames" if latent_decoder(config) is None else "latents"
        if latent_decoder(config) is not None:
            settings |= {
                f"decoder.{name}": given[f"decoder.{name}"] for name in ("_target_", "vae_dtype", "vae_tiling")
            }
            weights["decoder.weights"] = Weights(given["decoder.weights"], given["decoder.revision"], part="vae")
    return Recipe(settings, weights)


def decodes(config: DictConfig) -> bool:
    """Whether a decoder is trained, so that the cache needs its targets."""
    return bool(config.objective.get("lambda_dec"))


def latent_decoder(config: DictConfig) -> "type[LatentDecoder] | None":
    """The decoder's class if it has a VAE, whose latents are cached instead of frames; None otherwise."""
    return get_class(str(config.decoder._target_)) if constant_of(config.decoder, "has_vae", False) else None
