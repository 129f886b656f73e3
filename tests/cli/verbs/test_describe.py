"""vtok describe on runs that were trained for something else, and its arguments."""

import pytest

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
