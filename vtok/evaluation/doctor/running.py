"""Checks of how a tokeniser runs: the same frames give the same tokens, and nothing else is changed."""

from dataclasses import fields, replace

import torch

from vtok.common.errors import UserError
from vtok.data.frame_maps import stack_maps
from vtok.evaluation.doctor.case import Case, copy_of, difference, same_sources
from vtok.evaluation.doctor.finding import Defect, NotApplicable
from vtok.feature_cache.extract import encode_frames
from vtok.tokeniser import PlannedFrames, VideoTokens

# Of a token's length. bfloat16 has 8 bits, and errors add up over layers.
HALF_PRECISION = 0.1


def input_unchanged(case: Case) -> None:
    """The frames, timestamps, mask and motion vectors that the tokeniser is given stay as they are."""
    given = case.clip()
    kept = copy_of(given)
    with torch.no_grad():
        case.tokeniser.encode_planned(given)
    for name in names(given):
        if not torch.equal(getattr(given, name), getattr(kept, name)):
            raise Defect(f"the same {name} as before the call", "changed values")


def names(given: PlannedFrames | VideoTokens) -> list[str]:
    """Names of the tensors that are given."""
    return [one.name for one in fields(given) if isinstance(getattr(given, one.name), torch.Tensor)]


def same_call(case: Case) -> None:
    """In evaluation mode a clip has the same tokens in every call, also after another clip: no dropout, no state."""
    first, other = case.clip(), case.clip(seed=1)
    expected = case.encode(first)
    case.encode(other)
    if changed := difference(case.encode(first), expected):
        raise Defect("the same tokens in the second call", changed)


def same_seed(case: Case) -> None:
    """A tokeniser that is built again with the same seed gives the same tokens."""
    planned = case.clip()
    if changed := difference(case.encode(planned, case.make().eval()), case.encode(planned)):
        raise Defect("the tokens of the tokeniser that was built first", changed)


def cache(case: Case) -> None:
    """Feature maps alone, as a cache holds them, and what `extract` makes of frames give the tokens of the frames."""
    tokeniser = case.make().eval()
    tokeniser.backbone.set_frozen(True)
    planned = case.clip()
    expected = case.encode(planned, tokeniser)
    with torch.no_grad():
        pooled = tokeniser.extract(copy_of(planned))
        given = replace(copy_of(planned), frames=None, vectors=None, pooled=pooled)
        found = case.asked(tokeniser.encode_planned(given), tokeniser)
    if changed := difference(found, expected):
        raise Defect("the tokens of the frames from what `extract` returned", changed)
    if tokeniser.needs_files:
        raise NotApplicable("it reads motion vectors, which a feature cache does not hold")
    if tokeniser.plan(case.num_frames).change is not None:
        raise NotApplicable("it keeps frames by the change of their pixels, which a feature cache does not hold")
    maps = stack_maps([encode_frames(tokeniser.backbone, planned.pixels[0], attention=True)])
    try:
        with torch.no_grad():
            found = case.asked(tokeniser.encode_planned(replace(copy_of(planned), frames=None, maps=maps)), tokeniser)
    except UserError as error:
        raise NotApplicable("it reads pixels, which a feature cache does not hold") from error
    if changed := difference(found, expected):
        raise Defect("the tokens of the frames from their feature maps", changed)


def pixel_type(case: Case) -> None:
    """Frames as whole numbers of 0 to 255 give the tokens that they give as floating-point numbers of 0 to 1."""
    planned = case.clip()
    levels = replace(planned, frames=(255 * planned.pixels).round().to(torch.uint8))
    if changed := difference(case.encode(levels), case.encode(planned)):
        raise Defect("the same tokens of both", changed)


def half_precision(case: Case) -> None:
    """In bfloat16 (autocast) tokens are close to those in float32, where they are made of the same patches."""
    planned = case.clip()
    expected = case.encode(planned)
    with torch.autocast(case.device.type, dtype=torch.bfloat16):
        found = case.encode(planned)
    if not found.tokens.isfinite().all():
        raise Defect("finite tokens", "infinite ones or NaN")
    same = same_sources(found, expected)
    scale = expected.tokens[0].float().norm(dim=1).mean()
    error = (found.tokens[0].float() - expected.tokens[0].float())[same].norm(dim=1) / scale
    if len(error) and float(error.max()) > HALF_PRECISION:
        token = int(same.nonzero()[error.argmax()])
        raise Defect(
            f"errors of {HALF_PRECISION:.0%} of a token or less", f"{float(error.max()):.0%} for token {token}"
        )


def device(case: Case) -> None:
    """All that the tokeniser gives is on the device of its input."""
    encoded = case.encode(case.clip())
    for name in names(encoded):
        if (found := getattr(encoded, name).device) != case.device:
            raise Defect(f"{name} on {case.device}", f"{found}")
