"""vtok toys: models to try the large recipes with."""

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
    """Small random checkpoints of the real models' classes, for recipe=paper_tiny.

    CLIP, LLaVA-NeXT, HunyuanVideo and Wan, each in its library's format.

    They are what python train.py recipe=paper_tiny loads. All of them are written or nothing is; toys of the same seed
    that are there already stay as they are, others are replaced.

    Args:
        out: output folder; null: toys in outputs.
        seed: random seed of the weights.
        outputs: folder of outputs, in which recipe=paper_tiny looks for them.

    Raises:
        UserError: see `make_toys`.
    """
    # diffusers tells at length of each text encoder that a pipeline lacks.
    with quiet("diffusers", level=logging.ERROR):
        return make_toys(toys_dir(outputs) if out is None else user_path(out), seed=seed)
