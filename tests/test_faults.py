"""Inputs that caused bugs, for those that no other test reads from the folder of faulty inputs."""

import json
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hydra.utils import instantiate

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.data import DataSource
from vtok.data.check import check_clip
from vtok.data.sources.base import SPLITS
from vtok.data.sources.shards.index import SCHEMA, VERSION
from vtok.evaluation.held_out import check_files, evaluate_heldout
from vtok.inference.load import load_run
from vtok.model.build import build_model, build_optimiser
from vtok.runs.folder import open_run
from vtok.training.checkpoint import save_checkpoint

MISSING = r"None of the {} held-out clips can be read \(the first is .*no0\.mp4: the file does not exist\)"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> Path:
    """A run folder with random weights in its checkpoint; tests must not change it."""
    place = tmp_path_factory.mktemp("run")
    config = compose([*tiny_settings, f"outputs={place}", f"data.root={place / 'shapes'}"])
    open_run(place / "run", config, [])
    model = build_model(config)
    save_checkpoint(
        place / "run" / "checkpoints", model=model, optimiser=build_optimiser(config, model), step=1, samples=1, keep=1
    )
    return place / "run"


def source_of(*overrides: str) -> DataSource:
    source: DataSource = instantiate(compose(list(overrides)).data)
    source.prepare()
    return source


def evaluated(run: Path, source: DataSource | None = None) -> Any:
    _, config, model = load_run(str(run), outputs="none")
    if source is None:
        source = instantiate(config.data)
        source.prepare()
    return evaluate_heldout(
        instantiate(config.evaluation),
        model,
        source,
        source.clips("test"),
        loader=instantiate(config.loader),
        precision=nullcontext(),
    )


def test_heldout_missing(faults_dir: Path) -> None:
    source = source_of("data=folder", f"data.root={faults_dir / 'heldout_missing'}")
    with pytest.raises(UserError, match=MISSING.format(2)):
        check_files(source, source.clips("test"))


def test_a_data_set_without_test_clips(run: Path, make_video, tmp_path: Path) -> None:
    lines = [{"video": f"{number}.mp4", "caption": f"{number}", "split": "train"} for number in range(2)]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    make_video(tmp_path / "0.mp4", 13)
    source = source_of("data=folder", f"data.root={tmp_path}", "clip.num_frames=12")
    assert check_files(source, source.clips("test")) == []
    with pytest.raises(UserError, match="the data set has no clips to evaluate on"):
        evaluated(run, source)


def test_nan_figures(faults_dir: Path, run: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(run, tmp_path / "nanw")
    weights = next(broken.glob("checkpoints/step-*/model.safetensors"))
    subprocess.run([sys.executable, str(faults_dir / "nan_figures" / "make.py"), str(weights)], check=True)
    with pytest.raises(UserError, match="log-probabilities of answers are not finite numbers"):
        evaluated(broken)


@pytest.mark.parametrize("length", [0, 7, 100_000])
def test_truncated_checkpoint(length: int, run: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(run, tmp_path / "broken")
    weights = next(broken.glob("checkpoints/step-*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(UserError, match=r"model\.safetensors: it is not a readable safetensors file"):
        load_run(str(broken), outputs="none")


def test_shard_network(faults_dir: Path, tmp_path: Path) -> None:
    """A server listens where the playlist within the shard points to, and nobody comes.

    The stranger's index is of an earlier version, so its rows are written again in today's.
    """
    given = faults_dir / "shard_network" / "stranger_index"
    shutil.copyfile(given / "a.tar", tmp_path / "a.tar")
    with pa.ipc.open_file(given / "index.arrow") as reader:
        rows = [
            {**row, "group": None, "split": row["split"].replace("heldout", "test")}
            for row in reader.read_all().to_pylist()
        ]
        about = json.loads(reader.schema.metadata[b"vtok"])
    schema = SCHEMA.with_metadata({"vtok": json.dumps({**about, "version": VERSION})})
    with pa.ipc.new_file(tmp_path / "index.arrow", schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    source = source_of("data=shards", f"data.root={tmp_path}")
    clips = [clip for split in SPLITS for clip in source.clips(split)]
    try:
        server = socket.create_server(("127.0.0.1", 18999))
    except OSError:
        pytest.skip("another process has port 18999")
    with server:
        server.settimeout(0.2)
        reasons = [check_clip(clip, 24.0, timeout=5.0).reason for clip in clips]
        with pytest.raises(TimeoutError):
            server.accept()
    assert len(reasons) == 2
    assert all(reason is not None and "not in a video format" in reason for reason in reasons)
