"""Noise levels and integration, against diffusers' own scheduler and a field that is known."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from vtok.decoder.flow import integrate, noised

SHIFTS = pytest.mark.parametrize("shift", [1.0, 3.0])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@SHIFTS
def test_sigma_and_timestep_are_rows_of_the_schedulers_tables(shift: float) -> None:
    torch.manual_seed(0)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    _, times, sigmas = noised(randn(500, 2, 3), scheduler)
    assert (times.shape, sigmas.shape) == ((500,), (500, 1, 1))
    rows = (scheduler.sigmas.unsqueeze(0) - sigmas.flatten().unsqueeze(1)).abs().argmin(1)
    assert torch.equal(scheduler.sigmas[rows], sigmas.flatten())
    torch.testing.assert_close(scheduler.timesteps[rows], times)
    assert len(rows.unique()) > 250


@SHIFTS
def test_the_point_is_the_one_that_diffusers_makes_at_that_time(shift: float) -> None:
    clean = randn(64, 2, 3)
    torch.manual_seed(1)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    point, times, sigma = noised(clean, scheduler)
    noise = (point - (1 - sigma) * clean) / sigma
    # What is divided by a sigma of 0.01 has lost two digits.
    torch.testing.assert_close(scheduler.scale_noise(clean, times, noise), point, atol=1e-5, rtol=0)
    assert noise.mean().item() == pytest.approx(0, abs=0.3)
    assert noise.var().item() == pytest.approx(1, abs=0.3)


def test_noise_levels_are_logit_normal() -> None:
    torch.manual_seed(0)
    _, times, _ = noised(torch.zeros(4000, 1), FlowMatchEulerDiscreteScheduler())
    # A table of 1000 rows is coarse at its ends.
    share = (times / 1000).clamp(5e-3, 1 - 5e-3)
    logits = torch.logit(share)
    assert logits.mean().item() == pytest.approx(0, abs=0.08)
    assert logits.std().item() == pytest.approx(1, abs=0.05)


@SHIFTS
def test_integration_is_diffusers_own_loop(shift: float) -> None:
    def velocity(point: Tensor, time: Tensor) -> Tensor:
        return torch.sin(3 * point) + time.view(-1, 1) / 1000

    noise = randn(5, 4)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    made = integrate(velocity, noise, scheduler=scheduler, steps=9)
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(9)
    point = noise
    for time in theirs.timesteps:
        point = theirs.step(velocity(point, time.expand(5)), time, point).prev_sample
    assert torch.equal(made, point)


@SHIFTS
@pytest.mark.parametrize("steps", [1, 7])
def test_the_exact_field_of_one_point_ends_at_that_point(shift: float, steps: int) -> None:
    data = randn(3, 2, 4, seed=5)
    asked: list[Tensor] = []

    def velocity(point: Tensor, time: Tensor) -> Tensor:
        asked.append(time)
        return (point - data) / (time / 1000).view(-1, 1, 1)

    made = integrate(velocity, randn(3, 2, 4), scheduler=FlowMatchEulerDiscreteScheduler(shift=shift), steps=steps)
    torch.testing.assert_close(made, data, atol=1e-5, rtol=1e-5)
    assert [time.shape for time in asked] == [(3,)] * steps
    assert asked[0].tolist() == [1000] * 3, "it begins at pure noise"


def test_the_scheduler_that_is_given_is_not_moved() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    sigmas, times = scheduler.sigmas.clone(), scheduler.timesteps.clone()
    first, second = (integrate(lambda point, time: point, randn(2, 3), scheduler=scheduler, steps=4) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(scheduler.sigmas, sigmas)
    assert torch.equal(scheduler.timesteps, times)
    assert scheduler.step_index is None
