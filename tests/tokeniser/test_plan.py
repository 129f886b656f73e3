import pytest

from vtok.common.errors import UserError
from vtok.data.plan import KeyFramePlanner, StridePlanner


@pytest.mark.parametrize(
    ("num_frames", "stride", "tokens"),
    [(30, 6, 16 + 4), (121, 4, 16 + 30), (30, 10, 16 + 2), (31, 6, 16 + 5), (1, 6, 16)],
)
def test_token_count_is_that_of_the_paper(num_frames: int, stride: int, tokens: int) -> None:
    planner = StridePlanner(stride)
    plan = planner.plan(num_frames)
    assert planner.num_tokens(len(plan.indices)) == tokens
    assert planner.max_frames(num_frames) == len(plan.indices)


def test_plan_is_every_stride_th_frame() -> None:
    assert StridePlanner(6).plan(30).indices == (0, 6, 12, 18, 24)
    assert StridePlanner(6).plan(30).key == 0


@pytest.mark.parametrize("key", [0, 1, 2, 3, 5, 7, 15, 28, 29, -1, -30])
def test_any_key_frame_keeps_the_count_and_is_planned(key: int) -> None:
    plan = StridePlanner(6).plan(30, key_frame=key)
    assert len(plan.indices) == 5
    assert plan.key is not None
    assert plan.indices[plan.key] == key % 30
    assert list(plan.indices) == sorted(set(plan.indices))


def test_key_frame_by_name() -> None:
    assert StridePlanner(6, "middle").plan(30).key == 2
    assert StridePlanner(6, "medoid").plan(30).key is None
    assert StridePlanner(6, 7).plan(30).indices == (0, 7, 12, 18, 24)


def test_key_frame_alone_needs_one_frame_unless_its_content_decides() -> None:
    assert KeyFramePlanner(6, "middle").plan(30).indices == (12,)
    assert KeyFramePlanner(6, 29).plan(30).indices == (29,)
    assert len(KeyFramePlanner(6, "sharpest").plan(30).indices) == 5
    assert KeyFramePlanner(6).num_tokens(1) == 16 == KeyFramePlanner(6).num_tokens(5)


@pytest.mark.parametrize("key", [30, -31])
def test_key_frame_outside_the_clip(key: int) -> None:
    with pytest.raises(UserError, match=r"key_frame=.*30 frames.*-30 to 29"):
        StridePlanner(6, key).plan(30)


@pytest.mark.parametrize("key", [None, [0, 7], 1.5, True, "frist"])
def test_a_key_frame_is_a_name_or_a_frame_index(key: object) -> None:
    with pytest.raises(
        UserError, match=r"key_frame=.*: unknown key frame\. Use first, middle, medoid, sharpest or a frame index\."
    ):
        StridePlanner(6, key)  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", [None, 2.5, True, "6", -1])
def test_a_stride_is_a_whole_number(stride: object) -> None:
    with pytest.raises(UserError, match=r"tokeniser\.stride=.*whole number"):
        StridePlanner(stride)  # type: ignore[arg-type]


def test_unknown_key_frame_and_stride() -> None:
    with pytest.raises(UserError, match="first, middle, medoid, sharpest"):
        StridePlanner(6, "frist")
    with pytest.raises(UserError, match="stride=0"):
        StridePlanner(0)
