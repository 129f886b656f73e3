"""Backbones whose features can be computed by hand, and the tokens that groups of patches give."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.backbone import Backbone
from vtok.tokeniser import VideoTokens

Groups = Sequence[Sequence[int]]


class Pixels(Backbone):
    """Features are the pixels themselves."""

    def __init__(self) -> None:
        super().__init__(feature_dim=3, image_size=8, stride=1, mean=(0, 0, 0), std=(1, 1, 1))
        self.set_frozen(True)

    def feature_map(self, images: Tensor) -> Tensor:
        return images


class Blocks(Backbone):
    """4 x 4 places, whose features are the 12 values of 2 x 2 pixels."""

    def __init__(self) -> None:
        super().__init__(feature_dim=12, image_size=8, stride=2, mean=(0.5, 0.5, 0.5), std=(1, 1, 1))
        self.set_frozen(True)

    def feature_map(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, 2)


@pytest.fixture
def pixels() -> Pixels:
    return Pixels()


@pytest.fixture
def blocks() -> Blocks:
    return Blocks()


def features_of(frames: Tensor) -> np.ndarray:
    """The features (K, 16, 12) that `Blocks` gives for frames (K, 3, 8, 8)."""
    made = np.empty((len(frames), 16, 12), dtype=np.float64)
    for place in range(16):
        top, left = 2 * (place // 4), 2 * (place % 4)
        made[:, place] = frames[:, :, top : top + 2, left : left + 2].numpy().reshape(len(frames), 12) - 0.5
    return made


def check_tokens(result: VideoTokens, row: int, groups: Groups, frames: Tensor, times: Sequence[float]) -> None:
    """Check the tokens of a clip of a batch against groups of patches of its frames (K, 3, 8, 8), in any order."""
    features = features_of(frames).reshape(-1, 12)
    assert len({patch for group in groups for patch in group}) == sum(len(group) for group in groups)
    tokens = []
    for group in groups:
        where = [(patch // 16, patch % 16 // 4, patch % 4) for patch in group]
        frame, line, column = (sum(one[axis] for one in where) / len(where) for axis in range(3))
        seconds = sum(times[one[0]] for one in where) / len(where)
        mean = features[list(group)].mean(0)
        tokens.append((frame, line, column, seconds, len(group), mean))
    tokens.sort(key=lambda one: one[:3])
    count = int(result.mask[row].sum())
    assert count == len(groups)
    assert result.mask[row, :count].all()
    np.testing.assert_allclose(result.tokens[row, :count], np.stack([one[5] for one in tokens]), rtol=1e-4, atol=1e-5)
    places = [((line + 0.5) / 4, (column + 0.5) / 4) for _, line, column, *_ in tokens]
    np.testing.assert_allclose(result.places[row, :count], places, rtol=1e-5)
    np.testing.assert_allclose(result.timestamps[row, :count], [one[3] for one in tokens], rtol=1e-5, atol=1e-6)
    assert result.weights[row, :count].tolist() == [one[4] for one in tokens]


@pytest.fixture
def check() -> Callable[[VideoTokens, int, Groups, Tensor, Sequence[float]], None]:
    return check_tokens


@pytest.fixture
def features() -> Callable[[Tensor], np.ndarray]:
    return features_of


@pytest.fixture
def video() -> Tensor:
    """Clips (3, 5, 3, 8, 8): noise, a slow fade of noise, and a frame that stays the same but for a corner."""
    noise = torch.rand(3, 5, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    steps = torch.linspace(0, 1, 5).view(5, 1, 1, 1)
    fade = (1 - steps) * noise[1, 0] + steps * noise[1, 1] + 0.02 * noise[1]
    still = noise[2, :1].repeat(5, 1, 1, 1) + 0.05 * noise[2]
    still[3:, :, :2, :2] = noise[2, 3:, :, :2, :2]
    return torch.stack([noise[0], fade, still])
