"""The clips of a run, checked before its first step."""

from collections.abc import Sequence

from vtok.common.errors import UserError
from vtok.data import Clip, DataSource
from vtok.evaluation import Alignment, Generation, check_files
from vtok.feature_cache import check_clips
from vtok.model import Objective

CLIPS_LOOKED_AT = 10_000


def prepare_clips(
    source: DataSource, objective: Objective, alignment: Alignment, generation: Generation
) -> tuple[dict[str, Sequence[Clip]], list[tuple[str, str]]]:
    """The clips of both splits, and the (path, reason) of held-out files to be evaluated that are missing.

    Raises:
        UserError: a split is empty, a text cannot be used, no file to be evaluated is there, or no clip has the caption
            that the objective learns from.
    """
    clips = {split: source.clips(split) for split in ("train", "heldout")}
    for split, found in clips.items():
        if not found:
            raise UserError(
                f"the data set has no {split} clips: {len(clips['train'])} train, {len(clips['heldout'])} held out."
            )
    check_clips(source)
    # Of larger data sets the rest is looked at as it is read.
    source.check_texts(CLIPS_LOOKED_AT)
    judged = (alignment if objective.understands else generation).max_clips
    missing = check_files(source, clips["heldout"][:judged])
    if objective.generates and not any(clip.caption for clip in clips["train"]):
        raise UserError("no training clip has a caption, and the generation branch learns from captions alone.")
    return clips, missing
