"""Checks of the clips before the first step of a run."""

from collections.abc import Sequence

from vtok.common.errors import UserError
from vtok.data import Clip, DataSource
from vtok.evaluation import Alignment, Generation, check_files
from vtok.feature_cache import check_clips
from vtok.model import Objective

CHECKED_CLIPS = 10_000


def prepare_clips(
    source: DataSource, objective: Objective, alignment: Alignment, generation: Generation
) -> tuple[dict[str, Sequence[Clip]], list[tuple[str, str]]]:
    """The clips of both splits, and the (path, reason) of missing held-out files.

    Raises:
        UserError: a split is empty, a text cannot be used, all held-out files are missing, or no training clip has a
            caption although the objective needs captions.
    """
    clips = {split: source.clips(split) for split in ("train", "heldout")}
    for split, found in clips.items():
        if not found:
            raise UserError(
                f"The data set has no {split} clips ({len(clips['train'])} train, {len(clips['heldout'])} heldout). "
                "Use a data set with clips of both splits."
            )
    check_clips(source)
    # Further clips of a large data set are checked when they are read.
    source.check_augmentation(CHECKED_CLIPS)
    evaluated = (alignment if objective.understands else generation).max_clips
    missing = check_files(source, clips["heldout"][:evaluated])
    if objective.generates and not any(clip.caption for clip in clips["train"]):
        raise UserError(
            "No training clip has a caption, which the generation branch needs. Add captions, or set "
            "objective=understanding."
        )
    return clips, missing
