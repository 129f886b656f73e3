"""vtok tokenise on the command line."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from vtok.cli.main import main
from vtok.data import read_video
from vtok.inference.load import load_run


@pytest.fixture
def video(tmp_path: Path, make_video) -> Path:
    """30 frames at 24 a second."""
    return make_video(tmp_path / "true.mp4")


def tokenise(run_dir: Path, *arguments: str) -> int:
    return main(["tokenise", f"run={run_dir}", *arguments])


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 it is no dict


@pytest.mark.parametrize("kind", ["joint_run", "understanding_run"])
def test_the_tokens_are_those_of_the_clip(
    kind: str, video: Path, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, out = request.getfixturevalue(kind), tmp_path / "clip.safetensors"
    assert tokenise(run_dir, f"video={video}", f"out={out}", "start=0.5") == 0
    assert capsys.readouterr().out.strip() == str(out)
    tensors, metadata = load(out)
    # A 2 x 2 grid of the key frame, then one token for each of the three frames after it.
    _, config, model = load_run(str(run_dir), outputs="")
    frames, times = read_video(video, indices=range(12, 24), size=config.clip.size)
    with torch.no_grad():
        whole = model.tokeniser.encode(frames.unsqueeze(0), timestamps=(times - times[0]).float().unsqueeze(0))
    torch.testing.assert_close(tensors["tokens"], whole.tokens[0], rtol=1e-4, atol=1e-5)
    assert tensors["tokens"].shape == (7, 16)
    assert tensors["kind"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert tensors["frames"].tolist() == [0, 3, 6, 9]
    quarters = [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    assert tensors["places"][:4].tolist() == quarters
    assert tensors["places"][4:].isnan().all()
    cells = model.tokeniser.backbone.feature_size**2
    assert tensors["weights"].tolist() == [cells / 4] * 4 + [cells] * 3
    wanted = torch.tensor([0, 0, 0, 0, 3, 6, 9]) / 24
    torch.testing.assert_close(tensors["timestamps"], wanted, rtol=0, atol=1e-4)
    assert metadata["tokeniser"] == "vtok.tokeniser.VTokTokeniser"
    assert (metadata["stride"], metadata["grid_size"], metadata["key_frame"]) == ("3", "2", "first")
    assert (metadata["run"], metadata["video"], metadata["start"]) == (str(run_dir), str(video), "0.5")
    assert {"version", "num_frames", "backbone"} <= metadata.keys()


def test_a_short_clip_has_fewer_tokens(joint_run: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.safetensors"
    assert tokenise(joint_run, f"video={video}", f"out={out}", "start=1") == 0
    tensors, metadata = load(out)
    assert tensors["frames"].tolist() == [0, 3]
    assert len(tensors["tokens"]) == 5
    assert metadata["num_frames"] == "6"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Set video=VALUE"),
        (["video=absent.mp4"], "absent.mp4: there is no such file"),
        (["video=true.mp4", "out=clip.pt"], "must end in .safetensors"),
        (["video=true.mp4", "out=absent/clip.safetensors"], "the folder absent does not exist"),
        (["video=true.mp4", "start=x"], "start=x: must be a number >= 0"),
        (["video=true.mp4", "strat=1"], "Did you mean start?"),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_nothing_is_written(
    joint_run: Path,
    video: Path,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tokenise(joint_run, *arguments) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["true.mp4"]
