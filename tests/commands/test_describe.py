"""vtok describe on runs that learnt something else."""

import pytest

from vtok.cli import main


def test_a_run_that_did_not_learn_to_answer_says_what_would(make_run, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = make_run("objective=generation", "objective.lambda_dec=0", "visual_head=regression", "decoder=none")
    assert main(["describe", f"run={run_dir}", f"video={run_dir}"]) == 1
    shown = capsys.readouterr()
    assert "objective.lambda_under is 0" in shown.err
    assert "objective=understanding" in shown.err
