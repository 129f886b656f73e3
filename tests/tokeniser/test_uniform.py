import numpy as np
import pytest

from vtok.tokeniser import UniformTokeniser
from vtok.tokeniser.uniform import boxes_of


def halved(frames: range, lines: range, columns: range, tokens: int) -> list[list[int]]:
    """The boxes by recursion: cut across the longest side, in proportion to the tokens of both parts."""
    if tokens == 1:
        return [[16 * t + 4 * y + x for t in frames for y in lines for x in columns]]
    sides = [frames, lines, columns]
    longest = max(range(3), key=lambda axis: len(sides[axis]))
    side = sides[longest]
    layer = len(frames) * len(lines) * len(columns) // len(side)
    few = tokens // 2
    cut = min(max(1, round(len(side) * few / tokens)), len(side) - 1)
    while few > cut * layer:
        few -= 1
    while tokens - few > (len(side) - cut) * layer:
        few += 1
    both = []
    for part, number in ((side[:cut], few), (side[cut:], tokens - few)):
        given = [part if axis == longest else other for axis, other in enumerate(sides)]
        both += halved(*given, number)
    return both


@pytest.mark.parametrize("tokens", [1, 2, 7, 20, 46, 79, 80])
def test_tokens_are_means_of_boxes(tokens: int, video, blocks, check) -> None:
    result = UniformTokeniser(blocks, stride=1, num_tokens=tokens).encode(video)
    for row, frames in enumerate(video):
        check(result, row, halved(range(5), range(4), range(4), tokens), frames, range(5))


def test_of_a_power_of_two_the_boxes_are_average_pooling(video, blocks, features) -> None:
    result = UniformTokeniser(blocks, stride=1, num_tokens=16).encode(video[:, :4])
    pooled = features(video[0, :4]).reshape(2, 2, 2, 2, 2, 2, 12).mean((1, 3, 5)).reshape(8, 12)
    eight = UniformTokeniser(blocks, stride=1, num_tokens=8).encode(video[:, :4])
    np.testing.assert_allclose(eight.tokens[0], pooled, rtol=1e-4, atol=1e-5)
    assert result.weights.unique().tolist() == [4]


@pytest.mark.parametrize("shape", [(5, 8, 8), (31, 8, 8), (31, 24, 24), (1, 8, 8), (3, 3, 1)])
def test_boxes_fill_the_clip_and_are_of_about_the_same_size(shape: tuple[int, int, int]) -> None:
    patches = int(np.prod(shape))
    for tokens in {min(patches, number) for number in (1, 2, 3, 9, 20, 46, 64, 137)}:
        numbers = boxes_of(shape, tokens)
        sizes = numbers.flatten().bincount()[1:]
        assert len(sizes) == tokens
        assert sizes.sum() == patches
        assert sizes.min() >= 1
        assert sizes.max() <= max(2, 2.5 * patches / tokens)
