import pytest
import torch
from torch.nn import functional as F

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.tokeniser import MOTION, SPATIAL, CodecMotionTokeniser, PlannedFrames


def planned(batch: int, frames: int, grid: int, *, side: int = 8) -> PlannedFrames:
    return PlannedFrames(
        frames=torch.rand(batch, frames, 3, side, side),
        key=torch.zeros(batch, dtype=torch.long),
        mask=torch.ones(batch, frames, dtype=torch.bool),
        timestamps=6 * torch.arange(float(frames)).expand(batch, -1),
        vectors=torch.randn(batch, frames, 3, grid, grid),
    )


@pytest.mark.parametrize(("num_frames", "stride", "tokens"), [(30, 6, 16 + 4), (121, 4, 16 + 30), (1, 6, 16)])
def test_token_count(num_frames: int, stride: int, tokens: int, pixels) -> None:
    tokeniser = CodecMotionTokeniser(pixels, stride=stride)
    plan = tokeniser.plan(num_frames)
    assert plan.vector_grid == 8
    result = tokeniser.encode_planned(planned(2, len(plan.indices), 8))
    assert result.tokens.shape == (2, tokens, 3)
    assert result.kind.tolist() == [SPATIAL] * 16 + [MOTION] * (tokens - 16)


def test_tokens_are_the_first_frames_grid_and_g_phi_of_the_vectors(pixels) -> None:
    tokeniser, clips = CodecMotionTokeniser(pixels, motion_grid=4), planned(2, 3, 4)
    result = tokeniser.encode_planned(clips)
    assert clips.vectors is not None
    torch.testing.assert_close(result.tokens[:, :16], F.avg_pool2d(clips.pixels[:, 0], 2).flatten(2).mT)
    torch.testing.assert_close(result.tokens[:, 16:], tokeniser.motion(clips.vectors[:, 1:].reshape(2, 2, 48)))
    assert result.timestamps[0].tolist() == [0] * 16 + [6, 12]


def test_gradient_reaches_all_that_is_trained() -> None:
    tokeniser = CodecMotionTokeniser(TinyBackbone(), token_dim=32)
    tokeniser.encode_planned(planned(1, 3, 8, side=64)).tokens.pow(2).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in tokeniser.parameters())


def test_a_video_that_is_no_file_and_another_key_frame_are_refused(pixels) -> None:
    with pytest.raises(UserError, match="no motion vectors"):
        CodecMotionTokeniser(pixels)(torch.rand(1, 30, 3, 8, 8))
    with pytest.raises(UserError, match=r"key_frame=7.*first frame"):
        CodecMotionTokeniser(pixels)(torch.rand(1, 30, 3, 8, 8), key_frame=7)
