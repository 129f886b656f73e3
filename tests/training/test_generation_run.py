"""Whole runs that learn to make videos, small ones: their figures, their files and their averages."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from omegaconf import DictConfig
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from vtok.build import build, build_model
from vtok.config import compose
from vtok.data import read_video
from vtok.data.dataset import scaled
from vtok.errors import UserError
from vtok.evaluation import evaluate_generation_heldout
from vtok.runs import read_status
from vtok.training import train
from vtok.training.checkpoint import digest, load_weights

SMALL = (
    "data.train_clips=12",
    "data.heldout_clips=8",
    "data.seed=3",
    "data.families=[motion,count]",
    "data.num_frames=12",
    "data.make_workers=1",
    "data.num_workers=0",
    "data.batch_size=4",
    "backbone.feature_dim=16",
    "backbone.width=8",
    "mllm.width=32",
    "mllm.layers=1",
    "mllm.heads=2",
    "visual_head.width=16",
    "visual_head.steps=2",
    "decoder.num_frames=4",
    "decoder.size=32",
    "decoder.heads=2",
    "decoder.head_dim=12",
    "decoder.double_layers=1",
    "decoder.single_layers=0",
    "evaluation.max_new_tokens=4",
    "generation.steps=2",
    "generation.clips_while_training=3",
    "scheduler=constant",
    "scheduler.num_warmup_steps=0",
    "trainer.max_steps=3",
    "trainer.progress=false",
    "tracking=none",
)
DECAY = 0.75
AVERAGED = f"trainer.ema_decay={DECAY}"
KINDS = {"reconstruct", "generate", "control"}
# What is judged of a clip of each family, and how many values it has.
JUDGED = {"motion": {"shape", "colour", "motion_direction", "speed"}, "count": {"shape", "colour", "count"}}
VALUES = {"shape": 4, "colour": 6, "motion_direction": 4, "speed": 2, "count": 4}
NOT_OF_THE_TRAINING = {"seconds", "seconds_per_step", "peak_memory_mb"}


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    config: DictConfig
    folder: Path
    figures: dict[str, Any]

    def saved(self, step: int, name: str = "model") -> dict[str, Tensor]:
        return load_file(self.folder / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")

    def files(self, folder: str) -> set[str]:
        return {path.name for path in (self.folder / folder).iterdir()}

    def measures(self) -> set[str]:
        """What comes before the first slash of the figures of evaluations."""
        others = {"parameters", "digest", "data"}
        return {name.split("/")[0] for name in self.figures if "/" in name} - others


RunIt = Callable[..., Ended]


@pytest.fixture(scope="module")
def run_it(tmp_path_factory: pytest.TempPathFactory) -> RunIt:
    """Makes a run of SMALL and further overrides, in a folder of its own unless `resume` is among them."""
    outputs = tmp_path_factory.mktemp("outputs")

    def run(objective: str, *overrides: str, resume: Path | None = None) -> Ended:
        given = [f"objective={objective}", *SMALL, *overrides, f"outputs={outputs}"]
        if resume is not None:
            config = compose([*given, f"resume={resume}"])
            return Ended(config, resume, train(config))
        config, folder = compose(given), tmp_path_factory.mktemp("runs") / "run"
        return Ended(config, folder, train(config, run_dir=folder))

    return run


@pytest.fixture(scope="module")
def watched(run_it: RunIt) -> Ended:
    """A joint run of 3 steps, averaged, logged, saved and evaluated after each of them, in a store of its own."""
    every = [f"trainer.{what}_every=1" for what in ("log", "save", "evaluate")]
    tracking = ["tracking=mlflow", "tracking.system_metrics=false"]
    return run_it("joint", "objective.lambda_visLM=0.5", AVERAGED, *every, *tracking)


def families(config: DictConfig) -> list[str]:
    """Of the held-out clips, by their captions."""
    (manifest,) = Path(config.data.root).glob("*/manifest.jsonl")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    captions = [line["caption"] for line in lines if line["split"] == "heldout"]
    return ["count" if caption.endswith("standing still") else "motion" for caption in captions]


def videos(kinds: set[str], clips: int) -> set[str]:
    return {f"{number}_{kind}.mp4" for number in range(clips) for kind in kinds}


def history(run: Ended, name: str) -> dict[int, float]:
    """What the store has of a figure, by step."""
    client = MlflowClient(run.config.tracking.uri)
    return {
        point.step: point.value for point in client.get_metric_history(read_status(run.folder)["mlflow_run_id"], name)
    }


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_the_summary_has_a_figure_for_all_that_can_be_seen(watched: Ended) -> None:
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
            assert chance == pytest.approx(1 / values)
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


def test_the_loss_is_the_weighted_sum_of_those_that_are_logged(watched: Ended) -> None:
    losses = {name: history(watched, f"train/{name}") for name in ("loss", "under", "visLM", "dec")}
    for step in (1, 2, 3):
        total = losses["under"][step] + 0.5 * losses["visLM"][step] + losses["dec"][step]
        assert losses["loss"][step] == pytest.approx(total, rel=1e-6)
        assert all(loss[step] > 0 for loss in losses.values())


def test_the_digests_are_of_what_was_saved(watched: Ended) -> None:
    buffers = build_model(watched.config).state_dict().keys() - watched.saved(3, "ema").keys()
    assert buffers, "the scale of the visual head's targets"
    trained = {name: tensor for name, tensor in watched.saved(3).items() if name not in buffers}
    assert watched.figures["digest/trained"] == digest(trained)
    assert watched.figures["digest/ema"] == digest(watched.saved(3, "ema"))
    assert watched.figures["digest/ema"] != watched.figures["digest/trained"]


@pytest.mark.parametrize("step", [1, 3])
def test_the_average_is_the_closed_form_of_the_weights_that_there_were(watched: Ended, step: int) -> None:
    begun = build_model(watched.config).state_dict()
    saved = [watched.saved(number) for number in range(1, step + 1)]
    for name, average in watched.saved(step, "ema").items():
        expected = DECAY**step * begun[name].double()
        for number, weights in enumerate(saved, start=1):
            expected = expected + (1 - DECAY) * DECAY ** (step - number) * weights[name].double()
        torch.testing.assert_close(average.double(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("step", "clips"), [(1, 3), (3, 8)])
def test_the_averaged_weights_are_evaluated(watched: Ended, step: int, clips: int) -> None:
    """The figures of a model that the checkpoint's average is put into, and not those of the trained weights."""
    source, settings = build(watched.config.data), build(watched.config.generation)
    errors = []
    for averaged in (True, False):
        model = build_model(watched.config)
        load_weights(watched.folder / "checkpoints" / f"step-{step:08d}", model, averaged=averaged)
        result = evaluate_generation_heldout(
            settings, model, source, source.clips("heldout")[:clips], precision=nullcontext()
        )
        errors.append({name: error for name, error in result.metrics().items() if name.startswith("visual/")})
    logged = {name: history(watched, name)[step] for name in errors[0]}
    assert logged == pytest.approx(errors[0], rel=1e-5)
    assert logged != pytest.approx(errors[1], rel=1e-4)
    assert history(watched, "generation/clips")[step] == clips


def test_evaluations_while_training_leave_samples_under_names_that_do_not_change(watched: Ended) -> None:
    kinds = {"truth", "reconstructed", "generated"}
    assert watched.files("samples") == {"step-00000001", "step-00000002", "last"}
    for step in ("step-00000001", "step-00000002"):
        assert watched.files(f"samples/{step}") == videos(kinds, clips=3) | {"generated.png", "held_out.png"}
    assert watched.files("samples/last") == videos(kinds, clips=4) | {"generated.png", "held_out.png"}
    for name in ("generated.png", "held_out.png"):
        assert (watched.folder / name).read_bytes() == (watched.folder / "samples" / "last" / name).read_bytes()
        with Image.open(watched.folder / name) as sheet:
            assert sheet.format == "PNG"


def test_a_sample_shows_its_clip_and_takes_as_long(watched: Ended) -> None:
    source = build(watched.config.data)
    for number, clip in enumerate(source.clips("heldout")[:4]):
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


def test_the_store_keeps_samples_and_figures_of_every_evaluation(watched: Ended) -> None:
    run_id = read_status(watched.folder)["mlflow_run_id"]
    kept = Path(watched.config.outputs).absolute() / "mlartifacts" / run_id / "artifacts"
    for folder in ("step-00000001", "step-00000002", "last"):
        ours = {path.name: path.read_bytes() for path in (watched.folder / "samples" / folder).iterdir()}
        assert {path.name: path.read_bytes() for path in (kept / "samples" / folder).iterdir()} == ours
    for name in ("generated.png", "held_out.png", "summary.json"):
        assert (kept / name).read_bytes() == (watched.folder / name).read_bytes()
    for kind in KINDS:
        for category in ("colour", "motion_direction", "count"):
            figures = history(watched, f"{kind}/{category}")
            assert figures.keys() == {1, 2, 3}
            assert figures[3] == watched.figures[f"{kind}/{category}"]


def test_evaluation_on_the_way_changes_nothing_of_the_training(watched: Ended, run_it: RunIt) -> None:
    """Nor of what is evaluated at the end: the trained weights are back, and no random number was used up."""
    plain = run_it("joint", "objective.lambda_visLM=0.5", AVERAGED)
    assert plain.files("samples") == {"last"}
    assert_same(plain.saved(3), watched.saved(3))
    assert_same(plain.saved(3, "ema"), watched.saved(3, "ema"))
    one, other = (
        {name: value for name, value in run.figures.items() if name not in NOT_OF_THE_TRAINING}
        for run in (plain, watched)
    )
    assert one == other


def test_without_an_average_the_trained_weights_are_evaluated(run_it: RunIt) -> None:
    plain = run_it("joint", "objective.lambda_visLM=0.5", "trainer.evaluate_every=1")
    assert "digest/ema" not in plain.figures
    assert "ema.safetensors" not in plain.files("checkpoints/step-00000003")
    source, model = build(plain.config.data), build_model(plain.config)
    load_weights(plain.folder / "checkpoints" / "step-00000003", model)
    settings = build(plain.config.generation)
    result = evaluate_generation_heldout(settings, model, source, source.clips("heldout"), precision=nullcontext())
    again = {name: value for name, value in result.metrics().items() if name.startswith("visual/")}
    assert {name: plain.figures[name] for name in again} == pytest.approx(again, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["optimiser=muon", "trainer.accumulate=2", "data.batch_size=2", "objective.condition_on_caption=true"],
        ["objective.lambda_under=0", "data.num_workers=1"],
    ],
    ids=str,
)
def test_a_resumed_run_ends_where_the_whole_one_does(changes: list[str], run_it: RunIt) -> None:
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
    assert resumed.files("samples") == {"step-00000004", "last"}


def test_an_average_that_is_not_there_is_not_gone_on_with(run_it: RunIt) -> None:
    cut = run_it("generation", AVERAGED)
    (cut.folder / "checkpoints" / "step-00000003" / "ema.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no ema\.safetensors.*trainer\.ema_decay"):
        run_it("generation", AVERAGED, "trainer.max_steps=4", resume=cut.folder)


def test_generation_alone_understands_nothing(run_it: RunIt) -> None:
    run = run_it("generation", "trainer.evaluate_every=2")
    assert run.measures() == KINDS | {"generation", "visual"}
    assert "generated.png" in run.files("samples/step-00000002")
    for folder in (".", "samples/last", "samples/step-00000002"):
        assert "held_out.png" not in run.files(folder)
    log = (run.folder / "train.log").read_text()
    assert "vtok generate" in log
    assert "vtok describe" not in log


def test_without_l_dec_no_video_is_made(run_it: RunIt) -> None:
    run = run_it("joint", "objective.lambda_dec=0", "trainer.evaluate_every=2")
    assert run.measures() == {"alignment", "alignment_yes_no", "caption", "evaluation", "generation", "visual"}
    assert run.files("samples") == {"step-00000002"}
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
        assert run.files(folder) == made | {"generated.png", "held_out.png"}
    trained = {name for name, parameter in build_model(run.config).named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("visual_head.") for name in trained)
    assert trained <= run.saved(3).keys()


def test_a_run_of_l_vislm_alone_finds_the_errors_of_tokens(run_it: RunIt) -> None:
    tracking = ["tracking=mlflow", "tracking.system_metrics=false"]
    run = run_it("generation", "objective.lambda_dec=0", "trainer.evaluate_every=2", "trainer.log_every=1", *tracking)
    assert run.measures() == {"generation", "visual"}
    assert {"visual/teacher_forced", "visual/rollout"} <= run.figures.keys()
    assert read_status(run.folder)["status"] == "finished"
    assert history(run, "train/visLM").keys() == {1, 2, 3}
    assert not any(path.suffix in (".png", ".mp4") for path in run.folder.rglob("*"))


def test_what_would_stop_an_evaluation_is_told_before_the_training(run_it: RunIt) -> None:
    with pytest.raises(UserError, match=r"generation\.judge\.prompt=hello"):
        run_it("joint", "generation/judge=vlm", "generation.judge.prompt=hello")
    with pytest.raises(UserError, match=r"generation\.judge\.weights=a/b/c"):
        run_it("joint", "generation/judge=vlm", "generation.judge.weights=a/b/c")


def test_clips_without_captions_train_no_generation(run_it: RunIt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtok.data.shapes.source.caption", lambda scene: None)
    with pytest.raises(UserError, match="no training clip has a caption"):
        run_it("joint")
