"""What the page of vtok demo does with a run, without a server."""

import builtins
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from matplotlib.image import imread

from vtok.cli.main import main
from vtok.cli.verbs.describe import describe
from vtok.common.errors import UserError
from vtok.data import open_video
from vtok.demo.serve import free_port
from vtok.demo.session import DemoRun
from vtok.inference.clip import read_clip
from vtok.model.batch import stack_frames, stack_text


@pytest.fixture
def run(joint_run: Path, tmp_path: Path) -> DemoRun:
    folder = tmp_path / "page"
    folder.mkdir()
    return DemoRun.load(str(joint_run), outputs="outputs", allowed_targets=(), folder=folder, lock=Lock())


def test_a_held_out_clip_is_shown_with_its_tokens(run: DemoRun) -> None:
    clip = run.test_clips()[1]
    assert clip.id.startswith("test")
    with open_video(run.show_clip(clip)) as shown, open_video(clip.path) as true:
        assert len(shown.timestamps) == run.source.clip.num_frames
        assert shown.timestamps[1] == pytest.approx(true.timestamps[1], rel=0.1)
    assert imread(run.draw_clip(clip)).std() > 0.05


def test_the_answer_is_that_of_vtok_describe(run: DemoRun, joint_run: Path, make_video, tmp_path: Path) -> None:
    video = str(make_video(tmp_path / "own.mp4"))
    found = run.answer(video, "what is it?")
    assert found.text == describe(video=video, run=str(joint_run), prompt="what is it?")
    assert found.likelihoods == {}
    assert imread(run.explain(video, found)).std() > 0.05


@torch.no_grad()
def test_likelihoods_of_choices_are_those_of_their_tokens(run: DemoRun) -> None:
    clip = run.test_clips()[0]
    found = run.answer(clip, "what colour is it?", ["red", " a very dark green ", "", "red"])
    sample, _ = read_clip(run.config, run.model.tokeniser.planner, clip)
    tokens = run.model.tokeniser.encode_planned(stack_frames([sample]))
    chat = run.model.mllm.chat
    for choice in ("red", "a very dark green"):
        encoded = chat.encode([("what colour is it?", choice)], num_video_tokens=tokens.tokens.shape[1])
        logprobs = run.model.text_scores(tokens, stack_text([encoded], pad_id=chat.pad_id)).logprobs
        number = sum(target >= 0 for target in encoded.targets)
        assert found.likelihoods[choice] == pytest.approx(float((logprobs.sum() / number).exp()), rel=1e-4)
    assert found.text == max(found.likelihoods, key=lambda choice: found.likelihoods[choice])
    assert len(found.likelihoods) == 2


def test_videos_are_generated_and_reconstructed(run: DemoRun) -> None:
    for path in (run.generate("a red circle"), run.reconstruct(run.test_clips()[0])):
        with open_video(path) as video:
            assert len(video.timestamps) == 4


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda run, video: run.answer(video, "what?", ["red"]), "Use 2 to 20 different choices"),
        (lambda run, video: run.answer(video, "what? " * 5000), r"question: .* Shorten the text"),
        (lambda run, video: run.answer(video, "a\udcff"), "character 2 is not valid text"),
        (lambda run, video: run.show_clip(__file__), r"test_session\.py"),
        (lambda run, video: run.draw_clip("absent.mp4"), r"absent\.mp4"),
    ],
)
def test_mistakes_are_sentences(use: Callable[[DemoRun, Any], Any], message: str, run: DemoRun) -> None:
    with pytest.raises(UserError, match=message):
        use(run, run.test_clips()[0])


def test_a_port_that_is_taken_is_reported_and_0_is_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port}: nothing can be served .* or port=0 for any free one"):
            free_port("127.0.0.1", port)
        assert free_port("127.0.0.1", 0) not in (0, port)


def test_without_gradio_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], joint_run: Path
) -> None:
    real = builtins.__import__

    def absent(name: str, *given: Any) -> Any:
        if name.partition(".")[0] == "gradio":
            raise ImportError(name)
        return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert main(["demo", f"run={joint_run}"]) == 1
    line = "vtok demo needs gradio, which is not installed. Install it: pip install 'vtok[demo]'.\n"
    assert capsys.readouterr().err.endswith(line)
