"""Checks that tokens stand where and when they say: a small change of a frame or of a place moves them."""

import torch
from torch import Tensor

from vtok.evaluation.doctor.case import SMALL, Case, copy_of, movements, same_sources
from vtok.evaluation.doctor.finding import Defect, NotApplicable
from vtok.tokeniser import PlannedFrames, VideoTokens

# Of the largest movement of a token: less is a rounding error.
NO_MOVEMENT = 1e-3
# Of the time between two frames: less is a rounding error.
NO_TIME = 0.02
# Spots a side of the frame.
SPOTS = 4
LEAST_CORRELATION = 0.7


def timestamps(case: Case) -> None:
    """At a variable frame rate a token has the time of the frame that changes it, or the mean time of such frames."""
    planned = case.clip()
    base, times = case.encode(planned), planned.timestamps[0].double()
    shares = torch.stack([time_share(case, planned, base, position) for position in range(len(times))], dim=1)
    stated = base.timestamps[0].double()
    for token, (time, share) in enumerate(zip(stated, shares, strict=True)):
        mean = float(share @ times)
        if abs(float(share.sum()) - 1) > NO_TIME or abs(float(time) - mean) > NO_TIME * float(times.max() + 0.1):
            raise Defect(
                f"the timestamp of token {token} to be the time of a frame or a mean of {seconds(times)}",
                f"{float(time):.3f} s, which moves by {float(share.sum()):.2f} of what the frames' times do",
            )
    moved = torch.stack([frame_movement(case, planned, base, position) for position in range(len(times))], dim=1)
    # Tokens that no frame moves, such as learned separators, stand for none.
    moves = moved > NO_MOVEMENT * moved.masked_fill(moved.isinf(), 0.0).amax(1, keepdim=True)
    wrong = (shares > NO_TIME) & ~moves & moves.any(1, keepdim=True)
    if wrong.any():
        token, position = map(int, wrong.nonzero()[0])
        raise Defect(
            f"token {token} at {seconds(stated[token : token + 1])} to change with the frame at "
            f"{seconds(times[position : position + 1])}",
            f"one that changes with frames at {seconds(times[moves[token]])} alone",
        )


def seconds(times: Tensor) -> str:
    return ", ".join(f"{float(time):.3f}" for time in times) + " s"


def time_share(case: Case, planned: PlannedFrames, base: VideoTokens, position: int) -> Tensor:
    """The share (L,) that a frame's time has in each token's timestamp: how far it moves when the frame's time does."""
    times = planned.timestamps[0]
    step = 0.25 * float(times.diff().min()) if len(times) > 1 else 0.01
    changed = copy_of(planned)
    changed.timestamps[0, position] += step
    return (case.encode(changed).timestamps - base.timestamps)[0].double() / step


def frame_movement(case: Case, planned: PlannedFrames, base: VideoTokens, position: int) -> Tensor:
    """How far each token (L,) moves with a change of a frame that is too small to change a choice of patches."""
    changed = copy_of(planned)
    noise = torch.rand(changed.pixels[0, position].shape, generator=case.generator(position))
    changed.pixels[0, position] += SMALL * noise.to(case.device)
    if changed.vectors is not None:
        changed.vectors[0, position] += 0.01
    return movements(case.encode(changed), base)


def places(case: Case) -> None:
    """A spot that is a little brighter moves the tokens most whose places are nearest to it."""
    planned = case.clip()
    base = case.encode(planned)
    found = [case.encode(with_spot(planned, row, column)) for row in range(SPOTS) for column in range(SPOTS)]
    # Not those that the spot makes another choice for.
    steady = torch.stack([same_sources(one, base) for one in found]).all(0) & base.places[0].isfinite().all(1)
    stated = base.places[0, steady].double().cpu()
    if len(stated) == 0 or float((stated.amax(0) - stated.amin(0)).max()) < 0.1:
        raise NotApplicable("no two tokens have different places")
    energy = torch.stack([movements(one, base)[steady] for one in found], dim=1).double().cpu().square()
    centres = (torch.arange(SPOTS, dtype=torch.float64) + 0.5) / SPOTS
    seen = energy @ torch.cartesian_prod(centres, centres) / energy.sum(1, keepdim=True).clamp(min=1e-30)
    for axis, name in enumerate(("row", "column")):
        if float(stated[:, axis].amax() - stated[:, axis].amin()) < 0.1:
            continue
        correlation = float(torch.corrcoef(torch.stack([stated[:, axis], seen[:, axis]]))[0, 1])
        if not correlation > LEAST_CORRELATION:
            raise Defect(
                f"a correlation of {LEAST_CORRELATION} or more between the {name}s of the tokens' places and those of "
                "the spots that move them",
                f"{correlation:.2f}",
            )


def with_spot(planned: PlannedFrames, row: int, column: int) -> PlannedFrames:
    """A clip that is brighter, by less than a level of 8 bits, in one of SPOTS x SPOTS parts of all its frames."""
    changed = copy_of(planned)
    height, width = changed.pixels.shape[-2] // SPOTS, changed.pixels.shape[-1] // SPOTS
    spot = changed.pixels[..., row * height : (row + 1) * height, column * width : (column + 1) * width]
    spot += SMALL
    return changed
