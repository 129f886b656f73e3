"""Wrong overrides, missing files, folders and weights are reported before torch, MLflow and matplotlib are loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vtok.config import compose
from vtok.runs.folder import write_status

ABSENT = "vtok-tests/a-model-that-no-cache-holds"
CASES = [
    (["train", "backbone=clip"], "backbone.weights=openai/clip-vit-large-patch14-336: this is neither"),
    (["train", "backbone=vision", f"backbone.weights={ABSENT}"], f"backbone.weights={ABSENT}: this is neither"),
    (["train", "mllm=causal_lm"], "mllm.weights="),
    (["train", "recipe=generate", "decoder=wan"], "decoder.weights="),
    (["train", "recipe=generate", "generation/judge=vlm"], "generation.judge.weights="),
    (["train", "-m", "backbone=tiny,vision"], "backbone.weights=facebook/dinov2-large: this is neither"),
    (["train", "backbone=clip", "backbone.weights=a/b/c"], "backbone.weights=a/b/c: there is no such file or folder"),
    (["train", "data=folder", "data.root=.", "data.manifest=no.jsonl"], "data.manifest=no.jsonl"),
    (["describe", "run=run", "video=no.mp4"], "video=no.mp4: there is no such file or folder"),
    (["describe", "run=no", "video=."], "run=no is not a folder"),
    (["describe", "run=run", "video=."], f"mllm.weights={ABSENT}: this is neither"),
    (["describe", "run=run", "video=."], "run/config.yaml."),
    (["tokenise", "run=run", "video=no.mp4"], "video=no.mp4"),
    (["reconstruct", "run=run", "video=no.mp4"], "video=no.mp4"),
    (["generate", "run=run", "prompts=no.txt"], "prompts=no.txt: 'no.txt' cannot be read"),
    (["generate", "run=run", "prompt=a"], f"mllm.weights={ABSENT}: this is neither"),
    (["evaluate", "run=run"], f"mllm.weights={ABSENT}: this is neither"),
    (["evaluate", "run=run", "mllm.weights=null", "data=folder", "data.root=no"], "data.root=no is not a folder"),
    (["export", "run=run", "out=there"], f"mllm.weights={ABSENT}: this is neither"),
    (["probe", "run=no"], "run=no is not a folder"),
    (["probe", "tokenisers=[vtok]", "backbone=clip"], "backbone.weights="),
    (["compare"], "vtok compare takes either sweep or runs"),
    (["compare", "runs=[no,run]"], "runs=no is not a folder. Use the folder of a run"),
    (["compare", "sweep=no"], "sweep=no is not a folder. Use the folder of a sweep"),
    (["report", "runs=[no]"], "runs=no is not a folder"),
    (["report", "runs=[.]"], ". is not a run folder (it has no config.yaml). Use the folder of a run."),
    (["report", "sweep=no"], "sweep=no is not a folder"),
    (["plan", "tokeniser=vtokk"], "tokeniser=vtokk: unknown option. Did you mean vtok?"),
    (["plan", "tokeniser.stirde=3"], "Did you mean tokeniser.stride?"),
    (["draw", "video=.", "tokeniser=vtokk"], "tokeniser=vtokk: unknown option"),
    (["study", "name=reel"], "name=reel: unknown study. Did you mean real?"),
    (["study", "name=real", "methods=[vtokk]"], "methods=vtokk: unknown method"),
    (["study", "name=tokenisers", "mllm=tinyy"], "mllm=tinyy: unknown option"),
    (["data", "check", "data=folder", "data.root=no"], "data.root=no is not a folder"),
    (["data", "index", "root=no/{000..004}.tar"], "root=no/{000..004}.tar is not a folder"),
    (["precompute", "out=x", "backbone=clip"], "backbone.weights="),
    (["cost", "backbone=clip"], "backbone.weights="),
    (["doctor", "backbone=clip"], "backbone.weights="),
]  # fmt: skip
PROGRAM = """
import contextlib, io, json, sys
from vtok.cli.main import main

HEAVY = {"torch", "transformers", "diffusers", "mlflow", "matplotlib", "pandas"}
results = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as shown, contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    results.append([code, shown.getvalue(), sorted(HEAVY & set(sys.modules))])
print(json.dumps(results))
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder without a checkpoint, whose language model does not exist."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = compose(["mllm=llava_next", "mllm.projector=false", f"mllm.weights={ABSENT}"])
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    write_status(folder, "finished", None)
    return folder


def test_mistakes_are_reported_before_heavy_libraries_are_loaded(run_dir: Path) -> None:
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(run_dir.parent / "hub"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([arguments for arguments, _ in CASES])],
        cwd=run_dir.parent, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (arguments, expected), (code, shown, heavy) in zip(CASES, json.loads(done.stdout), strict=True):
        assert code == 1, (arguments, shown)
        assert expected in shown, (arguments, shown)
        assert heavy == [], arguments
    assert [path.name for path in run_dir.parent.iterdir()] == ["run"]
