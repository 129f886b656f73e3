"""What the tests of the pretrained decoders share: clips, and noise that is known."""

from collections.abc import Callable, Sequence

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from vtok.decoder import latent


@pytest.fixture
def clips() -> Tensor:
    """Two clips of 5 frames of 32 x 32 pixels."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8, generator=generator)


@pytest.fixture
def known_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tensor, Sequence[float]], None]:
    """Set the noise (B, C, f, h, w) and the noise levels that the next losses are computed at."""

    def set_noise(noise: Tensor, sigmas: Sequence[float]) -> None:
        def known(clean: Tensor, schedule: FlowMatchEulerDiscreteScheduler) -> tuple[Tensor, Tensor, Tensor]:
            sigma = torch.tensor(sigmas).view(-1, 1, 1, 1, 1)
            return (1 - sigma) * clean + sigma * noise, 1000 * sigma.flatten(), sigma

        monkeypatch.setattr(latent, "noised", known)

    return set_noise
