"""A run whose tokens depend on the question is evaluated and asked; commands without a question refuse it."""

from pathlib import Path

import pytest

from vtok.cli.main import main
from vtok.config import compose
from vtok.training import train

TARGET = "the tokens of vtok.tokeniser.LlamaVidTokeniser depend on a question, and here there is none."


@pytest.fixture(scope="module")
def settings(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*tiny_settings, "tokeniser=llama_vid", f"outputs={tmp_path_factory.mktemp('outputs')}"]


@pytest.fixture(scope="module")
def run(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    metrics = train(compose(settings), run_dir=folder)
    assert metrics["tokens_per_clip"] == 2 * 4
    return folder


def test_a_run_is_evaluated_described_and_explained(
    run: Path, settings: list[str], tmp_path: Path, make_video, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"run={run}"]) == 0
    assert "alignment_yes_no/colour" in capsys.readouterr().out
    video, out = make_video(tmp_path / "clip.mp4"), tmp_path / "explained.png"
    assert main(["describe", f"run={run}", f"video={video}", "prompt=which way?", f"explain={out}"]) == 0
    assert out.is_file()


@pytest.mark.parametrize(
    ("arguments", "start", "end"),
    [
        (["tokenise", "run=RUN", "video=RUN", "out=OUT.safetensors"], "run=", "another tokeniser, or vtok describe."),
        (["probe", "run=RUN"], "run=", "Use a run with another tokeniser."),
        (["probe", "tokenisers=[vtok,llama_vid]"], "vtok probe", "Use other tokenisers."),
        (["export", "run=RUN", "part=tokeniser", "out=OUT"], "part=tokeniser", "Use part=model."),
    ],
)
def test_a_command_without_a_question_is_refused(
    arguments: list[str], start: str, end: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [one.replace("RUN", str(run)).replace("OUT", str(tmp_path / "out")) for one in arguments]
    assert main(given) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {start}")
    assert f": {TARGET} " in message
    assert message.endswith(f"{end}\n")
    assert list(tmp_path.iterdir()) == []
