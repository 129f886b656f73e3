from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.data import Clip, FrameReader, SampleKey
from vtok.data.change import frame_changes
from vtok.data.clip_settings import ClipSettings
from vtok.model.batch import stack_frames
from vtok.tokeniser import MOTION, SPATIAL, AdaptiveTokeniser, VTokTokeniser

# Frames of a grey that rises by these levels, from the frame before.
STEPS = {"still": [0] * 9, "moves": [20] * 9, "jumps": [0, 0, 0, 20, 0, 0, 20, 0, 0]}


def grey(steps: list[int]) -> Tensor:
    """A clip (10, 3, 8, 8) of plain grey frames, float in [0, 1]."""
    levels = torch.tensor([0, *steps]).cumsum(0) / 255
    return levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)


@pytest.fixture
def adaptive(pixels: Any) -> AdaptiveTokeniser:
    torch.manual_seed(0)
    return AdaptiveTokeniser(pixels, grid_size=2, stride=1, change=19.0)


@torch.no_grad()
def test_clips_have_tokens_where_they_change(adaptive: AdaptiveTokeniser) -> None:
    result = adaptive.encode(torch.stack([grey(steps) for steps in STEPS.values()]))
    assert result.mask.sum(1).tolist() == [4, 4 + 9, 4 + 2]
    assert result.kind.tolist() == [SPATIAL] * 4 + [MOTION] * 9
    assert result.timestamps[2, 4:6].tolist() == [4, 7]
    assert result.timestamps[1, 4:].tolist() == list(range(1, 10))


@torch.no_grad()
def test_the_tokens_are_those_of_vtok_for_the_frames_that_are_kept(adaptive: AdaptiveTokeniser, pixels: Any) -> None:
    torch.manual_seed(0)
    vtok = VTokTokeniser(pixels, grid_size=2, stride=1)
    vtok.load_state_dict(adaptive.state_dict())
    clip = grey(STEPS["jumps"]).unsqueeze(0)
    torch.testing.assert_close(adaptive(clip), vtok(clip[:, [0, 4, 7]]))


def test_the_plan_gives_the_largest_number_of_tokens(pixels: Any) -> None:
    tokeniser = AdaptiveTokeniser(pixels, grid_size=2, stride=3)
    assert tokeniser.plan(10).indices == (0, 3, 6, 9)
    assert tokeniser.planner.num_tokens(tokeniser.planner.max_frames(10)) == 4 + 3
    with pytest.raises(UserError, match=r"budget=6: a clip of 10 frames makes 7 tokens"):
        AdaptiveTokeniser(pixels, grid_size=2, stride=3, budget=6).plan(10)


def test_a_reader_drops_the_same_frames(adaptive: AdaptiveTokeniser, make_video: Any, tmp_path: Path) -> None:
    """What is read from a file for the tokeniser is what the tokeniser keeps of all frames."""
    make_video(tmp_path / "clip.mp4", 10)
    clip, settings = Clip("clip", tmp_path / "clip.mp4"), ClipSettings(size=8, num_frames=10)
    every = FrameReader(VTokTokeniser(adaptive.backbone, stride=1).planner, settings).read(clip, SampleKey(0, 0))
    assert every.frames is not None
    change = sum(frame_changes(every.frames)) / 4.5
    few = AdaptiveTokeniser(adaptive.backbone, grid_size=2, stride=1, change=change)
    read = FrameReader(few.planner, settings).read(clip, SampleKey(0, 0))
    assert read.num_planned == 5
    assert read.timestamps.tolist() == every.timestamps[list(read.indices)].tolist()
    few.load_state_dict(adaptive.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            few.encode_planned(stack_frames([read])).tokens, few(every.frames.unsqueeze(0)), rtol=1e-4, atol=1e-5
        )


def test_another_key_frame_than_the_first_is_refused(adaptive: AdaptiveTokeniser) -> None:
    with pytest.raises(UserError, match=r"key_frame=3: .* AdaptiveTokeniser is the first\. Use key_frame=0"):
        adaptive.plan(10, 3)
