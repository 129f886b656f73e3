import heapq

import numpy as np
import pytest
import torch

from vtok.common.errors import UserError
from vtok.data.change import change_for, frame_changes, kept_frames, kept_places


def random_clips(number: int, seed: int) -> list[list[float]]:
    """Changes of clips of 1 to 12 frames, of which some stand still."""
    rng = np.random.default_rng(seed)
    return [(rng.lognormal(0, 1.5) * rng.random(rng.integers(0, 12))).tolist() for _ in range(number)]


def shared_out(totals: list[float], most: list[int], seats: int) -> list[int]:
    """D'Hondt's method, one seat after the other: to the clip with the most change for a seat."""
    counts = [0] * len(totals)
    waiting = [(-total, clip) for clip, total in enumerate(totals) if most[clip]]
    heapq.heapify(waiting)
    for _ in range(seats):
        _, clip = heapq.heappop(waiting)
        counts[clip] += 1
        if counts[clip] < most[clip]:
            heapq.heappush(waiting, (-totals[clip] / (counts[clip] + 1), clip))
    return counts


@pytest.mark.parametrize("mean", [0.01, 0.5, 2.0, 4.0])
def test_the_mean_is_exact_and_the_counts_are_those_of_dhondt(mean: float) -> None:
    clips = random_clips(200, seed=0)
    change = change_for(mean, clips)
    counts = [len(kept_frames(clip, change)) - 1 for clip in clips]
    assert sum(counts) == round(mean * len(clips))
    assert counts == shared_out([sum(clip) for clip in clips], [len(clip) for clip in clips], sum(counts))


def test_a_threshold_has_few_digits() -> None:
    assert len(f"{change_for(2.0, random_clips(50, seed=1)):g}") <= 8


def test_tied_clips_have_no_more_than_the_mean() -> None:
    change = change_for(1.5, [[2.0, 2.0]] * 4)
    assert [len(kept_frames([2.0, 2.0], change)) for _ in range(4)] == [2] * 4


@pytest.mark.parametrize("mean", [-1.0, 0.0, 2.0, 50.0])
def test_a_mean_that_is_not_possible_is_refused(mean: float) -> None:
    with pytest.raises(UserError, match=r"is not possible with these clips\. Use tokens above .* less than 2"):
        change_for(mean, [[1.0, 3.0], [2.0, 5.0]])


def test_frames_are_kept_at_equal_shares_of_the_change() -> None:
    """Of 12 equal changes every third, of two bursts the frames after them, and none where nothing happens."""
    assert kept_frames([1.0] * 12, 3.0) == [0, 3, 6, 9, 12]
    assert kept_frames([0, 0, 4, 0, 0, 0, 4, 0], 4.0) == [0, 3, 7]
    assert kept_frames([0.0] * 5, 1.0) == [0]
    assert kept_frames([], 1.0) == [0]


def test_a_jump_of_several_shares_takes_the_next_frames() -> None:
    assert kept_frames([0, 9, 0, 0], 3.0) == [0, 2, 3, 4]
    assert kept_frames([0, 0, 0, 9], 3.0) == [0, 2, 3, 4]
    assert kept_frames([9, 9], 0.1) == [0, 1, 2]


def test_a_change_is_in_grey_levels_whatever_the_type_and_the_size() -> None:
    frames = torch.zeros(3, 3, 64, 64)
    frames[1:, :, :32] = 0.2
    frames[2, 0] += 0.3
    expected = [0.5 * 0.2 * 255, 0.3 * 255 / 3]
    np.testing.assert_allclose(frame_changes(frames), expected, rtol=1e-5)
    levels = (255 * frames).round().to(torch.uint8)
    np.testing.assert_allclose(frame_changes(levels), expected, rtol=0.02)
    larger = levels.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    np.testing.assert_allclose(frame_changes(larger), frame_changes(levels), rtol=1e-5)


def test_clips_of_a_batch_are_chosen_one_by_one() -> None:
    still = torch.zeros(4, 3, 16, 16)
    moving = torch.linspace(0, 1, 4).view(4, 1, 1, 1).expand(4, 3, 16, 16)
    places, mask = kept_places([still, moving], 80.0)
    assert places.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3]]
    assert mask.tolist() == [[True, False, False, False], [True] * 4]
