"""What the verbs that make videos have in common."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from vtok.common.contact_sheet import contact_sheet
from vtok.common.errors import UserError
from vtok.common.files import whole
from vtok.data.video.write import check_scale
from vtok.decoder import Decoder
from vtok.model.video_language_model import Sampling, VideoLanguageModel

LEAST_SIDE = 256
SHEET_SIDE = 96


def trained_decoder(run_dir: Path, model: VideoLanguageModel) -> Decoder:
    """The model's decoder.

    Raises:
        UserError: the run trained none.
    """
    if not model.decodes:
        raise UserError(
            f"run={run_dir}: no decoder was trained in it, and it makes no videos; "
            "train one that does by python train.py recipe=generate, and give its folder as run=FOLDER."
        )
    assert isinstance(model.decoder, Decoder)
    return model.decoder


def sampling_of(
    config: DictConfig, *, steps: int | None, guidance: float | None, temperature: float | None
) -> Sampling:
    """How videos are drawn: as the run's configuration says where nothing else is said."""
    usual = config.generation
    return Sampling(
        steps=usual.steps if steps is None else steps,
        guidance=usual.guidance if guidance is None else guidance,
        temperature=usual.temperature if temperature is None else temperature,
    )


def enlargement(decoder: Decoder, scale: int | None) -> int:
    """`scale`, or where None what makes a side of 256 pixels or more.

    Raises:
        UserError: no file can hold frames that large.
    """
    factor = -(-LEAST_SIDE // decoder.size) if scale is None else scale
    check_scale(factor, decoder.size)
    return factor


def write_sheet(path: Path, videos: Sequence[Tensor], lines: Sequence[str], *, columns: int) -> None:
    """A contact sheet of videos (F, 3, size, size) with a line below each, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    side = videos[0].shape[-1]
    scale = SHEET_SIDE // side if side <= SHEET_SIDE else SHEET_SIDE / side
    with whole(path) as partial:
        contact_sheet(videos, [[line] for line in lines], partial, columns=columns, scale=scale)
