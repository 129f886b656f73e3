"""Whole runs in which a weight of the objective is 0, and runs that cannot be."""

from collections.abc import Callable
from typing import Any

import pytest

from vtok.common.errors import UserError
from vtok.model.build import build_model
from vtok.runs.folder import read_status

RunIt = Callable[..., Any]


def videos(kinds: set[str], clips: int) -> set[str]:
    return {f"{number}_{kind}.mp4" for number in range(clips) for kind in kinds}


def test_generation_alone_has_no_understanding_metrics(run_it: RunIt) -> None:
    run = run_it("generation", "trainer.evaluate_every=2")
    assert run.measures() == {"reconstruct", "generate", "control", "generation", "visual"}
    assert "generated.png" in run.files("samples/step-00000002")
    for folder in (".", "samples/last", "samples/step-00000002"):
        assert "held_out.png" not in run.files(folder)
    log = (run.folder / "train.log").read_text()
    assert "vtok generate" in log
    assert "vtok describe" not in log


def test_without_l_dec_no_video_is_generated(run_it: RunIt) -> None:
    run = run_it("joint", "objective.lambda_dec=0", "trainer.evaluate_every=2")
    assert run.measures() == {"alignment", "alignment_yes_no", "caption", "evaluation", "generation", "visual"}
    assert run.files("samples") == {"step-00000002", "step-00000003"}
    assert run.files("samples/step-00000002") == {"held_out.png"}
    assert "generated.png" not in run.files(".")
    names = run.saved(3).keys()
    assert any(name.startswith("visual_head.") for name in names)
    assert not any(name.startswith("decoder.") for name in names)
    assert "vtok generate" not in (run.folder / "train.log").read_text()


def test_without_l_vislm_videos_are_reconstructed_alone(run_it: RunIt) -> None:
    run = run_it("joint", "objective.lambda_visLM=0", "trainer.evaluate_every=2")
    measures = {"reconstruct", "generation", "alignment", "alignment_yes_no", "caption", "evaluation"}
    assert run.measures() == measures
    for folder, clips in (("samples/step-00000002", 3), ("samples/last", 4)):
        made = videos({"truth", "reconstructed"}, clips)
        assert run.files(folder) == made | {"captions.json", "generated.png", "held_out.png"}
    trained = {name for name, parameter in build_model(run.config).named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("visual_head.") for name in trained)
    assert trained <= run.saved(3).keys()


def test_a_run_of_l_vislm_alone_finds_the_errors_of_tokens(run_it: RunIt) -> None:
    tracking = ["tracking=mlflow", "tracking.system_metrics=false"]
    run = run_it("generation", "objective.lambda_dec=0", "trainer.evaluate_every=2", "trainer.log_every=1", *tracking)
    assert run.measures() == {"generation", "visual"}
    assert {"visual/teacher_forced", "visual/rollout"} <= run.figures.keys()
    assert read_status(run.folder)["status"] == "finished"
    assert run.history("train/visLM").keys() == {1, 2, 3}
    assert not any(path.suffix in (".png", ".mp4") for path in run.folder.rglob("*"))


def test_mistakes_in_the_evaluation_are_reported_before_training(run_it: RunIt) -> None:
    with pytest.raises(UserError, match=r"generation\.judge\.prompt=hello"):
        run_it("joint", "generation/judge=vlm", "generation.judge.prompt=hello")
    with pytest.raises(UserError, match=r"generation\.judge\.weights=a/b/c"):
        run_it("joint", "generation/judge=vlm", "generation.judge.weights=a/b/c")


def test_clips_without_captions_train_no_generation(run_it: RunIt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtok.data.sources.shapes.source.caption", lambda scene: None)
    with pytest.raises(UserError, match="No training clip has a caption"):
        run_it("joint")
