"""Sampling settings, sizes and contact sheets of generated videos."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from vtok.common.contact_sheet import contact_sheet
from vtok.common.errors import UserError
from vtok.common.files import atomic_file
from vtok.data.video.write import check_scale
from vtok.decoder import Decoder
from vtok.model.video_language_model import VideoLanguageModel
from vtok.model.visual_states import Sampling

MIN_SIDE = 256
SHEET_SIDE = 96


def trained_decoder(run_dir: Path, model: VideoLanguageModel) -> Decoder:
    """The model's decoder.

    Raises:
        UserError: if the run did not train one.
    """
    if not model.decodes:
        raise UserError(
            f"run={run_dir}: this run has no trained decoder, and cannot generate videos. "
            "Train one with python train.py recipe=generate, and set run=FOLDER."
        )
    assert isinstance(model.decoder, Decoder)
    return model.decoder


def sampling_of(
    config: DictConfig, *, steps: int | None, guidance: float | None, temperature: float | None
) -> Sampling:
    """The sampling settings; those that are None are the run's generation.*."""
    defaults = config.generation
    return Sampling(
        steps=defaults.steps if steps is None else steps,
        guidance=defaults.guidance if guidance is None else guidance,
        temperature=defaults.temperature if temperature is None else temperature,
    )


def pixel_scale(decoder: Decoder, scale: int | None) -> int:
    """`scale`; None: the smallest scale at which a side has 256 pixels or more.

    Raises:
        UserError: if frames of that size are too large for a video file.
    """
    factor = -(-MIN_SIDE // decoder.size) if scale is None else scale
    check_scale(factor, decoder.size)
    return factor


def write_sheet(path: Path, videos: Sequence[Tensor], lines: Sequence[str], *, columns: int) -> None:
    """Write a contact sheet of videos (F, 3, size, size), each with a line of text below; nothing if that fails.

    Raises:
        UserError: if it cannot be written.
    """
    side = videos[0].shape[-1]
    scale = SHEET_SIDE // side if side <= SHEET_SIDE else SHEET_SIDE / side
    with atomic_file(path) as partial:
        contact_sheet(videos, [[line] for line in lines], partial, columns=columns, scale=scale)
