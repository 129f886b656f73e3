"""vtok toys: writes toy models, to try the large recipes."""

import logging
from pathlib import Path

from vtok.common.paths import toys_dir, user_path
from vtok.common.quiet import quiet
from vtok.common.setting_types import VideoSeed
from vtok.hub.toys import make_toys


def toys(
    *,
    out: str | None = None,
    seed: VideoSeed = 0,
    outputs: str = "outputs",
) -> list[Path]:
    """Write small random checkpoints of the published models' classes, for recipe=paper_tiny.

    CLIP, LLaVA-NeXT, HunyuanVideo and Wan, each in its library's format.

    Either all of them are written or none. Existing toy models of the same seed are left as they are, others are
    replaced.

    Args:
        out: output folder; null: the folder toys in outputs.
        seed: random seed of the weights.
        outputs: folder of outputs, in which recipe=paper_tiny looks for them.

    Raises:
        UserError: as in `make_toys`.
    """
    # diffusers logs several lines for each text encoder that a pipeline lacks.
    with quiet("diffusers", level=logging.ERROR):
        return make_toys(toys_dir(outputs) if out is None else user_path(out), seed=seed)
