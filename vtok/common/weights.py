"""Checks that weights are available, locally or on the hub, before a library that reads them is imported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache

# HTTPError is the base of what huggingface_hub's HTTP library raises; that library changes between its releases.
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from vtok.common.errors import UserError
from vtok.common.overrides import command
from vtok.common.paths import path_exists

HUB_TIMEOUT = 5.0
# A model in the local cache has one of these files.
CACHED = ("config.json", "model_index.json", "model.safetensors")


@dataclass(frozen=True)
class WeightsRef:
    """Weights that a configuration names.

    Attributes:
        key: key in the configuration: "backbone.weights".
        weights: hub id, local folder or file.
        revision: branch, tag or commit on the hub.
        can_be_random: whether the key may be null.
    """

    key: str
    weights: str
    revision: str | None = None
    can_be_random: bool = True


def check_available(wanted: Iterable[WeightsRef]) -> None:
    """Refuse weights that are not local if the hub does not have them or cannot be reached.

    Loading the weights reports any other problem with them.

    Raises:
        UserError: weights are not available; if the hub cannot be reached, the message names all of them.
    """
    absent = [one for one in dict.fromkeys(wanted) if is_absent(one)]
    for one in absent:
        try:
            HfApi().model_info(one.weights, revision=one.revision, timeout=HUB_TIMEOUT)
        except RepositoryNotFoundError as error:
            raise UserError(
                f"{one.key}={one.weights}: this is neither a folder nor in the local cache, and the hub refuses it "
                f"({type(error).__name__}). Check the name, or your access (hf auth login). Set {way_out([one])}"
            ) from error
        except HfHubHTTPError:
            continue
        except (HTTPError, OSError) as error:
            verb = "this is" if len(absent) == 1 else "these are"
            given = ", ".join(f"{one.key}={one.weights}" for one in absent)
            commands = ", ".join(command("hf", "download", one.weights, "--local-dir", "PATH") for one in absent)
            download = "Download it" if len(absent) == 1 else "Download them"
            raise UserError(
                f"{given}: {verb} neither a folder nor in the local cache, and {unreachable(error)}. "
                f"{download} with a network connection ({commands}). Set {way_out(absent)}"
            ) from error


def unreachable(error: Exception) -> str:
    """Why the hub was not asked, or did not answer."""
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    return f"the hub cannot be reached ({type(error).__name__})"


def is_absent(wanted: WeightsRef) -> bool:
    """Whether weights are a hub id that the local cache does not have.

    Raises:
        UserError: they are neither a local path nor a valid hub id.
    """
    if path_exists(wanted.weights):
        return False
    try:
        return cached_folder(wanted.weights, wanted.revision) is None
    except HFValidationError as error:
        raise UserError(
            f"{wanted.key}={wanted.weights}: there is no such file or folder, and it is not a hub id (ORG/NAME). Set "
            f"{way_out([wanted])}"
        ) from error


def cached_folder(weights: str, revision: str | None, *, part: str = "") -> Path | None:
    """The folder of a model, or of its subfolder `part`, in the hub's local cache; None if it is not there.

    Raises:
        HFValidationError: `weights` is not a valid hub id.
    """
    for name in CACHED:
        found = try_to_load_from_cache(weights, f"{part}/{name}" if part else name, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def way_out(absent: Sequence[WeightsRef]) -> str:
    """ "KEY=PATH, or KEY=null for random weights." """
    paths = " ".join(dict.fromkeys(f"{one.key}=PATH" for one in absent))
    nulls = " ".join(dict.fromkeys(f"{one.key}=null" for one in absent if one.can_be_random))
    return f"{paths}, or {nulls} for random weights." if nulls else f"{paths}."
