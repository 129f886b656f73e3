"""Checks that a clip has the tokens in a batch that it has alone."""

from vtok.evaluation.doctor.case import Case, batch_of, difference, padded
from vtok.evaluation.doctor.finding import Defect, NotApplicable
from vtok.tokeniser import PlannedFrames

# Frames of padding.
PADDING = 2


def batch(case: Case) -> None:
    """A clip in a batch of clips of the same length has the tokens that it has alone."""
    compare(case, [case.clip(seed=seed) for seed in range(3)], "in a batch of clips of the same length")


def padding(case: Case) -> None:
    """Padding after a shorter clip changes nothing, whatever it shows, and is masked."""
    if case.planned_frames(case.num_frames) == 1:
        raise NotApplicable("every clip has one planned frame, so that no clip is padded")
    for length in shorter(case):
        clip = case.clip(length)
        alone = case.encode(clip)
        found = case.encode(padded(clip, clip.mask.shape[1] + PADDING))
        if changed := difference(found, alone):
            raise Defect(
                f"a clip of {length} frames with {PADDING} padded frames to have the tokens it has without", changed
            )


def mixed_lengths(case: Case) -> None:
    """A clip in a batch of clips of other lengths has the tokens that it has alone."""
    if case.planned_frames(case.num_frames) == 1:
        raise NotApplicable("every clip has one planned frame")
    clips = [case.clip(length, seed=seed) for seed, length in enumerate((*shorter(case), case.num_frames, 1))]
    # A shorter clip is not always the first.
    compare(case, clips, "in a batch of clips of other lengths")
    compare(case, clips[::-1], "in a batch of clips of other lengths")


def shorter(case: Case) -> list[int]:
    """Clip lengths from one planned frame up to the usual clip's."""
    return sorted({1, 1 + case.num_frames // 2, case.num_frames})


def compare(case: Case, clips: list[PlannedFrames], where: str) -> None:
    together = case.encode(batch_of(clips))
    for row, clip in enumerate(clips):
        if changed := difference(together, case.encode(clip), row):
            raise Defect(f"clip {row} to have the tokens {where} that it has alone", changed)
        stated = case.tokeniser.kinds(clip.mask.shape[1]).tolist()
        if (kind := together.kind[together.mask[row]].tolist()) != stated:
            raise Defect(f"the kinds {stated} of clip {row} {where}", f"{kind}")
