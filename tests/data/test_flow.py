"""Flow statistics of videos: against known motion, and the file that holds them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from vtok.common.errors import UserError
from vtok.data.flow import read_flow

SIZE = (90, 160)


def moving(number: int, dx: float, dy: float, seed: int = 0) -> np.ndarray:
    """A smooth pattern that moves by (dx, dy) pixels a frame, uint8 (number, 90, 160, 3)."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SIZE), 3, mode="wrap")
    pattern = 128 + 50 * noise / noise.std()
    frames = [shift(pattern, (dy * place, dx * place), order=3, mode="grid-wrap") for place in range(number)]
    return np.repeat(np.stack(frames).clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)


@pytest.fixture
def folder(make_video, tmp_path: Path) -> Path:
    pytest.importorskip("cv2")
    for name, move in {"right": (0.5, 0.0), "up": (0.0, -0.75), "still": (0.0, 0.0)}.items():
        make_video(tmp_path / f"{name}.mp4", moving(17, *move), options={"crf": "5"})
        (tmp_path / f"{name}.txt").write_text("a pattern")
    return tmp_path


def test_known_motion(folder: Path, command) -> None:
    said = command("data", "flow", f"root={folder}", "processes=1").out
    assert f"the flow of 3 videos is in {folder / 'flow.json'}" in said
    found = {Path(path).stem: flow for path, flow in read_flow(folder / "flow.json").items()}
    for name, move in {"right": (2.0, 0.0), "up": (0.0, -3.0), "still": (0.0, 0.0)}.items():
        flow = found[name]
        # Something else comes in at the border.
        np.testing.assert_allclose(flow.moves * 160, [move] * 4, atol=0.25)
        np.testing.assert_allclose(flow.shares, 0.0 if name == "still" else 1.0, atol=0.1)
        np.testing.assert_allclose(flow.seconds, np.arange(5) * 4 / 24, atol=1e-3)
        assert flow.step == 4


def test_resumed_extended_and_computed_again_where_a_file_changed(folder: Path, command, make_video) -> None:
    file = folder / "flow.json"
    command("data", "flow", f"root={folder}", "processes=1")
    content = json.loads(file.read_text())
    # Marks entries that are left alone.
    for video in content["videos"].values():
        video["flow"][0] = [9.0, 9.0, 0.9]
    file.write_text(json.dumps(content))
    make_video(folder / "up.mp4", moving(17, 0.5, 0.0, seed=1))
    make_video(folder / "new.mp4", moving(9, 0.5, 0.0))
    (folder / "new.txt").write_text("a pattern")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "broken.txt").write_text("a pattern")
    said = command("data", "flow", f"root={folder}", "processes=1").out
    assert "the flow of 4 videos" in said
    assert "1 videos cannot be read" in said
    firsts = {name: video["flow"][0][0] for name, video in json.loads(file.read_text())["videos"].items()}
    assert sorted(firsts) == ["new.mp4", "right.mp4", "still.mp4", "up.mp4"]
    assert [firsts[f"{name}.mp4"] == 9.0 for name in ("right", "still", "up", "new")] == [True, True, False, False]


def test_a_file_of_other_settings_is_not_overwritten(folder: Path, command) -> None:
    command("data", "flow", f"root={folder}", "processes=1")
    before = (folder / "flow.json").read_bytes()
    failed = command("data", "flow", f"root={folder}", "step=2", "processes=1")
    assert "step=2 width=160. Use another file" in failed.err
    assert (folder / "flow.json").read_bytes() == before


def test_without_opencv(tmp_path: Path, command, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "pip install 'vtok[flow]'" in command("data", "flow", f"root={tmp_path}").err


@pytest.mark.parametrize(
    "content",
    ["no json", "[]", '{"videos": {}}', '{"step": 4, "width": 160, "videos": {"a": {"seconds": [0, 1], "flow": []}}}'],
)
def test_a_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "flow.json").write_text(content)
    with pytest.raises(UserError, match=r"data.flow=.* Make it with: vtok data flow root="):
        read_flow(tmp_path / "flow.json")
