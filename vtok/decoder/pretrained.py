"""Loading of models and schedulers in diffusers' folder layout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers.utils.logging import disable_progress_bar

from vtok.common.pretrained import Place, dtype_of, load, only_shapes, refuse_missing

PROBE = "model_index.json"


def way_out(kind: str) -> str:
    """What to set where there are no weights."""
    return (
        f"Set decoder.weights=PATH to a local folder that holds {kind} in diffusers' layout (model_index.json, "
        "transformer/, vae/ and scheduler/), or decoder.weights=null for random weights."
    )


def read_model(kind: Any, place: Place, subfolder: str, *, dtype: torch.dtype) -> Any:
    """Load one model of the class `kind` with diffusers."""
    if only_shapes():
        config = kind.load_config(
            place.name, subfolder=subfolder, revision=place.revision, local_files_only=place.offline
        )
        with building_in(dtype):
            return kind.from_config(config)
    hide_bars()
    model, report = kind.from_pretrained(
        place.name,
        subfolder=subfolder,
        revision=place.revision,
        torch_dtype=dtype,
        local_files_only=place.offline,
        output_loading_info=True,
    )
    refuse_missing(report["missing_keys"], kind.__name__)
    return model


def hide_bars() -> None:
    """Turn off diffusers' progress bars where stderr is not a terminal: they would fill a log."""
    if not sys.stderr.isatty():
        disable_progress_bar()


def load_vae(model: Any, weights: str, *, revision: str | None, dtype: str, kind: str) -> Any:
    """The frozen VAE of a published model, of the class `model`.

    Raises:
        UserError: the weights cannot be loaded.
    """
    vae = load(
        weights,
        partial(read_model, model, subfolder="vae", dtype=dtype_of(dtype, key="decoder.vae_dtype")),
        key="decoder.weights",
        kind=kind,
        way_out=way_out(kind),
        revision=revision,
        probe=PROBE,
    )
    return vae.requires_grad_(False).eval()


def read_scheduler(place: Place) -> FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler:
    """The scheduler that a model is published with.

    Raises:
        ValueError: it is not a flow-matching scheduler.
    """
    config = FlowMatchEulerDiscreteScheduler.load_config(
        place.name, subfolder="scheduler", revision=place.revision, local_files_only=place.offline
    )
    name = config.get("_class_name")
    # A multistep scheduler cannot be built on the meta device.
    with torch.device("cpu"):
        if name == "FlowMatchEulerDiscreteScheduler":
            return FlowMatchEulerDiscreteScheduler.from_config(config)
        if name == "UniPCMultistepScheduler" and config.get("use_flow_sigmas"):
            return UniPCMultistepScheduler.from_config(config)
    raise ValueError(f"its scheduler is {name}, not FlowMatchEuler or UniPC on flow sigmas")


def schedules(
    scheduler: FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler, shift: float | None
) -> tuple[FlowMatchEulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler]:
    """The schedule to train with (FlowMatchEuler) and the scheduler to sample with, both with the same shift.

    Args:
        scheduler: the published one.
        shift: shift of the noise levels towards pure noise; None: the scheduler's own.
    """
    config = scheduler.config
    multistep = isinstance(scheduler, UniPCMultistepScheduler)
    if shift is None:
        shift = float(config["flow_shift"] if multistep else config["shift"])
    # Their tables are read on the CPU, even when models are built on the meta device to count parameters.
    with torch.device("cpu"):
        training = FlowMatchEulerDiscreteScheduler(num_train_timesteps=config["num_train_timesteps"], shift=shift)
        if multistep:
            return training, UniPCMultistepScheduler.from_config(config, flow_shift=shift)
        return training, FlowMatchEulerDiscreteScheduler.from_config(config, shift=shift)


def refuse_other_inputs(transformer: Any, channels: int) -> None:
    """Refuse a transformer that needs more than latents, such as a first frame.

    Raises:
        ValueError: it needs more.
    """
    if transformer.config.in_channels != channels:
        raise ValueError(
            f"its transformer takes {transformer.config.in_channels} channels and its VAE has {channels}: "
            "it is not a text-to-video model"
        )


@contextmanager
def building_in(dtype: torch.dtype) -> Iterator[None]:
    """Create parameters with this dtype from the start: 13 billion in float32 would take 52 GB first."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)
