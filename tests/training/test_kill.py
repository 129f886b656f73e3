"""`kill -9` at any moment."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vtok.common.paths import conf_dir
from vtok.config import compose
from vtok.training import train

KILLS = 10


@pytest.mark.slow
def test_a_run_killed_at_random_moments_equals_an_uninterrupted_one(tiny_run: list[str], tmp_path: Path) -> None:
    """The run is killed between checkpoints, and sometimes while it writes one; it writes one after every step."""
    settings = [*tiny_run, "trainer.max_steps=40", "trainer.save_every=1", "trainer.ema_decay=0.9"]
    whole = train(compose(settings), run_dir=tmp_path / "whole")
    # A short run is over too soon to be killed ten times; every start may take one more step at least.
    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    folder = tmp_path / "killed"
    script = [sys.executable, str(conf_dir().parent / "train.py"), *settings, f"hydra.run.dir={folder}", "resume=auto"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = 0
    for _ in range(3 * KILLS):
        with subprocess.Popen(
            script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as run:
            if killed < KILLS:
                started = steps_of(folder)
                while run.poll() is None and steps_of(folder) == started:
                    time.sleep(0.001)
                time.sleep(moments.uniform(0, 0.15))
                run.kill()
            told = run.communicate(timeout=120)[0]
        killed += run.returncode == -9
        if run.returncode == 0:
            break
        assert run.returncode == -9, told
    assert killed >= 3, "the run was over before it could be killed"
    figures = json.loads((folder / "summary.json").read_text())
    assert (figures["digest/trained"], figures["digest/ema"]) == (whole["digest/trained"], whole["digest/ema"])


def steps_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
