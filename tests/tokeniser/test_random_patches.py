import torch
from torch import Tensor

from vtok.tokeniser import RandomTokeniser


def drawn(places: Tensor, timestamps: Tensor) -> list[tuple[float, float, float]]:
    return [(float(time), *map(float, place)) for time, place in zip(timestamps, places, strict=True)]


def test_each_token_is_one_patch_and_none_is_drawn_twice(video, blocks, check) -> None:
    result = RandomTokeniser(blocks, stride=1, num_tokens=13).encode(video)
    for row, frames in enumerate(video):
        where = drawn(result.places[row], result.timestamps[row])
        assert len(set(where)) == 13
        groups = [[int(16 * time + 4 * (4 * line - 0.5) + 4 * column - 0.5)] for time, line, column in where]
        check(result, row, groups, frames, range(5))


def test_a_draw_depends_on_the_clip_and_the_seed_alone(video, blocks) -> None:
    tokeniser = RandomTokeniser(blocks, stride=1, num_tokens=13)
    first = [drawn(*one) for one in zip(*where(tokeniser, video), strict=True)]
    assert len({tuple(one) for one in first}) == 3
    torch.rand(7)
    again = [drawn(*one) for one in zip(*where(tokeniser, video.flip(0)), strict=True)]
    assert again[::-1] == first
    other = RandomTokeniser(blocks, stride=1, num_tokens=13, seed=1)
    assert [drawn(*one) for one in zip(*where(other, video), strict=True)] != first
    # 8-bit frames are the same clip as their values in 0..1.
    levels = (255 * video).round().to(torch.uint8)
    as_bytes, as_numbers = where(tokeniser, levels), where(tokeniser, levels / 255)
    assert all(torch.equal(one, two) for one, two in zip(as_bytes, as_numbers, strict=True))


def where(tokeniser: RandomTokeniser, video: Tensor) -> tuple[Tensor, Tensor]:
    result = tokeniser.encode(video)
    return result.places, result.timestamps


def test_every_patch_is_drawn_equally_often(blocks) -> None:
    videos = torch.rand(400, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    result = RandomTokeniser(blocks, stride=1, num_tokens=8).encode(videos)
    patches = 16 * result.timestamps + 4 * (4 * result.places[..., 0] - 0.5) + 4 * result.places[..., 1] - 0.5
    counts = patches.flatten().round().long().bincount(minlength=32)
    # 400 clips keep 8 of 32 patches: 100 each, with a standard deviation of 8.7.
    assert (counts - 100).abs().max() < 35
