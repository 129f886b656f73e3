"""The running mean and standard deviation of tokens."""

import pytest
import torch
from torch import Tensor

from tests.model.test_freezing import make_model
from vtok.decoder import NoDecoder
from vtok.model.token_scale import TokenScale

KIND = torch.tensor([0, 0, 0, 1, 1])
ALL = torch.ones(4, 5, dtype=torch.bool)


def batches(number: int) -> list[Tensor]:
    """Batches (4, 5, 6) of spatial tokens N(2, 3^2) and motion tokens N(-1, 0.1^2)."""
    generator = torch.Generator().manual_seed(0)
    centre, spread = torch.tensor([2.0, 2, 2, -1, -1]), torch.tensor([3.0, 3, 3, 0.1, 0.1])
    noise = torch.randn(number, 4, 5, 6, generator=generator)
    return list(centre.view(1, 5, 1) + spread.view(1, 5, 1) * noise)


def statistics(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of tokens (B, 5, 6) by kind, (2, 6) each."""
    parts = [tokens[:, :3].reshape(-1, 6), tokens[:, 3:].reshape(-1, 6)]
    return torch.stack([part.mean(0) for part in parts]), torch.stack([part.std(0, correction=0) for part in parts])


def take_step(scale: TokenScale, *micro: Tensor) -> None:
    for tokens in micro:
        scale.add(tokens, KIND, ALL[:1].expand(len(tokens), -1))
    scale.update()


def test_early_steps_have_equal_weights() -> None:
    scale = TokenScale(6, momentum=0.98)
    seen = batches(5)
    for tokens in seen:
        take_step(scale, tokens)
    mean, spread = statistics(torch.cat(seen))
    torch.testing.assert_close(scale.mean, mean)
    torch.testing.assert_close(scale.spread, spread)


def test_later_steps_are_averaged_by_the_momentum() -> None:
    scale = TokenScale(6, momentum=0.5)
    seen = batches(6)
    for tokens in seen:
        take_step(scale, tokens)
    # The first step starts the average, and each later one has half of the weight.
    weights = torch.tensor([0.5**5, *(0.5 ** (6 - number) for number in range(1, 6))]).view(-1, 1, 1)
    assert float(weights.sum()) == 1
    means, spreads = (torch.stack(ones) for ones in zip(*map(statistics, seen), strict=True))
    mean = (weights * means).sum(0)
    torch.testing.assert_close(scale.mean, mean)
    second = (weights * (means.square() + spreads.square())).sum(0)
    torch.testing.assert_close(scale.spread, (second - mean.square()).sqrt())


def test_a_scale_is_fixed_after_its_steps_by_kind() -> None:
    scale, running = TokenScale(6, steps=3), TokenScale(6)
    spatial = KIND == 0
    for number, tokens in enumerate(batches(5)):
        # The first step has no motion tokens, so their scale is fixed one step later.
        here = spatial if number == 0 else torch.ones_like(spatial)
        for one in (scale, running):
            one.add(tokens[:, here], KIND[here], torch.ones(len(tokens), int(here.sum()), dtype=torch.bool))
            one.update()
        if number == 2:
            spatial_scale = [one[0].clone() for one in (running.mean, running.spread)]
        if number == 3:
            motion_scale = [one[1].clone() for one in (running.mean, running.spread)]
    for found, expected in zip((scale.mean, scale.spread), zip(spatial_scale, motion_scale, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(expected))
    assert not torch.allclose(running.mean, scale.mean)


def test_a_step_in_micro_batches_is_the_same_step() -> None:
    whole, parts = TokenScale(6), TokenScale(6)
    for tokens in batches(3):
        take_step(whole, tokens)
        take_step(parts, tokens[:1], tokens[1:3], tokens[3:])
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.spread, whole.spread)
    assert parts.seen.tolist() == [3, 3]


@pytest.mark.parametrize("micro", [1, 16])
def test_the_standard_deviation_includes_differences_between_clips(micro: int) -> None:
    """Each clip has its own mean; clips are added in one step or in many."""
    generator = torch.Generator().manual_seed(0)
    clips = 5 * torch.randn(48, 1, 6, generator=generator) + torch.randn(48, 5, 6, generator=generator)
    scale = TokenScale(6)
    for first in range(0, 48, micro):
        take_step(scale, *clips[first : first + micro].split(1))
    standardised = scale.standardise(clips, KIND)
    torch.testing.assert_close(statistics(standardised)[1], torch.ones(2, 6), atol=0.01, rtol=0)


def test_the_scale_is_constant_within_a_step() -> None:
    scale = TokenScale(6)
    first, second = batches(2)
    take_step(scale, first)
    before = {name: one.clone() for name, one in scale.state_dict().items()}
    scale.add(second + 100, KIND, ALL)
    assert all(torch.equal(one, before[name]) for name, one in scale.state_dict().items())
    scale.update(discard=True)
    scale.update()
    assert all(torch.equal(one, before[name]) for name, one in scale.state_dict().items())


def test_targets_of_a_dimension_that_was_constant_are_bounded() -> None:
    scale = TokenScale(6)
    tokens, later = batches(2)
    tokens[..., 0] = 0.0
    take_step(scale, tokens)
    standardised = scale.standardise(later, KIND)
    assert standardised.abs().max() < 2000
    torch.testing.assert_close(scale.unstandardise(standardised, KIND), later)


def test_standardised_tokens_have_mean_0_and_deviation_1_and_can_be_unstandardised() -> None:
    scale = TokenScale(6)
    (tokens,) = batches(1)
    take_step(scale, tokens)
    standardised = scale.standardise(tokens, KIND)
    mean, spread = statistics(standardised)
    torch.testing.assert_close(mean, torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(spread, torch.ones(2, 6))
    torch.testing.assert_close(scale.unstandardise(standardised, KIND), tokens)


def test_a_single_token_is_unstandardised_by_its_kind() -> None:
    scale = TokenScale(6)
    (tokens,) = batches(1)
    take_step(scale, tokens)
    standardised = scale.standardise(tokens, KIND)
    for place, kind in enumerate(KIND):
        torch.testing.assert_close(scale.unstandardise(standardised[:, place], kind), tokens[:, place])


def test_padding_is_left_out() -> None:
    (tokens,) = batches(1)
    mask = ALL.clone()
    mask[1:, 4] = mask[3] = False
    whole, padded = TokenScale(6), TokenScale(6)
    padded.add(torch.where(mask.unsqueeze(-1), tokens, torch.tensor(float("nan"))), KIND, mask)
    padded.update()
    for number, part in enumerate((tokens[:3, :3].reshape(-1, 6), torch.cat([tokens[:3, 3], tokens[:1, 4]]))):
        torch.testing.assert_close(padded.mean[number], part.mean(0))
        torch.testing.assert_close(padded.spread[number], part.std(0, correction=0))
    take_step(whole, tokens)
    assert not torch.allclose(whole.mean, padded.mean)


def test_targets_cannot_collapse() -> None:
    """Small or nearly equal tokens are no easier to predict."""
    (tokens,) = batches(1)
    targets = []
    for shrunk in (tokens, tokens / 1000, 5 + tokens / 1000):
        scale = TokenScale(6)
        take_step(scale, shrunk)
        targets.append(scale.standardise(shrunk, KIND))
    torch.testing.assert_close(targets[1], targets[0])
    # In float32, 5 + 1e-4 leaves three digits of the small term.
    torch.testing.assert_close(targets[2], targets[0], atol=1e-2, rtol=0)


def test_equal_tokens_do_not_divide_by_0() -> None:
    scale = TokenScale(6)
    tokens = torch.full((4, 5, 6), 2.5)
    take_step(scale, tokens)
    assert torch.equal(scale.standardise(tokens, KIND), torch.zeros(4, 5, 6))


def test_a_kind_that_was_not_seen_keeps_its_scale() -> None:
    scale = TokenScale(6)
    first, second = batches(2)
    mask = ALL.clone()
    mask[:, 3:] = False
    scale.add(first, KIND, mask)
    scale.update()
    assert torch.equal(scale.mean[1], torch.zeros(6))
    assert torch.equal(scale.spread[1], torch.ones(6))
    # The first step of the kind replaces the initial 0 and 1.
    take_step(scale, second)
    torch.testing.assert_close(scale.mean[1], statistics(second)[0][1])
    torch.testing.assert_close(scale.spread[1], statistics(second)[1][1])
    assert scale.seen.tolist() == [2, 1]


def test_with_one_token_a_step_the_deviation_is_that_between_steps() -> None:
    scale = TokenScale(6)
    tokens = batches(100)
    for one in tokens:
        scale.add(one[:1, :1], KIND[:1], ALL[:1, :1])
        scale.update()
        assert scale.spread.min() > 0
    first = torch.stack(tokens)[:, 0, 0]
    torch.testing.assert_close(scale.mean[0], first[-50:].mean(0), atol=0.6, rtol=0)
    assert (scale.spread[0] / first.std(0)).sub(1).abs().max() < 0.3


def test_bf16_tokens_are_averaged_in_fp32() -> None:
    scale = TokenScale(6)
    (tokens,) = batches(1)
    take_step(scale, tokens.bfloat16())
    torch.testing.assert_close(scale.mean, statistics(tokens.bfloat16().float())[0])
    assert scale.standardise(tokens.bfloat16(), KIND).dtype == torch.float32


def test_a_kind_is_seen_after_its_first_step() -> None:
    scale = TokenScale(4)
    spatial, both = torch.tensor([0, 0]), torch.tensor([0, 0, 1])
    scale.add(torch.randn(2, 2, 4), spatial, torch.ones(2, 2, dtype=torch.bool))
    assert not scale.has_seen(spatial)
    scale.update()
    assert scale.has_seen(spatial)
    assert not scale.has_seen(both)
    scale.add(torch.randn(2, 3, 4), both, torch.ones(2, 3, dtype=torch.bool))
    scale.update()
    assert scale.has_seen(both)
    loaded = TokenScale(4)
    loaded.load_state_dict(scale.state_dict())
    assert loaded.has_seen(both)


def test_the_gradient_passes_unscaled() -> None:
    """A small standard deviation would multiply it, and the backbone would learn motion alone."""
    scale = TokenScale(6)
    take_step(scale, batches(1)[0])
    tokens, wanted = batches(2)[1].requires_grad_(), torch.randn(4, 5, 6)
    scale.standardise(tokens, KIND).mul(wanted).sum().backward()
    torch.testing.assert_close(tokens.grad, wanted)


@pytest.mark.parametrize("standardise", [True, False])
def test_the_scale_of_tokens_does_not_matter_to_phi_vis_unless_the_language_model_takes_them_as_they_are(
    standardise: bool,
) -> None:
    """Motion tokens times 0.01 plus 3, as of another tokeniser: phi_vis gets the same ones."""
    torch.manual_seed(0)
    model = make_model((1.0, 0.0, 0.0), "none", NoDecoder)
    model.mllm.standardise_video = standardise
    (tokens,) = batches(1)
    other = torch.where((KIND == 1).view(1, 5, 1), 0.01 * tokens + 3, tokens)
    projected = []
    for ones in (tokens, other):
        model.input_scale = TokenScale(6)
        take_step(model.input_scale, ones)
        projected.append(model.project(ones, KIND))
    assert torch.allclose(projected[0], projected[1], atol=1e-3) == standardise
