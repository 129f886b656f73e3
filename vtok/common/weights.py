"""Whether weights can be had, here or on the hub, before a library that reads them is loaded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache

# HTTPError is the base of what huggingface_hub's HTTP library raises; that library changes between its releases.
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, RepositoryNotFoundError

from vtok.common.errors import UserError
from vtok.common.overrides import command
from vtok.common.paths import is_here

HUB_TIMEOUT = 5.0
# One of them is in the local cache where a model is.
CACHED = ("config.json", "model_index.json", "model.safetensors")


@dataclass(frozen=True)
class Wanted:
    """Weights that a configuration names.

    Attributes:
        key: of the configuration: "backbone.weights".
        weights: hub id, local folder or file.
        revision: branch, tag or commit on the hub.
        can_be_random: whether the key may be null.
    """

    key: str
    weights: str
    revision: str | None = None
    can_be_random: bool = True


def refuse_absent(wanted: Iterable[Wanted]) -> None:
    """Refuse weights that are not here where the hub does not have them or cannot be reached, all of them at once.

    Whatever else is wrong with weights, their loading says.

    Raises:
        UserError: some cannot be had.
    """
    absent = [one for one in dict.fromkeys(wanted) if is_absent(one)]
    for one in absent:
        try:
            HfApi().model_info(one.weights, revision=one.revision, timeout=HUB_TIMEOUT)
        except RepositoryNotFoundError as error:
            raise UserError(
                f"{one.key}={one.weights}: this is neither a folder nor in the local cache, and the hub does not give "
                f"it ({type(error).__name__}). Check the name, or your access (hf auth login). Set {way_out([one])}"
            ) from error
        except HfHubHTTPError:
            continue
        except (HTTPError, OSError) as error:
            given = ", ".join(f"{one.key}={one.weights}" for one in absent)
            commands = ", ".join(command("hf", "download", one.weights, "--local-dir", "PATH") for one in absent)
            raise UserError(
                f"{given}: neither a folder nor in the local cache, and the hub cannot be reached "
                f"({type(error).__name__}). Download where there is a network ({commands}) and set {way_out(absent)}"
            ) from error


def is_absent(wanted: Wanted) -> bool:
    """Whether weights are a hub id of which the local cache has nothing.

    Raises:
        UserError: they are nothing that is here, nor can they be a hub id.
    """
    if is_here(wanted.weights):
        return False
    try:
        return cached_folder(wanted.weights, wanted.revision) is None
    except HFValidationError as error:
        raise UserError(
            f"{wanted.key}={wanted.weights}: no such file or folder, and it is not a hub id (ORG/NAME) either. Set "
            f"{way_out([wanted])}"
        ) from error


def cached_folder(weights: str, revision: str | None, *, part: str = "") -> Path | None:
    """Where the hub's local cache has a model, or a part of it, a subfolder; None where it has not.

    Raises:
        HFValidationError: it can be no hub id.
    """
    for name in CACHED:
        found = try_to_load_from_cache(weights, f"{part}/{name}" if part else name, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def way_out(absent: Sequence[Wanted]) -> str:
    """ "KEY=PATH, or KEY=null for random weights." """
    paths = " ".join(dict.fromkeys(f"{one.key}=PATH" for one in absent))
    nulls = " ".join(dict.fromkeys(f"{one.key}=null" for one in absent if one.can_be_random))
    return f"{paths}, or {nulls} for random weights." if nulls else f"{paths}."
