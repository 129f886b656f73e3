"""The contact sheet of generated videos: all frames, captions and verdicts."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from vtok.common.contact_sheet import TONES, Text
from vtok.evaluation.generation_result import GeneratedClip, GenerationResult
from vtok.evaluation.generation_sheet import SIDE, text_lines, write_generation_sheet
from vtok.evaluation.judge import Verdict

RIGHT, WRONG = Verdict("red", "red", ("red", "blue")), Verdict("left", "up", ("left", "up"))


def video(number: int, *, side: int, frames: int = 4) -> Tensor:
    """Frames of one colour each; no two frames of a sheet have the same colour."""
    colours = torch.tensor([[10 + number, 100, 20 + frame] for frame in range(frames)], dtype=torch.uint8)
    return colours[:, :, None, None].expand(-1, -1, side, side)


def pixels(path: Path) -> dict[tuple[int, ...], int]:
    """How many pixels there are of each colour."""
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        return {colour: number for number, colour in sheet.convert("RGB").getcolors(maxcolors=1 << 20)}


@pytest.mark.parametrize(("side", "shown"), [(16, 64), (24, 72), (32, 64), (144, SIDE)])
def test_every_frame_is_in_the_sheet_at_about_the_same_size(side: int, shown: int, tmp_path: Path) -> None:
    """Small frames are enlarged by whole numbers, to about SIDE pixels; large ones are reduced to SIDE."""
    made = [
        GeneratedClip("a caption", video(0, side=side), video(1, side=side), video(2, side=side), {"colour": RIGHT}),
        GeneratedClip(
            "another", video(3, side=side), video(4, side=side), video(5, side=side), {"motion_direction": WRONG}
        ),
    ]
    path = tmp_path / "new" / "sheet.png"
    write_generation_sheet(GenerationResult(examples=made), path)
    counted = pixels(path)
    for number in range(6):
        for frame in range(4):
            assert counted[10 + number, 100, 20 + frame] == shown**2


def test_a_model_that_only_reconstructs_has_no_third_strip(tmp_path: Path) -> None:
    heights = []
    for generated in (video(2, side=24), None):
        made = GeneratedClip("a caption", video(0, side=24), video(1, side=24), generated, {"colour": RIGHT})
        write_generation_sheet(GenerationResult(examples=[made]), tmp_path / "sheet.png")
        counted = pixels(tmp_path / "sheet.png")
        assert ((12, 100, 20) in counted) == (generated is not None)
        assert counted[10, 100, 20] == counted[11, 100, 20] == SIDE**2
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
    assert heights[0] >= heights[1] + SIDE


def test_right_and_wrong_verdicts_are_shown(tmp_path: Path) -> None:
    unseen = Verdict(None, "fast", ("slow", "fast"))
    verdicts = {"colour": RIGHT, "motion_direction": WRONG, "speed": unseen}
    made = GeneratedClip("a caption", video(0, side=24), video(1, side=24), None, verdicts)
    assert text_lines(made) == [
        "a caption",
        Text("colour: red", "right"),
        Text("motion direction: left (truth: up)", "wrong"),
        Text("speed: not visible (truth: fast)", "wrong"),
    ]
    write_generation_sheet(GenerationResult(examples=[made]), tmp_path / "sheet.png")
    counted = pixels(tmp_path / "sheet.png")
    for tone in ("right", "wrong"):
        assert tuple(bytes.fromhex(TONES[tone][0][1:])) in counted


def test_without_examples_nothing_is_written(tmp_path: Path) -> None:
    write_generation_sheet(GenerationResult(clips=3), tmp_path / "new" / "sheet.png")
    assert list(tmp_path.iterdir()) == []
