"""Loads weights with a library's `from_pretrained`: from a local folder, else the hub's local cache, else the hub."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

# HTTPError is the base of what huggingface_hub's HTTP library raises; that library changes between its releases.
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, StrictDataclassError
from safetensors import SafetensorError

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.common.weights import HUB_TIMEOUT, unreachable

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Errors that libraries raise for files that are missing, broken, or of a model that they cannot build.
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
    """The dtype of a name.

    Args:
        name: one of `DTYPES`.
        key: key in the configuration, for the message.

    Raises:
        UserError: the name is unknown.
    """
    if name not in DTYPES:
        raise UserError(f"{key}={name}: unknown dtype. Use {', '.join(DTYPES)}.")
    return DTYPES[name]


@dataclass(frozen=True)
class Place:
    """Where a library looks for weights.

    Attributes:
        name: hub id or local folder.
        revision: branch, tag or commit on the hub.
        offline: use the folder or the local cache only.
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
    """The result of `read` for the first place that has the weights.

    Args:
        weights: hub id or local folder.
        read: function that calls the library; it raises an error if the files lack something.
        key: key in the configuration, for messages: "backbone.weights".
        kind: kind of model, for messages: "CLIP model".
        way_out: what to set instead: "Set backbone.weights=PATH to ...".
        revision: branch, tag or commit on the hub.
        probe: a file that every model of this kind has on the hub.

    Raises:
        UserError: the weights are nowhere, or cannot be read.
    """
    folder = user_path(weights)
    version = revision or "main"
    try:
        if os.path.isdir(folder):
            return read(Place(str(folder), "main", offline=True))
        try:
            return read(Place(weights, version, offline=True))
        except (OSError, ValueError) as error:
            try:
                check_on_hub(weights, probe, key=key, way_out=way_out, revision=revision)
            except UserError:
                if not is_cached(weights, probe, revision):
                    raise
                raise UserError(
                    f"{key}={weights}: the copy in the local cache cannot be read ({first_line(error)}). {way_out}"
                ) from error
        return read(Place(weights, version, offline=False))
    except UNREADABLE as error:
        where = "the folder holds" if os.path.isdir(folder) else "there is"
        raise UserError(
            f"{key}={weights}: {where} no {kind} that can be read ({first_line(error)}). {way_out}"
        ) from error


def is_cached(weights: str, probe: str, revision: str | None) -> bool:
    """Whether the hub's local cache has the file `probe` of these weights."""
    try:
        return isinstance(try_to_load_from_cache(weights, probe, revision=revision), str)
    except HFValidationError:
        return False


def check_on_hub(weights: str, probe: str, *, key: str, way_out: str, revision: str | None) -> None:
    """Ask the hub once for a file; without a network its client would retry for more than 20 seconds.

    Raises:
        UserError: the hub does not have the file, or does not answer within HUB_TIMEOUT seconds.
    """
    try:
        get_hf_file_metadata(hf_hub_url(weights, probe, revision=revision), timeout=HUB_TIMEOUT)
    except HfHubHTTPError as error:
        reason = f"the hub refuses it ({type(error).__name__})"
    except HFValidationError:
        reason = "it is not a hub id either"
    except (HTTPError, OSError) as error:
        reason = f"it is not in the local cache and {unreachable(error)}"
    else:
        return
    raise UserError(f"{key}={weights}: there is no such folder, and {reason}. {way_out}")


def read_config(place: Place) -> Any:
    """The configuration of a transformers model."""
    from transformers import AutoConfig

    # By default transformers asks on a terminal whether to run a model's own code.
    return AutoConfig.from_pretrained(
        place.name, revision=place.revision, local_files_only=place.offline, trust_remote_code=False
    )


def read_model(model: Any, place: Place, *, dtype: torch.dtype, config: Any = None) -> tuple[Any, list[str]]:
    """A transformers model, and the names of parameters that its files lack."""
    read, report = model.from_pretrained(
        place.name,
        config=config,
        revision=place.revision,
        dtype=dtype,
        local_files_only=place.offline,
        output_loading_info=True,
        trust_remote_code=False,
    )
    return read, list(report["missing_keys"])


def only_shapes() -> bool:
    """Whether a model is being built on the meta device, for its shapes alone; do not read weights then."""
    return torch.get_default_device().type == "meta"


def refuse_missing(missing: list[str], kind: str) -> None:
    """Refuse files that lack parameters, which libraries would fill with random numbers.

    Raises:
        ValueError: a parameter is missing.
    """
    if missing:
        raise ValueError(f"not a {kind}: {len(missing)} of its parameters are missing, the first: {sorted(missing)[0]}")


def first_line(error: Exception) -> str:
    """The first line of an error, without the advice that libraries add below it."""
    return str(error).strip().partition("\n")[0].rstrip(".")
