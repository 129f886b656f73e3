"""The order of frames from handwritten packets."""

import numpy as np
import pytest

from vtok.data.video.frame_order import PacketTimes, frame_numbers, is_mpeg4_order

I, P, B = 0, 1, 2  # noqa: E741


def test_presentation_order() -> None:
    assert frame_numbers([0, 3, 1, 2], [True, False, False, False], [True] * 4) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert frame_numbers([0, 3, 1, 2], [True, False, False, False], [False, True, True, True]) == {1: 0, 2: 1, 3: 2}
    assert frame_numbers([0, None, 1], [True] * 3, [True] * 3) == {}
    assert frame_numbers([0, 1, 1], [True] * 3, [True] * 3) == {}
    assert frame_numbers([0, 1, 2], [False, True, False], [True] * 3) == {}
    assert frame_numbers([2, 0, 1], [True, False, False], [True] * 3) == {}


@pytest.mark.parametrize(
    ("times", "types", "is_order"),
    [
        ([0, 3, 1, 2, 6, 4, 5], [[I], [P], [B], [B], [P], [B], [B]], True),
        ([0, 1, 2, 3], [[I], [P], [P], [I]], True),
        ([0, 1, 2, 3], [[I], [P], [B], [P]], False),  # made from the order of decoding
        ([0, 3, 2, 1], [[I], [P], [B], [B]], False),
        ([0, 2, 1], [[I], [P], [P]], False),
        ([0, 2, 3], [[I], [P, B], []], False),  # packed, with a placeholder
        ([0, None, 3], [[I], [P], [P]], False),
    ],
)
def test_the_types_of_mpeg4_pictures_give_their_order(times, types, is_order: bool) -> None:
    assert is_mpeg4_order(times, types) == is_order


def test_timestamps_that_reorder_nothing_are_doubtful_where_frames_may_be_reordered() -> None:
    plain, reordered = PacketTimes("h264", pts=[0, 1, 2, 3]), PacketTimes("h264", pts=[0, 2, 1, 3])
    assert plain.is_doubtful(may_reorder=True)
    assert not plain.is_doubtful(may_reorder=False)
    assert not reordered.is_doubtful(may_reorder=True)
    assert not PacketTimes("h264", pts=[0]).is_doubtful(may_reorder=True)


@pytest.mark.parametrize(
    ("frames", "seconds"),
    [
        ([5, 6, 9], [0.5, 0.6, 0.9]),
        ([5, 9, 6], [0.5, 0.6, 0.9]),  # those of other frames
        ([5, 6, 6], [0.5, 0.7, 0.8]),  # then those at which packets are decoded
        ([5, 6, None, 6], [0.5, 1.0, 1.5, 2.0]),  # one more than packets: by the rate
    ],
)
def test_times_of_frames_without_timestamps(frames, seconds) -> None:
    packets = PacketTimes("mpeg4", dts=[1, 3, 4])
    np.testing.assert_allclose(packets.times_of(frames, tick=0.1, rate=2.0), seconds)
