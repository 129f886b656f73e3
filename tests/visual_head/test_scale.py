"""The running mean and spread of tokens."""

import pytest
import torch
from torch import Tensor

from vtok.visual_head import TokenScale

KIND = torch.tensor([0, 0, 0, 1, 1])
ALL = torch.ones(4, 5, dtype=torch.bool)


def batches(number: int) -> list[Tensor]:
    """Spatial tokens about 2 with a spread of 3, motion tokens about -1 with a spread of 0.1; (4, 5, 6) each."""
    generator = torch.Generator().manual_seed(0)
    centre, spread = torch.tensor([2.0, 2, 2, -1, -1]), torch.tensor([3.0, 3, 3, 0.1, 0.1])
    noise = torch.randn(number, 4, 5, 6, generator=generator)
    return list(centre.view(1, 5, 1) + spread.view(1, 5, 1) * noise)


def statistics(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of tokens (4, 5, 6) by kind, (2, 6) each."""
    parts = [tokens[:, :3].reshape(-1, 6), tokens[:, 3:].reshape(-1, 6)]
    return torch.stack([part.mean(0) for part in parts]), torch.stack([part.std(0) for part in parts])


def test_early_batches_count_the_same() -> None:
    scale = TokenScale(6, momentum=0.98)
    seen = batches(5)
    for tokens in seen:
        scale.update(tokens, KIND, ALL)
    means, spreads = zip(*map(statistics, seen), strict=True)
    torch.testing.assert_close(scale.mean, torch.stack(means).mean(0))
    torch.testing.assert_close(scale.spread, torch.stack(spreads).mean(0))


def test_later_batches_are_averaged_by_the_momentum() -> None:
    scale = TokenScale(6, momentum=0.5)
    seen = batches(6)
    for tokens in seen:
        scale.update(tokens, KIND, ALL)
    # The first is all there is, and from then on each is a half.
    weights = torch.tensor([0.5**5, *(0.5 ** (6 - number) for number in range(1, 6))]).view(-1, 1, 1)
    assert float(weights.sum()) == 1
    means, spreads = zip(*map(statistics, seen), strict=True)
    torch.testing.assert_close(scale.mean, (weights * torch.stack(means)).sum(0))
    torch.testing.assert_close(scale.spread, (weights * torch.stack(spreads)).sum(0))


def test_standardised_tokens_have_mean_0_and_spread_1_and_come_back() -> None:
    scale = TokenScale(6)
    (tokens,) = batches(1)
    scale.update(tokens, KIND, ALL)
    standardised = scale.standardise(tokens, KIND)
    mean, spread = statistics(standardised)
    torch.testing.assert_close(mean, torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(spread, torch.ones(2, 6))
    torch.testing.assert_close(scale.restore(standardised, KIND), tokens)


def test_one_token_comes_back_by_its_kind_alone() -> None:
    scale = TokenScale(6)
    (tokens,) = batches(1)
    scale.update(tokens, KIND, ALL)
    standardised = scale.standardise(tokens, KIND)
    for place, kind in enumerate(KIND):
        torch.testing.assert_close(scale.restore(standardised[:, place], kind), tokens[:, place])


def test_padding_is_left_out() -> None:
    (tokens,) = batches(1)
    mask = ALL.clone()
    mask[1:, 4] = mask[3] = False
    whole, padded = TokenScale(6), TokenScale(6)
    padded.update(torch.where(mask.unsqueeze(-1), tokens, torch.tensor(float("nan"))), KIND, mask)
    for number, part in enumerate((tokens[:3, :3].reshape(-1, 6), torch.cat([tokens[:3, 3], tokens[:1, 4]]))):
        torch.testing.assert_close(padded.mean[number], part.mean(0))
        torch.testing.assert_close(padded.spread[number], part.std(0))
    whole.update(tokens, KIND, ALL)
    assert not torch.allclose(whole.mean, padded.mean)


def test_targets_cannot_collapse() -> None:
    """A tokeniser that makes all tokens small, or all alike but for a trace, makes them no easier to predict."""
    (tokens,) = batches(1)
    targets = []
    for shrunk in (tokens, tokens / 1000, 5 + tokens / 1000):
        scale = TokenScale(6)
        scale.update(shrunk, KIND, ALL)
        targets.append(scale.standardise(shrunk, KIND))
    torch.testing.assert_close(targets[1], targets[0])
    # Beside 5, a token of 1e-4 has three digits left in float32.
    torch.testing.assert_close(targets[2], targets[0], atol=1e-2, rtol=0)


def test_tokens_that_are_all_the_same_are_no_division_by_0() -> None:
    scale = TokenScale(6)
    tokens = torch.full((4, 5, 6), 2.5)
    scale.update(tokens, KIND, ALL)
    assert torch.equal(scale.standardise(tokens, KIND), torch.zeros(4, 5, 6))


@pytest.mark.parametrize("left", [0, 1])
def test_a_kind_that_was_not_seen_keeps_what_it_had(left: int) -> None:
    """`left` tokens of it have no spread."""
    scale = TokenScale(6)
    first, second = batches(2)
    mask = ALL.clone()
    mask[:, 3:] = False
    mask[0, 3] = bool(left)
    scale.update(first, KIND, mask)
    assert torch.equal(scale.mean[1], torch.zeros(6))
    assert torch.equal(scale.spread[1], torch.ones(6))
    # Its own first batch is then all that it knows: nothing is left of the 0 and 1 that it began with.
    scale.update(second, KIND, ALL)
    torch.testing.assert_close(scale.mean[1], statistics(second)[0][1])
    assert scale.seen.tolist() == [2, 1]


def test_tokens_of_bf16_are_counted_in_fp32() -> None:
    scale = TokenScale(6)
    (tokens,) = batches(1)
    scale.update(tokens.bfloat16(), KIND, ALL)
    torch.testing.assert_close(scale.mean, statistics(tokens.bfloat16().float())[0])
    assert scale.standardise(tokens.bfloat16(), KIND).dtype == torch.float32
