"""Checks of the clips before the first step of a run."""

from collections.abc import Sequence
from itertools import islice

from vtok.common.errors import UserError
from vtok.data import Clip, DataSource
from vtok.data.plan import StridePlanner
from vtok.data.sources.base import SPLITS, Split
from vtok.evaluation import Alignment, Generation, check_files
from vtok.feature_cache import check_clips
from vtok.model import Objective

CHECKED_CLIPS = 10_000


def prepare_clips(
    source: DataSource,
    planner: StridePlanner,
    objective: Objective,
    alignment: Alignment,
    generation: Generation,
    *,
    evaluated: Sequence[Split],
) -> tuple[dict[Split, Sequence[Clip]], list[tuple[str, str]]]:
    """The clips of each split, and the (label, reason) of clips of missing held-out files.

    Args:
        source: prepared data source.
        planner: planner of the tokeniser.
        objective: losses of the run.
        alignment: benchmark of understanding.
        generation: benchmark of generation.
        evaluated: held-out splits that the run evaluates.

    Raises:
        UserError: a split that the run uses is empty, a text cannot be used, all files of a held-out split are missing,
            no training clip has a text, or none has a caption although the objective needs captions.
    """
    clips = {split: source.clips(split) for split in SPLITS}
    for split in ("train", *evaluated):
        if not clips[split]:
            counts = ", ".join(f"{len(found)} {name}" for name, found in clips.items())
            raise UserError(
                f"The data set has no {split} clips ({counts}). Use a data set with clips of all splits"
                f"{', or set trainer.evaluate_every=0 and optimise=null' if split == 'validation' else ''}."
            )
    check_clips(source, planner)
    # Further clips of a large data set are checked when they are read.
    source.check_augmentation(CHECKED_CLIPS)
    most = (alignment if objective.understands else generation).max_clips
    missing = [bad for split in evaluated for bad in check_files(source, clips[split][:most])]
    if not any(clip.caption or clip.questions for clip in islice(clips["train"], CHECKED_CLIPS)):
        raise UserError(
            "No training clip has a caption or a question. Add captions, or use data=twins, which asks its own "
            "questions."
        )
    if objective.generates and not any(clip.caption for clip in clips["train"]):
        raise UserError(
            "No training clip has a caption, which the generation branch needs. Add captions, or set "
            "objective=understanding."
        )
    return clips, missing
