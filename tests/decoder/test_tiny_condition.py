"""What the small decoder makes of its condition: what counts of it, in which ways, and what is learnt of it."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.decoder import TinyDecoder
from vtok.decoder.tiny import Sketch, places

DIM = 10
LENGTHS = [5, 3, 1]


def make(*, noise: float = 0.2, **settings: object) -> TinyDecoder:
    """A decoder of videos of 3 frames of 16 x 16 pixels.

    `noise` on all parameters: a new one has zeros in many places, so that nothing would depend on the condition.
    """
    torch.manual_seed(0)
    sizes = dict(num_frames=3, size=16, heads=2, head_dim=12, double_layers=1, single_layers=1, sketch_channels=5)
    decoder = TinyDecoder(DIM, **{**sizes, **settings})  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return decoder


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def videos(number: int, *, frames: int = 3, size: int = 16, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, frames, 3, size, size), dtype=torch.uint8, generator=generator)


def mask_of(lengths: list[int], longest: int | None = None) -> Tensor:
    return torch.arange(longest or max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def grey_levels(one: Tensor, other: Tensor) -> int:
    """The largest difference of two uint8 videos."""
    return int((one.int() - other.int()).abs().max())


def sample(decoder: TinyDecoder, condition: Tensor, mask: Tensor | None = None, **settings: object) -> Tensor:
    given: dict = {"seeds": list(range(len(condition))), "steps": 3, "guidance": 1.0, **settings}
    mask = torch.ones(condition.shape[:2], dtype=torch.bool) if mask is None else mask
    return decoder.sample(condition, mask, **given)


def test_padding_changes_nothing_of_what_is_predicted() -> None:
    decoder, condition, mask = make(), randn(3, 5, DIM), mask_of(LENGTHS)
    point, time = randn(3, 192, 3, 2, 2, seed=3), torch.tensor([900.0, 400.0, 50.0])
    other = torch.where(mask.unsqueeze(-1), condition, 100 * randn(3, 5, DIM, seed=4))
    with torch.no_grad():
        together = decoder.clean(point, time, condition, mask)
        torch.testing.assert_close(decoder.clean(point, time, other, mask), together, atol=1e-5, rtol=1e-5)
        for row, length in enumerate(LENGTHS):
            one = slice(row, row + 1)
            alone = decoder.clean(point[one], time[one], condition[one, :length], mask[one, :length])
            torch.testing.assert_close(alone, together[one], atol=1e-5, rtol=1e-5)
            last = torch.arange(5).view(1, 5, 1) == length - 1
            changed = decoder.clean(
                point[one], time[one], torch.where(last, -condition[one], condition[one]), mask[one]
            )
            assert (changed - together[one]).abs().max() > 1e-3, "the last token before the padding counts"


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_padding_changes_nothing_of_what_is_sampled(guidance: float) -> None:
    decoder, condition, mask = make(), randn(3, 5, DIM), mask_of(LENGTHS)
    other = torch.where(mask.unsqueeze(-1), condition, 100 * randn(3, 5, DIM, seed=4))
    together = sample(decoder, condition, mask, seeds=[7, 8, 9], guidance=guidance)
    assert grey_levels(sample(decoder, other, mask, seeds=[7, 8, 9], guidance=guidance), together) <= 1
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        alone = sample(decoder, condition[one, :length], seeds=[7 + row], guidance=guidance)
        assert grey_levels(alone, together[one]) <= 1
        longer = F.pad(condition[one], (0, 0, 0, 4), value=3.0)
        padded = sample(decoder, longer, mask_of([length], longest=9), seeds=[7 + row], guidance=guidance)
        assert grey_levels(padded, together[one]) <= 1
    whole = sample(decoder, condition, seeds=[7, 8, 9], guidance=guidance)
    assert grey_levels(whole[1:], together[1:]) > 5, "what stands in the padding would count if it were none"


def test_padding_changes_nothing_of_the_loss() -> None:
    decoder, video, condition, mask = make(condition_dropout=0.0), videos(3), randn(3, 5, DIM), mask_of(LENGTHS)
    losses = []
    for padding in (0.0, 5.0):
        torch.manual_seed(4)
        given = torch.where(mask.unsqueeze(-1), condition, padding * randn(3, 5, DIM, seed=4))
        losses.append(decoder.loss(video, given, mask).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_order_of_the_condition_matters() -> None:
    decoder, condition, mask = make(), randn(2, 4, DIM), mask_of([4, 4])
    point, time = randn(2, 192, 3, 2, 2, seed=3), torch.tensor([900.0, 400.0])
    with torch.no_grad():
        straight, backwards = (decoder.clean(point, time, given, mask) for given in (condition, condition.flip(1)))
    # Of a set of tokens, which attention alone sees, the two would be the same but for rounding.
    assert (straight - backwards).abs().max() > 1e-2


def test_places_are_sines_and_cosines_of_the_number() -> None:
    made = places(torch.zeros(2, 7, 12))
    assert made.shape == (7, 12)
    for number in range(7):
        for pair in range(6):
            angle = number / 100 ** (2 * pair / 12)
            assert made[number, pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert made[number, 6 + pair].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_the_sketch_is_attention_of_each_latent_to_the_tokens_that_are_there() -> None:
    torch.manual_seed(0)
    sketch = Sketch(12, heads=2, shape=(5, 3, 2, 4))
    torch.nn.init.normal_(sketch.look.in_proj_bias)
    tokens, mask = randn(2, 6, 12), mask_of([6, 4])
    drawn = sketch(tokens, mask)
    assert drawn.shape == (2, 5, 3, 2, 4)
    weights, biases = sketch.look.in_proj_weight.chunk(3), sketch.look.in_proj_bias.chunk(3)
    for row, length in enumerate((6, 4)):
        seen = tokens[row, :length]
        queries, keys, values = (
            (given @ weight.T + bias).unflatten(-1, (2, 6)).transpose(0, 1)
            for given, weight, bias in zip((sketch.latents, seen, seen), weights, biases, strict=True)
        )
        attention = (queries @ keys.transpose(1, 2) / math.sqrt(6)).softmax(-1)
        looked = sketch.look.out_proj((attention @ values).transpose(0, 1).flatten(1))
        for number, (frame, top, left) in enumerate(product(range(3), range(2), range(4))):
            expected = looked[number] @ sketch.draw[4 * top + left]
            torch.testing.assert_close(drawn[row, :, frame, top, left], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", ["sketch", "text"])
def test_the_condition_enters_in_two_ways(way: str) -> None:
    """Each alone says which condition it is, and with both shut nothing does."""
    decoder = make()
    shut: dict[str, Callable[[], object]] = {
        "text": lambda: (
            decoder.transformer.context_embedder.register_forward_hook(lambda *given: torch.zeros_like(given[2])),
            decoder.transformer.time_text_embed.text_embedder.register_forward_hook(
                lambda *given: torch.zeros_like(given[2])
            ),
        ),
        "sketch": lambda: decoder.sketch.register_forward_hook(lambda *given: torch.zeros_like(given[2])),
    }
    conditions = [randn(2, 4, DIM, seed=seed) for seed in (1, 2)]
    shut.pop(way)
    for close in shut.values():
        close()
    one, other = (sample(decoder, condition) for condition in conditions)
    assert grey_levels(one, other) > 2
    if way == "sketch":
        decoder.sketch.register_forward_hook(lambda *given: torch.zeros_like(given[2]))
        one, other = (sample(decoder, condition) for condition in conditions)
        assert torch.equal(one, other)


def test_a_frozen_decoder_passes_the_gradient_on() -> None:
    decoder, mask = make(condition_dropout=0.0).requires_grad_(False), mask_of(LENGTHS)
    condition = randn(3, 5, DIM).requires_grad_()
    torch.manual_seed(4)
    decoder.loss(videos(3), condition, mask).backward()
    assert all(parameter.grad is None for parameter in decoder.parameters())
    assert condition.grad is not None
    sizes = condition.grad.abs().amax(-1)
    assert (sizes[mask] > 1e-6).all()
    assert (sizes[~mask] == 0).all()


def test_the_gradient_points_to_a_smaller_loss() -> None:
    decoder, video, mask = make(condition_dropout=0.0).requires_grad_(False), videos(3), mask_of(LENGTHS)
    condition = randn(3, 5, DIM).requires_grad_()

    def loss(given: Tensor) -> Tensor:
        torch.manual_seed(4)
        return decoder.loss(video, given, mask)

    (gradient,) = torch.autograd.grad(loss(condition), condition)
    size = gradient.norm().item()
    step = 1e-2 * gradient / size
    with torch.no_grad():
        slope = (loss(condition + step) - loss(condition - step)).item() / 2e-2
    assert slope == pytest.approx(size, rel=0.02)


def test_the_loss_trains_every_weight_of_a_new_decoder() -> None:
    """Some begin behind zeros, and are reached after a step."""
    decoder = make(noise=0.0, condition_dropout=0.5)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    reached = dict.fromkeys(dict(decoder.named_parameters()), False)
    for step in range(4):
        torch.manual_seed(step)
        optimiser.zero_grad()
        decoder.loss(videos(8), randn(8, 5, DIM), mask_of([5, 4, 3, 2] * 2)).backward()
        for name, parameter in decoder.named_parameters():
            reached[name] |= parameter.grad is not None and bool(parameter.grad.any())
        optimiser.step()
    assert [name for name, one in reached.items() if not one] == []


def test_a_condition_that_is_always_left_out_does_not_count() -> None:
    decoder, video, mask = make(condition_dropout=1.0), videos(4), mask_of([5, 4, 3, 2])
    losses = []
    for seed in (1, 2):
        condition = randn(4, 5, DIM, seed=seed).requires_grad_()
        torch.manual_seed(4)
        loss = decoder.loss(video, condition, mask)
        loss.backward()
        losses.append(loss.item())
        assert condition.grad is None or not condition.grad.any()
    assert losses[0] == losses[1]
    assert decoder.nothing.grad is not None
    assert decoder.nothing.grad.abs().max() > 1e-6


def test_a_condition_that_is_never_left_out_has_no_stand_in() -> None:
    decoder, condition = make(condition_dropout=0.0), randn(4, 5, DIM)
    losses = []
    for size in (0.0, 1000.0):
        torch.nn.init.normal_(decoder.nothing, std=size, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(4)
        losses.append(decoder.loss(videos(4), condition, mask_of([5, 4, 3, 2])))
    assert losses[0].item() == losses[1].item()
    losses[1].backward()
    assert decoder.nothing.grad is None or not decoder.nothing.grad.any()


def test_a_condition_is_left_out_as_a_whole_and_as_often_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, condition = make(condition_dropout=0.3), randn(1000, 4, DIM)
    seen: list[Tensor] = []

    def zeros(point: Tensor, time: Tensor, given: Tensor, mask: Tensor) -> Tensor:
        seen.append(given)
        return torch.zeros_like(point)

    monkeypatch.setattr(decoder, "clean", zeros)
    torch.manual_seed(4)
    decoder.loss(videos(1).expand(1000, -1, -1, -1, -1), condition, mask_of([4] * 1000))
    (given,) = seen
    kept = (given == condition).flatten(1).all(1)
    left_out = (given == decoder.nothing).flatten(1).all(1)
    assert (kept ^ left_out).all()
    # Three standard deviations of a share of 1000.
    assert left_out.float().mean().item() == pytest.approx(0.3, abs=3 * math.sqrt(0.3 * 0.7 / 1000))
