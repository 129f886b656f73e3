"""Models and schedulers in diffusers' folder layout, read by their own classes."""

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
    """What to type where there are no weights."""
    return (
        f"set decoder.weights=PATH to a local folder that holds {kind} in diffusers' layout (model_index.json, "
        "transformer/, vae/ and scheduler/), or decoder.weights=null for random weights."
    )


def read_model(kind: Any, place: Place, subfolder: str, *, dtype: torch.dtype) -> Any:
    """diffusers' own loading of one model, of the class `kind`."""
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
    """Have diffusers draw no bars where nobody sees them move: they would fill a log line upon line."""
    if not sys.stderr.isatty():
        disable_progress_bar()


def load_vae(model: Any, weights: str, *, revision: str | None, dtype: str, kind: str) -> Any:
    """The VAE of a published model alone, of the class `model`, frozen.

    Raises:
        UserError: it cannot be had.
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
        ValueError: it is none of flow matching.
    """
    config = FlowMatchEulerDiscreteScheduler.load_config(
        place.name, subfolder="scheduler", revision=place.revision, local_files_only=place.offline
    )
    name = config.get("_class_name")
    # One that samples in several steps cannot be made on the meta device.
    with torch.device("cpu"):
        if name == "FlowMatchEulerDiscreteScheduler":
            return FlowMatchEulerDiscreteScheduler.from_config(config)
        if name == "UniPCMultistepScheduler" and config.get("use_flow_sigmas"):
            return UniPCMultistepScheduler.from_config(config)
    raise ValueError(f"its scheduler is {name}, not FlowMatchEuler or UniPC on flow sigmas")


def schedules(
    scheduler: FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler, shift: float | None
) -> tuple[FlowMatchEulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler]:
    """The noise levels to train at, FlowMatchEuler's, and the scheduler to sample with, both of one shift.

    Args:
        scheduler: as published.
        shift: towards pure noise; None: the scheduler's own.
    """
    config = scheduler.config
    multistep = isinstance(scheduler, UniPCMultistepScheduler)
    if shift is None:
        shift = float(config["flow_shift"] if multistep else config["shift"])
    # Their tables are read on the CPU, even of models that are built on the meta device to be counted.
    with torch.device("cpu"):
        training = FlowMatchEulerDiscreteScheduler(num_train_timesteps=config["num_train_timesteps"], shift=shift)
        if multistep:
            return training, UniPCMultistepScheduler.from_config(config, flow_shift=shift)
        return training, FlowMatchEulerDiscreteScheduler.from_config(config, shift=shift)


def refuse_other_inputs(transformer: Any, channels: int) -> None:
    """A transformer that wants more than latents, such as a first frame, makes no videos of a condition alone.

    Raises:
        ValueError: it does.
    """
    if transformer.config.in_channels != channels:
        raise ValueError(
            f"its transformer takes {transformer.config.in_channels} channels and its VAE makes {channels}, "
            "so that it is no text-to-video model"
        )


@contextmanager
def building_in(dtype: torch.dtype) -> Iterator[None]:
    """Parameters made inside have this dtype from the start: 13 billion in float32 first would take 52 GB."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)
