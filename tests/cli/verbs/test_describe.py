"""vtok describe on runs that were trained for something else, and its arguments."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from vtok.cli.main import main
from vtok.cli.verbs.describe import describe
from vtok.cli.verbs.tokenise import tokenise
from vtok.common.errors import UserError


def test_a_run_that_was_not_trained_to_answer_is_refused(make_run, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = make_run("objective=generation", "objective.lambda_dec=0", "visual_head=regression", "decoder=none")
    assert main(["describe", f"run={run_dir}", f"video={run_dir}"]) == 1
    shown = capsys.readouterr()
    assert "objective.lambda_under is 0" in shown.err
    assert "objective=understanding" in shown.err


def test_an_invalid_prompt_is_refused_before_the_run_is_loaded() -> None:
    with pytest.raises(UserError, match="character 2 is not valid text"):
        describe(video="absent.mp4", run="absent", prompt="a\udcff")


def test_a_name_that_no_file_can_have_is_refused_before_the_run_is_loaded() -> None:
    with pytest.raises(UserError, match="File name too long"):
        tokenise(video="absent.mp4", run="absent", out=f"{'a' * 300}.safetensors")


def test_explain_writes_a_picture_of_the_answer_that_is_printed(
    understanding_run: Path, make_video, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, out = make_video(tmp_path / "true.mp4"), tmp_path / "why.png"
    given = [
        "describe",
        f"run={understanding_run}",
        f"video={video}",
        "prompt=is it $5 or $6?",
        "max_new_tokens=4",
    ]
    assert main(given) == 0
    without = capsys.readouterr().out
    assert main([*given, f"explain={out}"]) == 0
    assert capsys.readouterr().out == without
    picture = imread(out)
    assert picture.shape[1] > 1000
    assert picture.std() > 0.05
    assert sorted(tmp_path.iterdir()) == sorted([video, out])


@pytest.mark.parametrize(
    ("explain", "message"), [("why.jpg", r"must end in \.png"), ("absent/why.png", "does not exist. Create it first")]
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_run_is_loaded(explain: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        describe(video="absent.mp4", run="absent", explain=explain)
