"""Whole runs, small ones."""

import json
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from safetensors.torch import load_file

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.config.compose import hydra_overrides
from vtok.data import Clip, ShapesData
from vtok.data.sources.base import Split
from vtok.hub import toys
from vtok.runs.folder import find_run, read_status
from vtok.training import train
from vtok.training.checkpoint import list_checkpoints
from vtok.training.model_tensors import digest
from vtok.training.run_log import Stopped

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
SHAPES = ("data.train", "data.validation", "data.test", "data.make")
COMBINATIONS = [
    ["tokeniser=vtok"],
    ["tokeniser=vtok", "tokeniser/motion_pooling=grid"],
    ["tokeniser=vtok", "tokeniser/motion_pooling=attention"],
    ["tokeniser=vtok", "tokeniser.key_frame=medoid", "tokeniser.stride=3"],
    ["tokeniser=vtok", "tokeniser.key_frame=7", "tokeniser.token_dim=24"],
    ["tokeniser=frame_sampling"],
    ["tokeniser=key_frame", "tokeniser.key_frame=sharpest"],
    ["tokeniser=slow_fast"],
    ["tokeniser=codec_motion", "tokeniser.stride=3"],
    ["tokeniser=resampler", "tokeniser.num_queries=5"],
    ["tokeniser=llama_vid", "mllm.encode_places=true"],
    ["tokeniser=delta"],
    ["tokeniser=delta", "tokeniser/motion_pooling=transformer"],
    ["optimiser=sgd", "scheduler=constant"],
    ["optimiser=adafactor"],
    pytest.param(["optimiser=adamw8bit"], marks=needs_bitsandbytes),
    ["data.level=hard"],
    ["data/augmentation=standard", "data.augmentation.random_start=true"],
    ["trainer.accumulate=2"],
    ["backbone.frozen=true"],
    ["loader.num_workers=1"],
    ["trainer.precision=bf16"],
    ["backbone=vgg19", "backbone.weights=null", "backbone.image_size=32", "loader.batch_size=2"],
    ["recipe=shapes_mixture", "data.limit=4"],
]


@pytest.mark.parametrize("overrides", COMBINATIONS, ids=" ".join)
def test_every_tiny_combination_takes_a_step(overrides: list[str], tiny_run: list[str], tmp_path: Path) -> None:
    others = {"backbone=vgg19": "backbone", "recipe=shapes_mixture": SHAPES}
    given = [item for item in tiny_run if not item.startswith(others.get(overrides[0], "none"))]
    figures = train(compose([*given, "trainer.max_steps=1", *overrides]), run_dir=tmp_path / "run")
    assert figures["steps"] == 1
    assert 0 <= figures["alignment/colour"] <= 1


def test_the_run_folder_has_the_documented_files(tiny_run: list[str], tmp_path: Path) -> None:
    run_dir = tmp_path / "elsewhere"
    figures = train(compose([*tiny_run, "trainer.save_every=2"]), run_dir=run_dir, overrides=["seed=0"])
    assert json.loads((run_dir / "summary.json").read_text()) == figures
    for name in ("config.yaml", "overrides.yaml", "status.json", "train.log", "held_out.png"):
        assert (run_dir / name).stat().st_size > 0, name
    assert [path.name for path in list_checkpoints(run_dir / "checkpoints")] == ["step-00000002", "step-00000003"]
    weights = load_file(list_checkpoints(run_dir / "checkpoints")[-1] / "model.safetensors")
    assert figures["digest/trained"] == digest(weights)
    assert figures["parameters/trained"] == sum(
        tensor.numel() for name, tensor in weights.items() if not name.startswith(("input_scale.", "target_scale."))
    )
    assert figures["tokens_per_clip"] == 16 + 1
    assert figures["data/bad_files"] == 0
    assert read_status(run_dir)["status"] == "finished"
    assert find_run("latest", str(tmp_path / "outputs")) == run_dir


def test_a_run_is_a_function_of_its_seed(tiny_run: list[str], tmp_path: Path) -> None:
    digests = [
        train(compose([*tiny_run, f"seed={seed}"]), run_dir=tmp_path / str(number))["digest/trained"]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "changes",
    [[], ["trainer.accumulate=2", "loader.num_workers=1", "optimiser=sgd", "data/augmentation=standard"]],
    ids=str,
)
def test_a_resumed_run_equals_an_uninterrupted_one(changes: list[str], tiny_run: list[str], tmp_path: Path) -> None:
    settings = [*tiny_run, "scheduler=constant", *changes]
    whole = train(compose([*settings, "trainer.max_steps=5"]), run_dir=tmp_path / "whole")
    train(compose([*settings, "trainer.max_steps=2"]), run_dir=tmp_path / "cut")
    resumed = train(compose([*settings, "trainer.max_steps=5", f"resume={tmp_path / 'cut'}"]))
    assert resumed["digest/trained"] == whole["digest/trained"]
    assert resumed["steps"] == 5
    assert not (tmp_path / "outputs" / "runs").exists()


def test_a_run_stopped_under_a_schedule_equals_an_uninterrupted_one(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*tiny_run, "trainer.max_steps=5", "scheduler.num_warmup_steps=2"]
    whole = train(compose(settings), run_dir=tmp_path / "whole")
    stop_after(2, monkeypatch)
    with pytest.raises(Stopped):
        train(compose(settings), run_dir=tmp_path / "cut")
    monkeypatch.undo()
    resumed = train(compose([*settings, f"resume={tmp_path / 'cut'}"]))
    assert resumed["digest/trained"] == whole["digest/trained"]


def test_a_folder_that_holds_a_run_is_not_written_over(tiny_run: list[str], tmp_path: Path) -> None:
    train(compose(tiny_run), run_dir=tmp_path / "run")
    with pytest.raises(UserError, match=r"already has a run.*resume="):
        train(compose(tiny_run), run_dir=tmp_path / "run")


def test_printed_commands_can_be_pasted_into_a_shell(
    tiny_run: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "a run; it's (1)"
    with caplog.at_level("INFO", logger="vtok"):
        train(compose(tiny_run), run_dir=folder)
    (shown,) = (line for line in caplog.messages if line.startswith("try:"))
    assert shlex.split(shown)[1:5] == ["vtok", "describe", f"run={folder}", "video=FILE"]
    with pytest.raises(UserError) as error:
        train(compose(tiny_run), run_dir=folder)
    command = str(error.value).partition("Resume it with ")[2].removesuffix(", or use another folder.")
    for line in (command, str(Stopped(folder, 15)).partition("Resume it with ")[2]):
        (typed,) = shlex.split(line)
        (parsed,) = OverridesParser.create().parse_overrides(hydra_overrides([typed]))
        assert (parsed.get_key_element(), parsed.value()) == ("resume.path", str(folder))


def test_one_process_at_a_time_trains_in_a_folder(tiny_run: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(UserError, match="another process is training"):
        train(compose(tiny_run), run_dir=tmp_path / "run")


def test_held_out_clips_that_cannot_be_read_stop_the_run(
    tiny_run: list[str], tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    lines = []
    for number in range(6):
        make_video(tmp_path / f"{number}.mp4", 13)
        lines.append({"file": f"{number}.mp4", "caption": f"clip {number}", "split": "test" if number > 3 else "train"})
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for number in (4, 5):
        (tmp_path / f"{number}.mp4").write_bytes(b"")
    settings = [item for item in tiny_run if not item.startswith(SHAPES)]
    config = compose([*settings, "data=folder", f"data.root={tmp_path}", "loader.max_bad_fraction=0.5"])
    with pytest.raises(UserError, match="None of the 2 held-out clips can be read"):
        train(config, run_dir=tmp_path / "run")
    for number in (4, 5):
        (tmp_path / f"{number}.mp4").unlink()
    with pytest.raises(UserError, match="None of the 2 held-out clips can be read"):
        train(config, run_dir=tmp_path / "other")
    assert not (tmp_path / "other").exists(), "files that are missing are told before the first step"


def test_resume_refuses_another_configuration(tiny_run: list[str], tmp_path: Path) -> None:
    train(compose(tiny_run), run_dir=tmp_path / "run")
    with pytest.raises(UserError, match=r"optimiser.lr was 0.0015, is 0.1"):
        train(compose([*tiny_run, "optimiser.lr=0.1", f"resume={tmp_path / 'run'}"]))
    with pytest.raises(UserError, match="is not a folder"):
        train(compose([*tiny_run, "resume=nowhere"]))


def test_resume_accepts_allowed_changes(tiny_run: list[str], tmp_path: Path) -> None:
    train(compose(tiny_run), run_dir=tmp_path / "run")
    changed = [*tiny_run, "optimiser.lr=0.1", "trainer.max_steps=4", f"resume={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"resume.allow=\[optimiser.lr\]"):
        train(compose(changed))
    assert train(compose([*changed, "resume.allow=[optimiser]"]))["steps"] == 4
    with pytest.raises(UserError, match=r"resume.allow: unknown key optimizer\. Did you mean optimiser"):
        train(compose([*changed, "resume.allow=[optimizer]"]))


def test_auto_resume_takes_the_unfinished_run_of_the_same_configuration(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(2, monkeypatch)
    with pytest.raises(Stopped, match="resume="):
        train(compose([*tiny_run, "seed=5"]), run_dir=tmp_path / "stopped")
    monkeypatch.undo()
    assert read_status(tmp_path / "stopped")["status"] == "stopped"
    train(compose([*tiny_run, "seed=6"]), run_dir=tmp_path / "other")
    train(compose([*tiny_run, "seed=5", "resume=auto"]), run_dir=tmp_path / "new")
    assert read_status(tmp_path / "stopped")["status"] == "finished"
    assert not (tmp_path / "new").exists()
    train(compose([*tiny_run, "seed=5", "resume=auto"]), run_dir=tmp_path / "new")
    assert read_status(tmp_path / "new")["status"] == "finished"


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM arrives during a step."""
    import os
    import signal

    from vtok.training.step_numbers import StepNumbers

    add = StepNumbers.add
    calls = []

    def stopping(*arguments, **named):
        calls.append(1)
        if len(calls) == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        add(*arguments, **named)

    monkeypatch.setattr(StepNumbers, "add", stopping)


@pytest.mark.parametrize(
    ("decay", "steps", "sentence"),
    [
        ("0", 20, r"step \d+: the loss is .*with a lower rate: resume=RUN optimiser\.lr="),
        (
            "1e30",
            1,
            r"step 1: \d+ tensors of the model are no longer finite.* not saved\. Resume from the last checkpoint",
        ),
    ],
)
def test_losses_and_weights_that_are_not_finite_stop_the_run(
    decay: str, steps: int, sentence: str, tiny_run: list[str], tmp_path: Path
) -> None:
    """In a step, and after the last one."""
    settings = ["optimiser=sgd", "optimiser.lr=1e30", "scheduler=constant", "scheduler.num_warmup_steps=0"]
    settings += [f"optimiser.weight_decay={decay}"]
    with pytest.raises(UserError, match=sentence):
        train(compose([*tiny_run, *settings, f"trainer.max_steps={steps}"]), run_dir=tmp_path / "run")
    assert read_status(tmp_path / "run")["status"] == "failed"
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.slow
def test_overfitting_one_batch_brings_the_loss_near_zero(tiny_run: list[str], tmp_path: Path) -> None:
    settings = [
        item for item in tiny_run if not item.startswith(("trainer", "loader.batch_size", "loader.num_workers"))
    ]
    figures = train(compose([*settings, "debug=overfit", "mllm.width=64"]), run_dir=tmp_path / "run")
    assert figures["steps"] < 1000


def test_profile_leaves_a_trace(tiny_run: list[str], tmp_path: Path) -> None:
    train(compose([*tiny_run, "trainer.profile_steps=1", "trainer.max_steps=6"]), run_dir=tmp_path / "run")
    trace = json.loads((tmp_path / "run" / "profile" / "trace.json").read_text())
    assert any("addmm" in event.get("name", "") for event in trace["traceEvents"])
    assert (tmp_path / "run" / "profile" / "operators.txt").read_text().count("\n") > 10


@pytest.mark.slow
def test_clip_l_with_random_weights_takes_a_step(tiny_run: list[str], tmp_path: Path) -> None:
    settings = [item for item in tiny_run if not item.startswith("backbone")]
    clip = ["backbone=clip", "backbone.weights=null", "loader.batch_size=1", "data.limit=1", "trainer.max_steps=1"]
    figures = train(
        compose([*settings, *clip, "data.validation_clips=1", "data.test_clips=1"]), run_dir=tmp_path / "run"
    )
    assert figures["parameters/frozen"] > 300e6
    assert torch.isfinite(torch.tensor(figures["seconds_per_step"]))


def test_clips_are_not_listed_again_at_every_step(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of a large data set takes longer to make than a step."""
    listed: list[str] = []
    all_clips = ShapesData.all_clips

    def counted(source: ShapesData, split: Split) -> list[Clip]:
        listed.append(split)
        return all_clips(source, split)

    monkeypatch.setattr(ShapesData, "all_clips", counted)
    numbers = []
    for steps in (1, 4):
        listed.clear()
        train(compose([*tiny_run, f"trainer.max_steps={steps}"]), run_dir=tmp_path / str(steps))
        numbers.append(len(listed))
    assert numbers[0] == numbers[1]


def test_evaluation_during_training_does_not_change_it(tiny_run: list[str], tmp_path: Path) -> None:
    plain = train(compose(tiny_run), run_dir=tmp_path / "plain")
    watched = train(compose([*tiny_run, "trainer.evaluate_every=1"]), run_dir=tmp_path / "watched")
    assert watched["digest/trained"] == plain["digest/trained"]
    log = (tmp_path / "watched" / "train.log").read_text()
    assert log.count("alignment/colour ") == 3 + 1


def test_a_backbone_of_half_precision_trains(tiny_run: list[str], tmp_path: Path) -> None:
    toys.clip().save_pretrained(tmp_path / "clip")
    settings = [item for item in tiny_run if not item.startswith("backbone")]
    clip = ["backbone=clip", f"backbone.weights={tmp_path / 'clip'}", "backbone.dtype=bfloat16"]
    clip += ["backbone.image_size=64"]
    assert train(compose([*settings, *clip]), run_dir=tmp_path / "run")["steps"] == 3


@pytest.mark.slow
def test_the_defaults_learn_motion(tmp_path: Path) -> None:
    """The README's result with the defaults."""
    figures = train(
        compose(["tracking=none", "trainer.progress=false", f"outputs={tmp_path}"]), run_dir=tmp_path / "run"
    )
    assert figures["tokens_per_clip"] == 20
    assert figures["alignment/motion_direction"] >= 0.90
    assert figures["alignment/colour"] >= 0.85
    assert figures["alignment_yes_no/colour"] >= 0.85
    assert figures["alignment_yes_no/motion_direction"] >= 0.85


@pytest.mark.slow
def test_a_single_frame_does_not_show_motion(tmp_path: Path) -> None:
    """A single frame of a synthetic clip does not show where an object moves."""
    settings = ["tokeniser=key_frame", "tracking=none", "trainer.progress=false", f"outputs={tmp_path}"]
    figures = train(compose([*settings, "trainer.max_steps=300", "data.train_clips=1200"]), run_dir=tmp_path / "run")
    assert figures["tokens_per_clip"] == 16
    assert figures["alignment/motion_direction"] < 0.35
    assert figures["alignment/colour"] > 0.25


@pytest.mark.slow
def test_videos_show_what_captions_say(tmp_path: Path) -> None:
    """The README's result with recipe=generate, here with two thirds of its steps."""
    overrides = ["recipe=generate", "trainer.max_steps=600", "trainer.evaluate_every=0", "generation.max_clips=100"]
    figures = train(
        compose([*overrides, "tracking=none", "trainer.progress=false", f"outputs={tmp_path}"]),
        run_dir=tmp_path / "run",
    )
    for kind, category in product(("reconstruct", "generate"), ("motion_direction", "colour")):
        assert figures[f"{kind}/{category}"] >= figures[f"control/{category}"] + 0.25, (kind, category)
    # The prediction of the mean of all tokens has an error of 1.
    assert figures["visual/teacher_forced"] < 0.5
