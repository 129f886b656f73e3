"""vtok calibrate: the mean number of tokens of training clips is exact."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vtok.cli.main import main
from vtok.config import compose
from vtok.data import ClipDataset, DataSource, SampleKey
from vtok.model.build import build, build_tokeniser


@pytest.fixture
def clips(make_video: Callable, tmp_path: Path) -> list[str]:
    """Overrides for four training clips of different lengths, one validation clip and one test clip."""
    names = ["a", "b", "c", "d", "e", "f"]
    for name in names:
        make_video(tmp_path / f"{name}.mp4", 12 - names.index(name))
    splits = dict.fromkeys(names, "train") | {"e": "validation", "f": "test"}
    rows = [{"video": f"{name}.mp4", "caption": "a clip", "split": split} for name, split in splits.items()]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return ["data=folder", f"data.root={tmp_path}", "clip.num_frames=12", "tokeniser.stride=1", "loader.num_workers=0"]


def test_training_clips_have_the_wanted_mean(clips: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "tokens=20.75", *clips]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^train +4 +20\.750 ", shown, re.MULTILINE)
    assert re.search(r"^test +1 ", shown, re.MULTILINE)
    found = re.search(r"^tokeniser\.change=(\S+)$", shown, re.MULTILINE)
    assert found is not None
    config = compose(["tokeniser=adaptive", *clips, f"tokeniser.change={found[1]}", "backbone.width=8"])
    tokeniser, source = build_tokeniser(config), build(config.data)
    assert isinstance(source, DataSource)
    source.prepare()
    dataset = ClipDataset(source.clips("train"), source.frame_reader(tokeniser.planner), seed=0, replace_bad=False)
    counts = [tokeniser.planner.num_tokens(dataset[SampleKey(0, place)].num_planned) for place in range(4)]
    assert sum(counts) == 83
    with torch.no_grad():
        every = source.frame_reader(build_tokeniser(compose([*clips, "backbone.width=8"])).planner)
        frames = every.read(source.clips("train")[1], SampleKey(0, 0)).frames
        assert frames is not None
        assert tokeniser(frames.unsqueeze(0)).shape[1] == counts[1]


def test_broken_clips_are_left_out_and_logged(clips: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(clips[1].partition("=")[2])
    (root / "b.mp4").write_bytes(b"no video")
    assert main(["calibrate", "tokens=20", *clips]) == 0
    shown = capsys.readouterr()
    assert re.search(r"^train +3 ", shown.out, re.MULTILINE)
    assert f"left out: {root / 'b.mp4'}: " in shown.err
    for name in "acd":
        (root / f"{name}.mp4").write_bytes(b"no video")
    assert main(["calibrate", "tokens=20", *clips]) == 1
    assert "none of the training clips can be read" in capsys.readouterr().err


def test_what_cannot_be_calibrated_says_why(clips: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "tokens=16", *clips]) == 1
    assert "Use tokens above those of the key frame" in capsys.readouterr().err
    assert main(["calibrate", "tokeniser=vtok", *clips]) == 1
    assert "keeps all of its frames" in capsys.readouterr().err
