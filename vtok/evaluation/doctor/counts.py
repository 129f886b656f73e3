"""Checks of how many tokens there are, and of what each says about itself."""

import torch

from vtok.evaluation.doctor.case import Case
from vtok.evaluation.doctor.finding import Defect
from vtok.tokeniser import MOTION, SPATIAL

LENGTHS = (1, 2, 5, 30, 121)


def lengths(case: Case) -> list[int]:
    """Clip lengths that the tokeniser does not refuse."""
    return [length for length in (*LENGTHS, case.num_frames) if case.planned_frames(length)]


def plan(case: Case) -> None:
    """The planned frames are in the clip, in the order of time, none twice, and as many as the planner says."""
    for length in lengths(case):
        plan = case.tokeniser.plan(length)
        indices = list(plan.indices)
        if indices != sorted(set(indices)) or indices[0] < 0 or indices[-1] >= length:
            raise Defect(f"ascending frames from 0 to {length - 1}", f"the frames {indices}")
        if plan.key is not None and not 0 <= plan.key < len(indices):
            raise Defect(f"a key frame among {len(indices)} planned frames", f"position {plan.key}")
        if len(indices) != (most := case.tokeniser.planner.max_frames(length)):
            raise Defect(f"{most} planned frames of a clip of {length}, as the planner says", f"{len(indices)}")


def number_of_tokens(case: Case) -> None:
    """A clip of any length has as many tokens as its plan says, none of them padding."""
    for length in lengths(case):
        planned = case.clip(length)
        number, encoded = case.tokeniser.planner.num_tokens(planned.mask.shape[1]), case.encode(planned)
        if encoded.tokens.shape[1] != number:
            raise Defect(f"{number} tokens of a clip of {length} frames", f"{encoded.tokens.shape[1]}")
        if not encoded.mask.all():
            raise Defect(f"{number} tokens of a clip of {length} frames", f"{int(encoded.mask.sum())} and padding")


def still_clip(case: Case) -> None:
    """A clip that stands still has the tokens of the frames that its plan keeps, none of them padding."""
    for length in lengths(case):
        planned = case.clip(length, still=True)
        number, encoded = case.tokeniser.planner.num_tokens(planned.mask.shape[1]), case.encode(planned)
        if encoded.tokens.shape[1] != number or not encoded.mask.all():
            raise Defect(f"{number} tokens of a still clip of {length} frames", f"{int(encoded.mask.sum())}")


def kinds(case: Case) -> None:
    """`kinds` gives the kind of each token that the tokeniser makes."""
    for length in lengths(case):
        planned = case.clip(length)
        stated, kind = case.tokeniser.kinds(planned.mask.shape[1]).tolist(), case.encode(planned).kind.tolist()
        if stated != kind:
            raise Defect(f"the kinds {runs(stated)} of a clip of {length} frames, as `kinds` says", runs(kind))


def runs(kind: list[int]) -> str:
    """A list of kinds as words: "16 spatial, 4 motion"."""
    words: list[tuple[int, int]] = []
    for one in kind:
        number = words.pop()[0] if words and words[-1][1] == one else 0
        words.append((number + 1, one))
    return ", ".join(f"{number} {'motion' if one == MOTION else 'spatial'}" for number, one in words)


def fields(case: Case) -> None:
    """Tokens have the width `token_dim`; each has a time, a place within the frame or none, and a positive weight."""
    encoded = case.encode(case.clip())
    batch, number, width = encoded.tokens.shape
    if width != case.tokeniser.token_dim:
        raise Defect(f"tokens of width {case.tokeniser.token_dim}", f"{width}")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("mask", "timestamps", "weights"), (batch, number))
    shapes |= {"places": (batch, number, 2), "kind": (number,)}
    for name, shape in shapes.items():
        if (found := tuple(getattr(encoded, name).shape)) != shape:
            raise Defect(f"{name} of the shape {shape}", f"{found}")
    if not encoded.tokens.isfinite().all():
        raise Defect("finite tokens", "infinite ones or NaN")
    # The centre of a token that stands for one place or more is not on the edge.
    outside = ((encoded.places <= 0) | (encoded.places >= 1)).any(2)
    if outside.any() or not torch.equal(encoded.places.isnan().any(2), encoded.places.isnan().all(2)):
        raise Defect("places between 0 and 1, or NaN for both row and column", f"{encoded.places[0, :4].tolist()}")
    if not (encoded.weights > 0).all():
        raise Defect("positive weights", f"{float(encoded.weights.min())}")


def order(case: Case) -> None:
    """Spatial tokens come before motion tokens; of tokens of one place and weight the earlier comes first."""
    encoded = case.encode(case.clip())
    kind = encoded.kind.tolist()
    if kind != sorted(kind, key=(SPATIAL, MOTION).index):
        raise Defect("spatial tokens before motion tokens", runs(kind))
    last: dict[tuple[str, ...], float] = {}
    for token, time in enumerate(encoded.timestamps[0].tolist()):
        place = tuple(map(str, (kind[token], *encoded.places[0, token].tolist(), float(encoded.weights[0, token]))))
        if time < last.get(place, time):
            raise Defect(f"token {token} after {last[place]:.3f} s", f"{time:.3f} s")
        last[place] = time
