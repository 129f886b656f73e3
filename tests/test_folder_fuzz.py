"""Run folders and exported folders that are broken at random: a sentence or a result comes of them, never a traceback.

`pytest tests/test_folder_fuzz.py --fuzz 5000` breaks more of them; a failure names its seed.
"""

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.hub import from_pretrained, save_pretrained
from vtok.inference.load import load_run
from vtok.model.build import build_model, build_optimiser, build_scheduler
from vtok.runs.comparison import compare_runs
from vtok.runs.curves import read_curves
from vtok.runs.folder import find_run, open_run, write_status, write_summary
from vtok.runs.mlflow_parent import read_parent
from vtok.runs.samples import clip_videos
from vtok.runs.saved_run import read_run
from vtok.tracking.sender import read_lines, sent_lines
from vtok.training.best_checkpoint import BestCheckpoint
from vtok.training.checkpoint import latest_checkpoint, load_training, save_checkpoint
from vtok.training.resume import metrics_of_finished, run_to_resume

SHARE = 0.15  # of --fuzz: a broken folder takes longer than a broken file
SMALL = (
    "clip.num_frames=4", "tokeniser.stride=3", "tokeniser.grid_size=1", "backbone.feature_dim=8", "backbone.width=8",
    "mllm.width=16", "mllm.layers=1", "mllm.heads=2", "tracking=none",
)  # fmt: skip
WORDS = (
    b"",
    b"{",
    b"[",
    b"null",
    b"3",
    b"[1]",
    b'{"a": 1}',
    b"a: &x [*x]",
    b"\xff\xfe\x00",
    b"[" * 20_000,
    bytes(range(256)),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder and what was exported of it, of random weights after no step."""
    place = tmp_path_factory.mktemp("whole")
    config = compose([*SMALL, f"outputs={place}"])
    model = build_model(config)
    run = place / "run"
    open_run(run, config, ["tokeniser.stride=3"])
    optimiser = build_optimiser(config, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    average = {name: one.detach() for name, one in sorted(model.named_parameters()) if one.requires_grad}
    save_checkpoint(run / "checkpoints", model=model, optimiser=optimiser, step=1, samples=4, keep=1, average=average)
    write_status(run, "stopped", "abc", "sqlite:///x.db")
    write_summary(run, {"alignment/colour": 0.5, "alignment/colour_low": 0.1, "alignment/colour_high": 0.9, "steps": 1})
    (run / "metrics.jsonl").write_text('[["train/loss", 1.0, 5, 0]]\n[["train/loss", 0.5, 6, 1]]\n')
    (run / "metrics.sent").write_text("1")
    (run / "mlflow_parent.json").write_text(json.dumps({"run_id": "a", "uri": "b", "experiment_id": "c"}))
    (run / "checkpoints" / "best.json").write_text('{"step": 1, "metric": "a", "mode": "max", "value": 0.5}')
    (run / "samples" / "last").mkdir(parents=True)
    (run / "samples" / "last" / "0_truth.mp4").write_bytes(b"a video")
    (run / "samples" / "last" / "captions.json").write_text('["a caption"]')
    save_pretrained(run, place / "model", part="model")
    save_pretrained(run, place / "tokeniser", part="tokeniser")
    return place


def break_folder(folder: Path, chooser: random.Random) -> str:
    """Break a file of a folder, and say which and how."""
    file = chooser.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    content = file.read_bytes()
    how = chooser.choice(("truncate", "flip", "flip", "word", "remove", "swap", "folder", "line"))
    match how:
        case "truncate":
            file.write_bytes(content[: chooser.randrange(len(content) + 1)])
        case "flip":
            broken = bytearray(content)
            for _ in range(chooser.choice((1, 1, 10))):
                broken[chooser.randrange(min(len(broken), 3000))] = chooser.randrange(256)
            file.write_bytes(broken)
        case "word":
            file.write_bytes(chooser.choice(WORDS))
        case "remove":
            file.unlink()
        case "swap":
            other = chooser.choice(sorted(path for path in folder.rglob("*") if path.suffix == file.suffix))
            file.write_bytes(other.read_bytes())
        case "folder":
            file.unlink()
            file.mkdir()
        case "line":
            lines = content.split(b"\n")
            del lines[chooser.randrange(len(lines))]
            file.write_bytes(b"\n".join(lines))
    return f"{how} {file.relative_to(folder)}"


def resume(run: Path) -> None:
    """What `vtok train resume=FOLDER` reads."""
    config = compose([*SMALL, f"outputs={run.parent}", f"resume={run}"])
    assert run_to_resume(config) == run
    run_to_resume(compose([*SMALL, f"outputs={run.parent}", "resume=auto"]))
    metrics_of_finished(run, config)
    model = build_model(config)
    optimiser = build_optimiser(config, model)
    load_training(
        latest_checkpoint(run), model=model, optimiser=optimiser, scheduler=build_scheduler(config, optimiser)
    )
    assert isinstance(BestCheckpoint(run / "checkpoints", metric="a", mode="max").step, int | None)


def compare(run: Path) -> None:
    """What `vtok compare`, `report` and `sync` read."""
    find_run("latest", str(run.parent))
    read_parent(run)
    sent_lines(run)
    read_lines(run / "metrics.jsonl")
    comparison = compare_runs([read_run(run), read_run(run)], ())
    comparison.text(), comparison.markdown()
    comparison.write_csv(run.parent / "comparison.csv")
    read_curves(comparison)
    clip_videos(comparison)


USES: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("run", lambda folder: load_run(str(folder), outputs="none")),
    ("run", lambda folder: save_pretrained(folder, folder.parent / "out", part="model")),
    ("run", resume),
    ("run", compare),
    ("model", lambda folder: load_run(str(folder), outputs="none")),
    ("model", from_pretrained),
    ("tokeniser", from_pretrained),
    ("tokeniser", lambda folder: load_run(str(folder), outputs="none")),
)


def test_broken_folders_give_a_sentence_or_a_result(
    request: pytest.FixtureRequest, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    count = max(len(USES), round(SHARE * request.config.getoption("--fuzz")))
    sentences = []
    for seed in range(count):
        chooser = random.Random(seed)
        part, use = USES[seed % len(USES)]
        place = tmp_path / str(seed)
        folder = shutil.copytree(whole / part, place / part)
        (place / "runs.txt").write_text(f"{folder}\n")
        how = [break_folder(folder, chooser) for _ in range(chooser.choice((1, 1, 2)))]
        try:
            use(folder)
        except UserError as error:
            sentences.append(str(error))
        except BaseException as error:
            raise AssertionError(f"seed {seed}, {part}: {how}") from error
        shutil.rmtree(place)
    assert not [sentence for sentence in sentences if "\n" in sentence]
    assert 0 < len(sentences) < count, "every folder was bad, or none: they are not broken as they ought to be"
