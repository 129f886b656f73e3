"""Checks of which frames the tokens depend on."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.evaluation.doctor.case import Case, changed_tokens, copy_of, difference, with_frame
from vtok.evaluation.doctor.finding import Defect, NotApplicable
from vtok.tokeniser import PlannedFrames

# Seconds.
SAME_TIME = 1e-4


def only_planned_frames(case: Case) -> None:
    """`encode` takes the planned frames of a clip, and no other frame changes a token."""
    if case.tokeniser.needs_files:
        raise NotApplicable("the tokeniser reads files, of which only planned frames are decoded")
    length = case.num_frames
    plan = case.tokeniser.plan(length)
    others = sorted(set(range(length)) - set(plan.indices))
    video, timestamps = case.video(length)
    with torch.no_grad():
        expected = case.asked(case.tokeniser.encode(video.clone(), timestamps=timestamps))
        changed = video.clone()
        changed[:, others] = 1 - changed[:, others]
        found = case.asked(case.tokeniser.encode(changed, timestamps=timestamps))
        if changes := difference(found, expected):
            raise Defect("the same tokens when the frames that are not planned change", changes)
    if changes := difference(expected, case.encode(case.clip(length))):
        raise Defect(f"`encode` to give the tokens of the planned frames {list(plan.indices)}", changes)


def planned_frames_matter(case: Case) -> None:
    """Each planned frame can change a token."""
    noise = case.clip()
    still = copy_of(noise)
    still.pixels[:] = still.pixels[:, :1]
    expected = [(base, case.encode(base)) for base in (noise, still)]
    for position, index in enumerate(case.tokeniser.plan(case.num_frames).indices):
        found = (
            difference(case.encode(with_frame(base, position, frame, vectors)), tokens)
            for base, tokens in expected
            for frame, vectors in replacements(noise, position)
        )
        if not any(found):
            raise Defect(f"a token to change with frame {index}, which is planned", "the same tokens")


def replacements(planned: PlannedFrames, position: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Frames and motion vectors that a choice by content takes or leaves: another, the sharpest, the mean of all."""
    frame = planned.pixels[0, position]
    vectors = None if planned.vectors is None else planned.vectors[0, position] + 1
    line = torch.arange(frame.shape[-1], device=frame.device)
    yield 1 - frame, vectors
    yield ((line + line.unsqueeze(1)) % 2).expand_as(frame).to(frame), vectors
    yield planned.pixels[0].mean(0), vectors


@torch.no_grad()
def key_frame(case: Case) -> None:
    """The key frame is the one that is asked for; the first tokens have its time and change with it."""
    length = case.num_frames
    if "order" not in case.tokeniser.extract(case.clip()):
        raise NotApplicable("the tokeniser has no key frame (`extract` gives no `order`)")
    for asked in (None, 0, length // 2, length - 1):
        try:
            plan = case.tokeniser.plan(length, asked)
        except UserError:
            # Some take the first frame alone.
            continue
        if asked is not None and (plan.key is None or plan.indices[plan.key] != asked):
            raise Defect(f"key_frame={asked} to be the key frame of the plan", f"{plan}")
        if plan.key is not None:
            check_key(case, case.clip(length, plan=plan), plan.indices[plan.key])


def check_key(case: Case, planned: PlannedFrames, index: int) -> None:
    """Raise Defect if the first tokens of a clip do not stand for its key frame, which is clip frame `index`."""
    base, key = case.encode(planned), int(planned.key)
    number = min(case.tokeniser.planner.key_tokens, base.tokens.shape[1])
    expected = float(planned.timestamps[0, key])
    wrong = (base.timestamps[0, :number] - expected).abs() > SAME_TIME
    if wrong.any():
        found = float(base.timestamps[0, int(wrong.nonzero()[0])])
        raise Defect(f"{number} tokens at the time of the key frame {index}, {expected:.3f} s", f"{found:.3f} s")
    changed = case.encode(with_frame(planned, key, 1 - planned.pixels[0, key]))
    moved = int(changed_tokens(changed, base)[:number].sum())
    if moved < number:
        raise Defect(f"{number} tokens to change with the key frame {index}", f"{moved} that change")


def later_frames(case: Case) -> str:
    """How many tokens depend on frames after their own time; none do in a causal tokeniser."""
    planned = case.clip()
    base = case.encode(planned)
    times = planned.timestamps[0]
    depends = torch.zeros_like(base.mask[0])
    for position in range(len(times) - 1):
        changed = copy_of(planned)
        changed.pixels[:, position + 1 :] = 1 - changed.pixels[:, position + 1 :]
        if changed.vectors is not None:
            changed.vectors[:, position + 1 :] += 1
        earlier = base.timestamps[0] <= times[position] + SAME_TIME
        depends |= earlier & changed_tokens(case.encode(changed), base)
    number = int(depends.sum())
    return f"{number} of {len(depends)} tokens depend on frames after their own time" + " (causal)" * (number == 0)
