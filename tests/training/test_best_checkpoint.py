"""The best checkpoint, by a metric of the evaluations."""

import json
from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.data import Clip, ClipSample, FrameReader, SampleKey
from vtok.training import train
from vtok.training.best_checkpoint import BestCheckpoint
from vtok.training.checkpoint import list_checkpoints


@pytest.mark.parametrize(("mode", "expected"), [("max", [1, 2, 2, 2]), ("min", [1, 1, 1, 4])])
def test_the_first_of_the_best_is_noted(mode: str, expected: list[int], tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path, metric="alignment/colour", mode=mode)
    assert best.step is None
    seen = []
    for step, value in enumerate((0.5, 0.75, 0.75, 0.25), start=1):
        best.update(step, {"alignment/colour": value})
        # Another object reads the note, as a resumed run does.
        seen.append(BestCheckpoint(tmp_path, metric="alignment/colour", mode=mode).step)
    assert seen == expected
    assert BestCheckpoint(tmp_path, metric="alignment/count", mode=mode).step is None


def test_an_unknown_metric_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    figures = {"alignment/colour": 0.5, "alignment/colour_low": 0.4}
    with pytest.raises(UserError, match=r"trainer.best_by=alignment/color is not .*Did you mean alignment/colour\?"):
        BestCheckpoint(tmp_path, metric="alignment/color", mode="max").update(1, figures)
    BestCheckpoint(tmp_path, metric=None, mode="max").update(1, figures)
    assert not list(tmp_path.iterdir())


def test_a_run_keeps_its_best_checkpoint_and_it_can_be_used(
    tiny_run: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from vtok.inference.load import load_run

    settings = ["trainer.max_steps=4", "trainer.evaluate_every=1", "trainer.keep_checkpoints=1"]
    # More and more clips are answered: the first step is the one with the least.
    by = ["trainer.best_by=validation/evaluation/clips", "trainer.best_is=max"]
    with caplog.at_level("INFO", logger="vtok"):
        train(compose([*tiny_run, *settings, *by]), run_dir=tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    best = f"{checkpoints / 'step-00000001'} (validation/evaluation/clips 4). Test metrics are of the last step."
    assert f"best checkpoint: {best}" in caplog.messages
    assert any("peak host memory" in line and "GPU" not in line for line in caplog.messages)
    assert json.loads((checkpoints / "best.json").read_text())["step"] == 1
    assert [path.name for path in list_checkpoints(checkpoints)] == ["step-00000001", "step-00000004"]
    run_dir, _, model = load_run(str(checkpoints / "step-00000001"), outputs="none")
    _, _, last = load_run(str(tmp_path / "run"), outputs="none")
    assert run_dir == tmp_path / "run"
    assert any((a != b).any() for a, b in zip(model.parameters(), last.parameters(), strict=True))


def test_best_by_without_evaluations_is_refused(tiny_run: list[str]) -> None:
    with pytest.raises(UserError, match=r"trainer.best_by=validation/alignment/colour: .*Set trainer.evaluate_every=N"):
        train(compose([*tiny_run, "trainer.best_by=validation/alignment/colour"]))


@pytest.mark.parametrize("key", ["trainer.best_by", "optimise"])
def test_test_clips_must_not_decide(key: str, tiny_run: list[str]) -> None:
    with pytest.raises(UserError, match=rf"{key}=alignment/colour: .*Use {key}=validation/alignment/colour\."):
        train(compose([*tiny_run, "trainer.evaluate_every=1", f"{key}=alignment/colour"]))


def test_the_best_checkpoint_is_chosen_on_validation_clips_alone(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test clip is read before the last choice."""
    read: list[str] = []

    class Reader(FrameReader):
        def read(self, clip: Clip, key: SampleKey) -> ClipSample:
            read.append(clip.id.partition("-")[0])
            return super().read(clip, key)

    monkeypatch.setattr("vtok.data.sources.base.FrameReader", Reader)
    settings = ["trainer.max_steps=3", "trainer.evaluate_every=1", "trainer.best_by=validation/alignment/colour"]
    figures = train(compose([*tiny_run, *settings]), run_dir=tmp_path / "run")
    assert set(read[: read.index("test")]) == {"train", "validation"}
    assert set(read[read.index("test") :]) == {"test"}
    assert read.count("validation") == 3 * 4
    assert read.count("test") == 4
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert best["metric"] == "validation/alignment/colour"
    assert best["value"] >= figures["validation/alignment/colour"]


def test_a_search_has_a_validation_metric_and_the_default_run_reads_no_validation_clip(
    tiny_run: list[str], tmp_path: Path
) -> None:
    plain = train(compose(tiny_run), run_dir=tmp_path / "plain")
    assert not any(name.startswith("validation/") for name in plain)
    searched = train(compose([*tiny_run, "optimise=validation/alignment/colour"]), run_dir=tmp_path / "searched")
    assert searched["validation/evaluation/clips"] == 4
    assert {name: searched[name] for name in plain if "alignment" in name or "digest" in name} == {
        name: value for name, value in plain.items() if "alignment" in name or "digest" in name
    }
