from functools import partial

import numpy as np
import pytest
import torch
from scipy.fft import dct
from torch import Tensor

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.tokeniser import MOTION, SPATIAL, FrequencyTokeniser, PlannedFrames
from vtok.tokeniser.frequency import cosines

two_by_two = partial(FrequencyTokeniser, grid_size=2, stride=1, token_dim=5)


@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_cosines_are_the_dct_of_each_length(length: int) -> None:
    values = np.random.default_rng(0).normal(size=length)
    there = torch.arange(30).unsqueeze(0) < length
    found = cosines(there, 7)[0].double() @ torch.from_numpy(np.pad(values, (0, 30 - length), constant_values=9))
    expected = np.zeros(7)
    expected[:length] = dct(values, type=2, norm="ortho")[:7]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def spectrum(frames: Tensor) -> Tensor:
    """The DCT (K - 1, 4, 3) of the changes of the 2 x 2 cells of frames (K, 3, 8, 8), and their features (K, 4, 3)."""
    cells = frames.reshape(len(frames), 3, 2, 4, 2, 4).mean((3, 5)).flatten(2).mT
    return torch.from_numpy(dct(np.diff(cells.numpy(), axis=0), type=2, norm="ortho", axis=0))


@pytest.mark.parametrize(("num_tokens", "absorbed"), [(6, 3), (7, 1), (4, 2), (20, 9)])
@torch.no_grad()
def test_tokens_are_the_formulas(num_tokens: int, absorbed: int, pixels) -> None:
    video = torch.rand(2, 6, 3, 8, 8)
    tokeniser = two_by_two(pixels, num_tokens=num_tokens, absorbed=absorbed)
    result = tokeniser.encode(video)
    some = min(num_tokens - 4, 5)
    assert result.tokens.shape == (2, 4 + some, 5)
    assert result.kind.tolist() == [SPATIAL] * 4 + [MOTION] * some
    assert result.timestamps.tolist() == [[0] * 4 + [3] * some] * 2
    for row in range(2):
        waves = spectrum(video[row])
        for cell in range(4):
            top, left = 4 * (cell // 2), 4 * (cell % 2)
            known = torch.zeros(absorbed, 3)
            known[:5] = waves[:absorbed, cell]
            first = video[row, 0, :, top : top + 4, left : left + 4].mean((1, 2))
            expected = tokeniser.spatial(first) + tokeniser.absorb(known.flatten())
            torch.testing.assert_close(result.tokens[row, cell], expected)
        for number in range(some):
            assert tokeniser.motion is not None
            torch.testing.assert_close(result.tokens[row, 4 + number], tokeniser.motion(waves[number].mean(0)))


@torch.no_grad()
def test_a_shorter_clip_has_its_own_frequencies(pixels) -> None:
    frames = torch.rand(3, 5, 3, 8, 8)
    lengths = torch.tensor([5, 3, 1])
    mask = torch.arange(5) < lengths.unsqueeze(1)
    tokeniser = two_by_two(pixels, num_tokens=7)
    both = tokeniser.encode_planned(
        PlannedFrames(frames, torch.zeros(3, dtype=torch.long), mask, torch.arange(5.0).expand(3, -1))
    )
    assert both.mask.sum(1).tolist() == [7, 6, 4]
    for row, length in enumerate(lengths.tolist()):
        alone = tokeniser.encode(frames[row : row + 1, :length])
        number = alone.tokens.shape[1]
        torch.testing.assert_close(both.tokens[row, :number], alone.tokens[0])
        torch.testing.assert_close(both.timestamps[row, :number], alone.timestamps[0])
        torch.testing.assert_close(both.weights[row, :number], alone.weights[0])


@torch.no_grad()
def test_every_place_depends_on_every_frame_from_the_start(pixels) -> None:
    torch.manual_seed(0)
    tokeniser = FrequencyTokeniser(pixels, stride=1, num_tokens=16)
    video = torch.rand(1, 31, 3, 8, 8)
    tokens = tokeniser(video)
    assert tokens.shape == (1, 16, 3)
    for frame in range(31):
        other = video.clone()
        other[:, frame] = torch.rand(3, 8, 8)
        assert ((tokeniser(other) - tokens).norm(dim=2) > 1e-5).all()


@pytest.mark.parametrize(("frames", "stride", "budget"), [(30, 6, 20), (121, 6, 20), (121, 4, 46)])
def test_the_papers_budgets_are_met(frames: int, stride: int, budget: int, pixels) -> None:
    tokeniser = FrequencyTokeniser(pixels, stride=stride, num_tokens=budget, budget=budget)
    assert tokeniser(torch.rand(1, frames, 3, 8, 8)).shape == (1, budget, 3)


@pytest.mark.parametrize("num_tokens", [4, 6])
def test_gradient_reaches_all_that_is_trained(num_tokens: int) -> None:
    tokeniser = two_by_two(TinyBackbone(), num_tokens=num_tokens)
    tokeniser(torch.rand(1, 12, 3, 64, 64)).pow(2).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in tokeniser.parameters())


def test_mistakes_are_told(pixels) -> None:
    with pytest.raises(UserError, match=r"num_tokens=15 is fewer than the 16 places of the first frame. Use 16"):
        FrequencyTokeniser(pixels, num_tokens=15)
    with pytest.raises(UserError, match=r"key_frame=7.*first frame"):
        FrequencyTokeniser(pixels)(torch.rand(1, 30, 3, 8, 8), key_frame=7)
