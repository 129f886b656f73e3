"""Small runs that learn to generate videos: their metrics, files and averages."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from vtok.common.errors import UserError
from vtok.data import read_video
from vtok.data.clip_reader import scaled
from vtok.evaluation import evaluate_generation_heldout
from vtok.model.build import build, build_model
from vtok.runs.folder import read_status
from vtok.training.checkpoint import load_weights
from vtok.training.model_tensors import digest

DECAY = 0.75
AVERAGED = f"trainer.ema_decay={DECAY}"
KINDS = {"reconstruct", "generate", "control"}
# What is judged of a clip of each family, and how many values it has.
JUDGED = {"motion": {"shape", "colour", "motion_direction", "speed"}, "count": {"shape", "colour", "count"}}
VALUES = {"shape": 4, "colour": 6, "motion_direction": 4, "speed": 2, "count": 4}
NOT_OF_THE_TRAINING = {"seconds", "seconds_per_step", "peak_memory_mb", "peak_gpu_memory_mb"}

RunIt = Callable[..., Any]


@pytest.fixture(scope="module")
def watched(run_it: RunIt) -> Any:
    """A joint run of 3 steps, averaged, logged, saved and evaluated after each of them, in a store of its own."""
    every = [f"trainer.{what}_every=1" for what in ("log", "save", "evaluate")]
    tracking = ["tracking=mlflow", "tracking.system_metrics=false"]
    return run_it("joint", "objective.lambda_visLM=0.5", AVERAGED, *every, *tracking)


def families(config: DictConfig) -> list[str]:
    """Of the test clips, by their captions."""
    (manifest,) = Path(config.data.root).glob("*/manifest.jsonl")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    captions = [line["caption"] for line in lines if line["split"] == "test"]
    return ["count" if caption.endswith("standing still") else "motion" for caption in captions]


def videos(kinds: set[str], clips: int) -> set[str]:
    return {f"{number}_{kind}.mp4" for number in range(clips) for kind in kinds}


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_the_summary_has_all_metrics(watched: Any) -> None:
    figures = json.loads((watched.folder / "summary.json").read_text())
    assert figures == watched.figures
    clips = families(watched.config)
    assert (clips.count("motion"), clips.count("count")) == (5, 3)
    assert figures["generation/clips"] == 8
    for kind in KINDS:
        named = {name.split("/")[1] for name in figures if name.startswith(f"{kind}/")}
        assert {name for name in named if name in VALUES} == set(VALUES)
        for category, values in VALUES.items():
            number = sum(category in JUDGED[family] for family in clips)
            share, low, high, chance, questions = (
                figures[f"{kind}/{category}{end}"] for end in ("", "_low", "_high", "_chance", "_questions")
            )
            assert questions == number
            # A control is right by chance as often as two of the clips agree.
            assert chance == pytest.approx(1 / values) if kind != "control" else 1 / number <= chance <= 1
            assert 0 <= low <= share <= high <= 1
            assert share * number == pytest.approx(round(share * number))
    for name in ("teacher_forced", "rollout"):
        spatial, motion = (figures[f"visual/{name}{part}"] for part in ("_spatial", "_motion"))
        # 16 tokens of the key frame and 1 of the other planned frame.
        assert figures[f"visual/{name}"] == pytest.approx((16 * spatial + motion) / 17)
        assert spatial > 0
        assert motion > 0
    assert watched.measures() == KINDS | {
        "generation",
        "visual",
        "alignment",
        "alignment_yes_no",
        "caption",
        "evaluation",
    }


def test_the_loss_is_the_weighted_sum_of_those_that_are_logged(watched: Any) -> None:
    losses = {name: watched.history(f"train/{name}") for name in ("loss", "under", "visLM", "dec")}
    for step in (1, 2, 3):
        total = losses["under"][step] + 0.5 * losses["visLM"][step] + losses["dec"][step]
        assert losses["loss"][step] == pytest.approx(total, rel=1e-6)
        assert all(loss[step] > 0 for loss in losses.values())


def test_the_digests_are_of_what_was_saved(watched: Any) -> None:
    buffers = build_model(watched.config).state_dict().keys() - watched.saved(3, "ema").keys()
    assert buffers, "the scale of the visual head's targets"
    assert watched.figures["digest/trained"] == digest(watched.saved(3))
    assert watched.figures["digest/ema"] == digest(watched.saved(3) | watched.saved(3, "ema"))
    assert watched.figures["digest/ema"] != watched.figures["digest/trained"]


@pytest.mark.parametrize("step", [1, 3])
def test_the_average_is_the_closed_form_of_the_past_weights(watched: Any, step: int) -> None:
    begun = build_model(watched.config).state_dict()
    saved = [watched.saved(number) for number in range(1, step + 1)]
    for name, average in watched.saved(step, "ema").items():
        expected = DECAY**step * begun[name].double()
        for number, weights in enumerate(saved, start=1):
            expected = expected + (1 - DECAY) * DECAY ** (step - number) * weights[name].double()
        torch.testing.assert_close(average.double(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("step", "clips"), [(1, 3), (3, 8)])
def test_the_averaged_weights_are_evaluated(watched: Any, step: int, clips: int) -> None:
    """The metrics are those of a model with the checkpoint's average, not with the trained weights.

    During training they are of three validation clips, at the end of all test clips.
    """
    prefix, split = ("validation/", "validation") if step == 1 else ("", "test")
    source, loader, settings = (build(watched.config[group]) for group in ("data", "loader", "generation"))
    errors = []
    for averaged in (True, False):
        model = build_model(watched.config)
        load_weights(watched.folder / "checkpoints" / f"step-{step:08d}", model, averaged=averaged)
        result = evaluate_generation_heldout(
            settings, model, source, source.clips(split)[:clips], loader=loader, precision=nullcontext()
        )
        errors.append({name: error for name, error in result.metrics().items() if name.startswith("visual/")})
    logged = {name: watched.history(f"{prefix}{name}")[step] for name in errors[0]}
    assert logged == pytest.approx(errors[0], rel=1e-5)
    assert logged != pytest.approx(errors[1], rel=1e-4)
    assert watched.history(f"{prefix}generation/clips")[step] == clips


def test_evaluations_during_training_write_samples_under_fixed_names(watched: Any) -> None:
    kinds = {"truth", "reconstructed", "generated"}
    assert watched.files("samples") == {"step-00000001", "step-00000002", "step-00000003", "last"}
    beside = {"captions.json", "generated.png", "held_out.png"}
    for step in ("step-00000001", "step-00000003"):
        assert watched.files(f"samples/{step}") == videos(kinds, clips=3) | {
            "captions.json",
            "generated.png",
            "held_out.png",
        }
    assert watched.files("samples/last") == videos(kinds, clips=4) | beside
    for name in ("generated.png", "held_out.png"):
        assert (watched.folder / name).read_bytes() == (watched.folder / "samples" / "last" / name).read_bytes()
        with Image.open(watched.folder / name) as sheet:
            assert sheet.format == "PNG"


def test_a_sample_shows_its_clip_and_takes_as_long(watched: Any) -> None:
    source = build(watched.config.data)
    for number, clip in enumerate(source.clips("test")[:4]):
        shown, times = read_video(watched.folder / "samples" / "last" / f"{number}_truth.mp4", stride=1)
        # 12 frames at 15 a second, in 4 frames.
        torch.testing.assert_close(times, 0.2 * torch.arange(4, dtype=torch.float64), atol=1e-3, rtol=0)
        truth = scaled(read_video(clip.path, indices=[0, 4, 7, 11], size=64)[0], 32)
        assert shown.shape == (4, 3, 128, 128)
        error = (shown.float() - truth.repeat_interleave(4, 2).repeat_interleave(4, 3).float()).abs()
        assert error.mean() < 4, "h264 is not exact"
        for kind in ("reconstructed", "generated"):
            made, _ = read_video(watched.folder / "samples" / "last" / f"{number}_{kind}.mp4", stride=1)
            assert made.shape == (4, 3, 128, 128)
            # Three steps teach nothing.
            assert (made.float() - shown.float()).abs().mean() > 10


def test_the_store_has_samples_and_metrics_of_every_evaluation(watched: Any) -> None:
    run_id = read_status(watched.folder)["mlflow_run_id"]
    kept = Path(watched.config.outputs).absolute() / "mlartifacts" / run_id / "artifacts"
    for folder in ("step-00000001", "step-00000003", "last"):
        ours = {path.name: path.read_bytes() for path in (watched.folder / "samples" / folder).iterdir()}
        assert {path.name: path.read_bytes() for path in (kept / "samples" / folder).iterdir()} == ours
    for name in ("generated.png", "held_out.png", "summary.json"):
        assert (kept / name).read_bytes() == (watched.folder / name).read_bytes()
    for kind in KINDS:
        names = {f"{kind}/{category}": {3} for category in ("colour", "motion_direction", "count")}
        for name, steps in (names | {f"validation/{kind}/colour": {1, 2, 3}}).items():
            figures = watched.history(name)
            assert figures.keys() == steps
            assert figures[3] == watched.figures[name]


def test_evaluation_during_training_does_not_change_it(watched: Any, run_it: RunIt) -> None:
    """Nor of what is evaluated at the end: the trained weights are back, and no random number was used up."""
    plain = run_it("joint", "objective.lambda_visLM=0.5", AVERAGED)
    assert plain.files("samples") == {"last"}
    assert_same(plain.saved(3), watched.saved(3))
    assert_same(plain.saved(3, "ema"), watched.saved(3, "ema"))
    one, other = (
        {
            name: value
            for name, value in run.figures.items()
            if name not in NOT_OF_THE_TRAINING and not name.startswith("validation/")
        }
        for run in (plain, watched)
    )
    assert one == other


def test_without_an_average_the_trained_weights_are_evaluated(run_it: RunIt) -> None:
    plain = run_it("joint", "objective.lambda_visLM=0.5", "trainer.evaluate_every=1")
    assert "digest/ema" not in plain.figures
    assert "ema.safetensors" not in plain.files("checkpoints/step-00000003")
    source, model = build(plain.config.data), build_model(plain.config)
    load_weights(plain.folder / "checkpoints" / "step-00000003", model)
    settings, loader = build(plain.config.generation), build(plain.config.loader)
    result = evaluate_generation_heldout(
        settings, model, source, source.clips("test"), loader=loader, precision=nullcontext()
    )
    again = {name: value for name, value in result.metrics().items() if name.startswith("visual/")}
    assert {name: plain.figures[name] for name in again} == pytest.approx(again, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["optimiser=muon", "trainer.accumulate=2", "loader.batch_size=2", "objective.condition_on_caption=true"],
        pytest.param(["objective.lambda_under=0", "loader.num_workers=1"], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_resumed_run_equals_an_uninterrupted_one(changes: list[str], run_it: RunIt) -> None:
    given = [AVERAGED, "generation.max_clips=1", "evaluation.max_clips=1", *changes]
    whole = run_it("joint", *given, "trainer.max_steps=6")
    cut = run_it("joint", *given)
    assert cut.figures["digest/ema"] != whole.figures["digest/ema"]
    longer = ["trainer.max_steps=6", "trainer.evaluate_every=2"]
    resumed = run_it("joint", *given, *longer, resume=cut.folder)
    assert resumed.figures["steps"] == 6
    for name in ("digest/trained", "digest/ema"):
        assert resumed.figures[name] == whole.figures[name]
    assert_same(resumed.saved(6), whole.saved(6))
    assert_same(resumed.saved(6, "ema"), whole.saved(6, "ema"))
    assert resumed.files("samples") == {"step-00000004", "step-00000006", "last"}


def test_a_run_without_an_average_cannot_be_resumed_with_one(run_it: RunIt) -> None:
    cut = run_it("generation", AVERAGED)
    (cut.folder / "checkpoints" / "step-00000003" / "ema.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no ema\.safetensors.*trainer\.ema_decay"):
        run_it("generation", AVERAGED, "trainer.max_steps=4", resume=cut.folder)
