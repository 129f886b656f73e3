"""Flow matching (Lipman et al. 2023; the schedule of diffusers' FlowMatchEuler): x_s = (1 - s) x_0 + s noise."""

from collections.abc import Callable

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor


def noised(clean: Tensor, scheduler: FlowMatchEulerDiscreteScheduler) -> tuple[Tensor, Tensor, Tensor]:
    """A random point on the path from `clean` (B, ...) to noise.

    Noise levels are logit-normal (Esser et al. 2024), mapped to the scheduler's own timesteps and sigmas.

    Returns:
        The point, its timestep (B,), and its sigma in the shape (B, 1, ...).
    """
    share = compute_density_for_timestep_sampling(
        "logit_normal", len(clean), logit_mean=0.0, logit_std=1.0, device=clean.device
    )
    steps = scheduler.config["num_train_timesteps"]
    index = (share * steps).long().clamp(max=steps - 1)
    table = scheduler.sigmas.to(clean.device, clean.dtype, non_blocking=True)
    sigma = table[index].view(-1, *[1] * (clean.dim() - 1))
    return (1 - sigma) * clean + sigma * torch.randn_like(clean), sigma.flatten() * steps, sigma


def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    *,
    scheduler: FlowMatchEulerDiscreteScheduler,
    steps: int,
) -> Tensor:
    """From noise (B, ...) to data by Euler steps along `velocity(point, timestep (B,))`."""
    # A scheduler holds the state of its steps, so each integration has its own.
    own = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
    own.set_timesteps(steps, device=noise.device)
    point = noise
    for time in own.timesteps:
        point = own.step(velocity(point, time.expand(len(point))), time, point, return_dict=False)[0]
    return point
