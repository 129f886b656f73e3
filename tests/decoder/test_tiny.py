"""The small decoder: its latents, its loss and its sampling, against computations by hand, and what they depend on."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.nn import functional as F

from vtok.common.errors import UserError
from vtok.data.plan import TargetPlan
from vtok.decoder import TinyDecoder
from vtok.decoder.tiny import LEAST_SIGMA, MIDDLE, SPREAD

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


def test_a_latent_is_a_square_of_pixels() -> None:
    decoder, video = make(patch=4), videos(2, size=16)
    latents = decoder.to_latents(video)
    assert latents.shape == (2, 3 * 4 * 4, 3, 4, 4)
    for clip, frame, top, left in [(0, 0, 0, 0), (1, 2, 3, 1), (1, 0, 2, 3)]:
        square = video[clip, frame, :, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4].double() / 255
        expected = (square.flatten() - 0.45) / 0.2
        torch.testing.assert_close(latents[clip, :, frame, top, left].double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("patch", [2, 8, 16])
def test_every_pixel_comes_back_from_its_latent(patch: int) -> None:
    decoder = make(patch=patch)
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16).expand(1, 3, 3, 16, 16)
    video = torch.cat([every_value, videos(3)])
    back = decoder.to_video(decoder.to_latents(video))
    assert back.dtype == torch.uint8
    assert torch.equal(back, video)


def test_what_is_darker_than_black_is_black_and_brighter_than_white_white() -> None:
    decoder = make()
    latents = decoder.to_latents(videos(1)) * 0
    assert decoder.to_video(latents - 1000).unique().tolist() == [0]
    assert decoder.to_video(latents + 1000).unique().tolist() == [255]
    assert decoder.to_video(latents).unique().tolist() == [round(0.45 * 255)]


def test_the_target_is_what_the_decoder_makes() -> None:
    decoder = make(num_frames=5, size=24)
    assert decoder.target == TargetPlan(num_frames=5, size=24)
    assert sample(decoder, randn(2, 4, DIM)).shape == (2, 5, 3, 24, 24)


def test_the_loss_is_the_error_of_the_velocity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path's velocity is noise less video, the model's (point - clean) / sigma; near the video it counts less."""
    decoder, video, condition, mask = make(condition_dropout=0.0), videos(4), randn(4, 5, DIM), mask_of([5, 3, 1, 4])
    sigma = torch.tensor([0.02, LEAST_SIGMA, 0.4, 0.95]).view(4, 1, 1, 1, 1)
    clean = decoder.to_latents(video)
    noise = randn(*clean.shape, seed=3)
    point = (1 - sigma) * clean + sigma * noise
    monkeypatch.setattr("vtok.decoder.tiny.noised", lambda *_: (point, 1000 * sigma.flatten(), sigma))
    with torch.no_grad():
        loss = decoder.loss(video, condition, mask)
        predicted = torch.cat(
            [
                decoder.clean(point[row : row + 1], 1000 * sigma[row].flatten(), condition[row : row + 1], mask[[row]])
                for row in range(4)
            ]
        )
    velocity = (point.double() - predicted) / sigma
    error = (velocity - (noise.double() - clean)).square().mean((1, 2, 3, 4))
    damped = error * torch.tensor([(0.02 / LEAST_SIGMA) ** 2, 1.0, 1.0, 1.0])
    assert loss.item() == pytest.approx(damped.mean().item(), rel=1e-6)


def test_the_loss_asks_at_random_points_on_the_way_to_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, video, condition, mask = make(condition_dropout=0.0), videos(64), randn(64, 5, DIM), mask_of([5] * 64)
    asked: list[tuple[Tensor, ...]] = []

    def zeros(*given: Tensor) -> Tensor:
        asked.append(given)
        return torch.zeros_like(given[0])

    monkeypatch.setattr(decoder, "clean", zeros)
    torch.manual_seed(4)
    loss = decoder.loss(video, condition, mask)
    ((point, time, given, given_mask),) = asked
    assert torch.equal(given, condition)
    assert torch.equal(given_mask, mask)
    clean, sigma = decoder.to_latents(video), (time / 1000).view(-1, 1, 1, 1, 1)
    noise = (point - (1 - sigma) * clean) / sigma
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert len(time.unique()) > 50
    # The whole of the clean video is the error of a model that says 0 everywhere.
    expected = (clean / sigma.clamp(min=LEAST_SIGMA)).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("shift", [1.0, 7.0])
def test_noise_levels_in_training_are_shifted(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logit-normal ones, s -> shift s / (1 + (shift - 1) s) (Esser et al. 2024), which adds log(shift) to the logit."""
    decoder, asked = make(shift=shift, num_frames=1, size=8), []

    def zeros(point: Tensor, time: Tensor, *_: Tensor) -> Tensor:
        asked.append(time)
        return torch.zeros_like(point)

    monkeypatch.setattr(decoder, "clean", zeros)
    torch.manual_seed(4)
    number = 4000
    decoder.loss(
        videos(1, frames=1, size=8).expand(number, -1, -1, -1, -1), randn(number, 1, DIM), mask_of([1] * number)
    )
    logits = torch.logit(asked[0] / 1000, eps=1e-4)
    assert logits.median().item() == pytest.approx(math.log(shift), abs=0.06)
    assert (logits.quantile(0.8413) - logits.median()).item() == pytest.approx(1, abs=0.1)


def test_the_loss_is_0_where_the_clean_video_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, video = make(), videos(6)
    monkeypatch.setattr(decoder, "clean", lambda *_: decoder.to_latents(video))
    assert decoder.loss(video, randn(6, 5, DIM), mask_of([5] * 6)).item() == 0


def test_samples_follow_from_their_seeds_alone() -> None:
    decoder, condition = make(), randn(2, 4, DIM)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = sample(decoder, condition, seeds=[3, 4])
    assert torch.equal(torch.get_rng_state(), state), "torch's random numbers were used"
    torch.manual_seed(6)
    assert torch.equal(sample(decoder, condition, seeds=[3, 4]), first)
    other = sample(decoder, condition, seeds=[3, 5])
    assert grey_levels(other[0], first[0]) <= 1
    assert grey_levels(other[1], first[1]) > 5


def test_samples_do_not_depend_on_their_batch() -> None:
    decoder, condition = make(), randn(4, 4, DIM)
    together = sample(decoder, condition, seeds=[3, 4, 5, 6], guidance=1.5)
    order = [2, 0]
    some = sample(decoder, condition[order], seeds=[5, 3], guidance=1.5)
    assert grey_levels(some, together[order]) <= 1
    assert grey_levels(together[0], together[1]) > 5


@pytest.mark.parametrize(("guidance", "calls"), [(1.0, 1), (2.0, 2), (0.0, 2)])
def test_guidance_costs_a_second_look_at_each_step(guidance: float, calls: int) -> None:
    decoder, seen = make(), []
    decoder.transformer.register_forward_hook(lambda *_: seen.append(1))
    sample(decoder, randn(2, 4, DIM), steps=5, guidance=guidance)
    assert len(seen) == 5 * calls


@pytest.mark.parametrize(("guidance", "shift"), [(0.0, 7.0), (1.0, 1.0), (2.0, 7.0), (3.5, 1.0)])
def test_sampling_is_eulers_method_with_guidance_of_the_velocity(guidance: float, shift: float) -> None:
    decoder, condition, mask = make(shift=shift), randn(3, 5, DIM), mask_of(LENGTHS)
    made = sample(decoder, condition, mask, seeds=[3, 4, 5], steps=4, guidance=guidance)
    shape = (1, 192, 3, 2, 2)
    point = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4, 5)])
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(4)
    sigmas = theirs.sigmas.tolist()
    assert (sigmas[0], sigmas[-1], len(sigmas)) == (1, 0, 5)
    nothing = decoder.nothing.detach().expand_as(condition)
    with torch.no_grad():
        for sigma, following in pairwise(sigmas):
            with_it, without = (
                (point - decoder.clean(point, torch.full((3,), 1000 * sigma), given, mask)) / sigma
                for given in (condition, nothing)
            )
            velocity = (1 - guidance) * without + guidance * with_it
            point = point + (following - sigma) * velocity
    assert grey_levels(made, decoder.to_video(point)) <= 1
    if guidance != 1:
        assert grey_levels(made, sample(decoder, condition, mask, seeds=[3, 4, 5], steps=4)) > 3


def test_without_guidance_by_the_condition_it_does_not_count() -> None:
    decoder = make()
    one, other = (sample(decoder, randn(2, 4, DIM, seed=seed), guidance=0.0) for seed in (1, 2))
    assert torch.equal(one, other)


def test_it_works_within_bf16_autocast() -> None:
    decoder, condition, mask = make(), randn(3, 5, DIM).requires_grad_(), mask_of(LENGTHS)
    torch.manual_seed(4)
    exact = decoder.loss(videos(3), condition, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(4)
        loss = decoder.loss(videos(3), condition.bfloat16(), mask)
        made = sample(decoder, condition.detach().bfloat16(), mask)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)
    loss.backward()
    assert condition.grad is not None
    assert condition.grad.isfinite().all()
    assert made.dtype == torch.uint8
    assert grey_levels(made, sample(decoder, condition.detach(), mask)) < 30


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": 30, "patch": 8}, r"decoder\.size=30: it must be a multiple of decoder\.patch=8. Use 32"),
        ({"head_dim": 16}, r"decoder\.head_dim=16: it must be a multiple of 6"),
    ],
)
def test_sizes_that_do_not_fit_are_told(settings: dict[str, int], told: str) -> None:
    with pytest.raises(UserError, match=told):
        TinyDecoder(DIM, **settings)


def test_it_learns_to_put_a_square_where_each_token_says() -> None:
    """Token n is one-hot and names a quarter of frame n: what, where and when must all be told apart.

    Bright squares show through noise that is not shifted towards pure noise, and the condition would be learnt late.
    """
    decoder = make(noise=0.0, num_frames=2, size=8, patch=4, single_layers=0)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1.0, end_factor=0.0, total_iters=150)
    generator = torch.Generator().manual_seed(2)

    def drawn(quarters: Tensor) -> Tensor:
        """(B, 2) of 0..3 -> (B, 2, 3, 8, 8), 200 in the named quarters and 40 elsewhere."""
        bright = F.one_hot(quarters, 4).view(-1, 2, 1, 2, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
        return (40 + 160 * bright).expand(-1, -1, 3, -1, -1).to(torch.uint8)

    torch.manual_seed(3)
    for _ in range(150):
        quarters = torch.randint(0, 4, (16, 2), generator=generator)
        optimiser.zero_grad()
        decoder.loss(drawn(quarters), F.one_hot(quarters, DIM).float(), mask_of([2] * 16)).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    made = sample(decoder, F.one_hot(every, DIM).float(), steps=5)
    assert made.shape == (16, 2, 3, 8, 8)
    brightness = made.float().mean(2).unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)).flatten(2)
    # By chance 8 of 32.
    assert (brightness.argmax(-1) == every).sum() >= 28
    assert (made.float() - drawn(every).float()).abs().median() < 10


def test_latents_are_about_standard_normal_for_frames_of_that_spread() -> None:
    values = (255 * (MIDDLE + SPREAD * randn(2, 3, 3, 16, 16))).round().clamp(0, 255).to(torch.uint8)
    latents = make().to_latents(values)
    assert latents.mean().item() == pytest.approx(0, abs=0.05)
    assert latents.std().item() == pytest.approx(1, abs=0.05)
