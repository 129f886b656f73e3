"""What a feature cache was made with, and whether a configuration would make the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.nested import flatten
from vtok.config.moved import moved
from vtok.config.nodes import trait_of
from vtok.feature_cache.weight_files import Weights, changed, fingerprint
from vtok.tokeniser import Tokeniser

if TYPE_CHECKING:
    from vtok.decoder.latent import LatentDecoder

# Raised when the same settings come to mean other features, so that older caches are not taken for new ones.
VERSION = 1
CLIP_SETTINGS = ("clip.size", "clip.num_frames", "clip.fps")
# Of a backbone: what is looked at otherwise, or changes nothing.
APART = ("weights", "revision", "frozen")


@dataclass(frozen=True)
class Recipe:
    """All that features depend on beside the clips.

    Attributes:
        settings: by their key of the configuration: the backbone's, those of the tokeniser that its `extract` depends
            on (and with them the plan), those of reading, and those of a decoder that its targets depend on. The seed
            where it makes the backbone's weights.
        weights: by their key of the configuration.
    """

    settings: dict[str, Any]
    weights: dict[str, Weights]

    def as_json(self) -> dict[str, Any]:
        """What `cache.json` keeps; hashes the files of the weights."""
        return {
            "settings": self.settings,
            "weights": {key: fingerprint(weights) for key, weights in self.weights.items()},
        }

    def refuse(self, made: Mapping[str, Any], *, said: str, way_out: str) -> None:
        """Raise UserError with the first difference to a cache; what it holds beyond what is wanted is none.

        Args:
            made: of `as_json`.
            said: what the user wrote of the cache.
            way_out: what to do instead.
        """
        for key, value in self.settings.items():
            # A cache of an earlier version has the clip's settings at each data set.
            found = [then for name, then in made["settings"].items() if (moved(name) or name) == key]
            if not found:
                raise UserError(f"{said}: it was made without {key}={_text(value)}; {way_out}")
            for then in found:
                if then != value:
                    raise UserError(f"{said}: it was made with {key}={_text(then)}, not {_text(value)}; {way_out}")
        for key, weights in self.weights.items():
            if key not in made["weights"]:
                raise UserError(f"{said}: it was made without {key}={weights.name}; {way_out}")
            if difference := changed(made["weights"][key], weights):
                raise UserError(f"{said}: it was made with other {key}, as {difference}; {way_out}")


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def recipe_of(config: DictConfig) -> Recipe:
    """Of a configuration."""
    given = flatten(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    kind = get_class(str(config.tokeniser._target_))
    assert issubclass(kind, Tokeniser)
    # A budget is met by another setting of the tokeniser, which is looked at.
    apart = (
        {"tokeniser.budget"}
        | {f"backbone.{name}" for name in APART}
        | {f"tokeniser.{name}" for name in kind.project_settings}
    )
    places = ["data", *(f"data.sources.{name}" for name in config.data.get("sources", ()))]
    kept = ("backbone.", "tokeniser.", *CLIP_SETTINGS, *(f"{place}.frames_fps" for place in places))
    settings = {
        key: value
        for key, value in given.items()
        if key.startswith(kept) and key not in apart and not key.startswith("tokeniser.backbone.")
    }
    settings["version"] = VERSION
    weights: dict[str, Weights] = {}
    if name := given.get("backbone.weights"):
        weights["backbone.weights"] = Weights(name, given.get("backbone.revision"))
    else:
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
    """Whether a decoder is trained, and wants targets."""
    return bool(config.objective.get("lambda_dec"))


def latent_decoder(config: DictConfig) -> "type[LatentDecoder] | None":
    """The decoder's class where it has a VAE, the latents of which are kept instead of frames."""
    return get_class(str(config.decoder._target_)) if trait_of(config.decoder, "has_vae", False) else None
