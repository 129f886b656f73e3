"""What a playback shows instead of the planned frames."""

import pytest

from vtok.data.playback import Playback, Window

PLANNED = (0, 6, 12, 18, 24)


def frames(playback: Playback, indices=PLANNED, num_frames: int = 30) -> list[int]:
    return [one.frame for one in playback.show(indices, num_frames)]


def test_as_filmed() -> None:
    assert frames(Playback()) == list(PLANNED)
    assert all(one.window is None for one in Playback().show(PLANNED, 30))


def test_backwards_has_the_planned_frames_and_no_others() -> None:
    assert frames(Playback(backwards=True)) == [24, 18, 12, 6, 0]


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [1, 0]), (4, [2, 3, 0, 1]), (5, [2, 3, 4, 0, 1])])
def test_swapped_halves(count: int, expected: list[int]) -> None:
    assert frames(Playback(swapped=True), range(count), count) == expected


def test_a_frame_that_is_moved() -> None:
    assert frames(Playback(moved=(1.0, 0.25)), range(5), 5) == [0, 4, 1, 2, 3]
    assert frames(Playback(moved=(0.0, 0.5)), range(5), 5) == [1, 2, 0, 3, 4]
    assert frames(Playback(moved=(0.0, 0.75)), range(5), 5) == [1, 2, 3, 0, 4]
    assert frames(Playback(moved=(1.0, 0.25)), range(1), 1) == [0]


def test_one_half_faster() -> None:
    # 61 frames: the first 31 show the first two thirds in steps of 4/3, the rest the last third in steps of 2/3.
    shown = frames(Playback(half=2 / 3), range(61), 61)
    assert shown[:31:3] == list(range(0, 41, 4))
    assert shown[30::3] == list(range(40, 61, 2))
    assert frames(Playback(half=1 / 3), range(61), 61) == [60 - one for one in shown[::-1]]


def test_one_half_stands_still() -> None:
    assert frames(Playback(half=0.0), range(21), 21) == [0] * 10 + list(range(0, 21, 2))
    assert frames(Playback(half=1.0), range(21), 21) == [*range(0, 21, 2)] + [20] * 10


def test_windows_move_at_constant_speed_and_are_reversed_with_the_frames() -> None:
    ends = (Window(0.0, 0.5, 0.5), Window(0.25, 0.0, 0.75))
    shown = Playback(windows=ends).show((0, 1, 2), 5)
    assert [one.window for one in shown] == [(0.0, 0.5, 0.5), (0.0625, 0.375, 0.5625), (0.125, 0.25, 0.625)]
    assert Playback(windows=ends, backwards=True).show((0, 1, 2), 5) == shown[::-1]
    assert Playback(windows=ends).zoom == 2


def test_a_clip_of_one_frame() -> None:
    for playback in (Playback(half=0.0), Playback(swapped=True), Playback(backwards=True), Playback(moved=(1.0, 0.5))):
        assert frames(playback, (0,), 1) == [0]
