"""Weights by a library's own `from_pretrained`: from a local folder, else the hub's local cache, else the hub."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

# HTTPError is the base of what huggingface_hub's HTTP library raises; that library changes between its releases.
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, StrictDataclassError
from safetensors import SafetensorError

from vtok.errors import UserError
from vtok.paths import user_path

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HUB_TIMEOUT = 5.0
# One of them is in the local cache where a model is.
CACHED = ("config.json", "model_index.json", "model.safetensors")
# What the libraries raise for files that are missing, broken, or of a model that they cannot make here.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)

T = TypeVar("T")


def dtype_of(name: str, *, key: str) -> torch.dtype:
    """The precision of that name.

    Raises:
        UserError: there is none; `key` is the configuration's, for the message.
    """
    if name not in DTYPES:
        raise UserError(f"{key}={name}: allowed are {', '.join(DTYPES)}.")
    return DTYPES[name]


@dataclass(frozen=True)
class Place:
    """Where a library is to look.

    Attributes:
        name: hub id or local folder.
        revision: branch, tag or commit on the hub.
        offline: look into the folder or the local cache alone.
    """

    name: str
    revision: str
    offline: bool


def load(
    weights: str,
    read: Callable[[Place], T],
    *,
    key: str,
    kind: str,
    way_out: str,
    revision: str | None = None,
    probe: str = "config.json",
) -> T:
    """What `read` makes of the first place that has it.

    Args:
        weights: hub id or local folder.
        read: calls the library; what a file lacks it is to tell by an error.
        key: of the configuration, for messages: "backbone.weights".
        kind: what is looked for: "CLIP model".
        way_out: what to type instead: "set backbone.weights=PATH to ...".
        revision: branch, tag or commit on the hub.
        probe: a file that the hub has where it has the model.

    Raises:
        UserError: it is in no place, or cannot be read.
    """
    folder = user_path(weights)
    version = revision or "main"
    try:
        if os.path.isdir(folder):
            return read(Place(str(folder), "main", offline=True))
        try:
            return read(Place(weights, version, offline=True))
        except (OSError, ValueError):
            check_on_hub(weights, probe, key=key, way_out=way_out, revision=revision)
        return read(Place(weights, version, offline=False))
    except UNREADABLE as error:
        where = "the folder holds" if os.path.isdir(folder) else "there is"
        raise UserError(
            f"{key}={weights}: {where} no {kind} that can be read ({first_line(error)}); {way_out}"
        ) from error


def check_on_hub(weights: str, probe: str, *, key: str, way_out: str, revision: str | None) -> None:
    """Ask the hub once for a file: its client would retry for more than 20 seconds without a network.

    Raises:
        UserError: no such file, or no answer within HUB_TIMEOUT seconds.
    """
    try:
        get_hf_file_metadata(hf_hub_url(weights, probe, revision=revision), timeout=HUB_TIMEOUT)
    except HfHubHTTPError as error:
        reason = f"the hub refuses it ({type(error).__name__})"
    except HFValidationError:
        reason = "it is no hub id either"
    except (HTTPError, OSError) as error:
        reason = f"it is not in the local cache and the hub cannot be reached ({type(error).__name__})"
    else:
        return
    raise UserError(f"{key}={weights}: no such folder, and {reason}; {way_out}")


def refuse_unreachable(wanted: Mapping[str, str], *, can_be_random: Collection[str]) -> None:
    """Hub ids that the cache lacks, all told at once where the hub cannot be reached, before the first is loaded.

    Whatever else is wrong with weights, `load` says.

    Args:
        wanted: hub ids, folders and files by their key of the configuration.
        can_be_random: keys that may be null.

    Raises:
        UserError: the hub cannot be reached and some are not here.
    """
    absent = {key: weights for key, weights in wanted.items() if is_absent(weights)}
    if not absent:
        return
    try:
        HfApi().model_info(next(iter(absent.values())), timeout=HUB_TIMEOUT)
    except HfHubHTTPError:
        return
    except (HTTPError, OSError) as error:
        given = ", ".join(f"{key}={weights}" for key, weights in absent.items())
        commands = ", ".join(f"hf download {weights} --local-dir PATH" for weights in absent.values())
        paths = " ".join(f"{key}=PATH" for key in absent)
        nulls = " ".join(f"{key}=null" for key in absent if key in can_be_random)
        raise UserError(
            f"{given}: neither a folder nor in the local cache, and the hub cannot be reached "
            f"({type(error).__name__}); download where there is a network ({commands}) and say {paths}"
            + (f", or {nulls} for random weights." if nulls else ".")
        ) from error


def is_absent(weights: str) -> bool:
    """Whether weights are a hub id of which the local cache has nothing."""
    if os.path.exists(user_path(weights)):
        return False
    try:
        return not any(isinstance(try_to_load_from_cache(weights, name), str) for name in CACHED)
    except HFValidationError:
        return False


def only_shapes() -> bool:
    """Whether a model is built on the meta device, for its shapes alone: files of weights are not to be read then."""
    return torch.get_default_device().type == "meta"


def refuse_missing(missing: list[str], kind: str) -> None:
    """Parameters that files do not hold, which libraries fill with random numbers, are an error.

    Raises:
        ValueError: there are some.
    """
    if missing:
        raise ValueError(f"not a {kind}: {len(missing)} of its parameters are missing, the first: {sorted(missing)[0]}")


def first_line(error: Exception) -> str:
    """What went wrong, without the advice that libraries add on further lines."""
    return str(error).strip().partition("\n")[0].rstrip(".")
