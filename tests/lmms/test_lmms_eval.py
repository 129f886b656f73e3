"""A small task through lmms-eval's own command line, where it is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vtok.cli.verbs.describe import describe

TEXTS = ("what moves?", "which colour is it?")
VISUAL = """\
def video_of(doc):
    return [doc["video"]]
"""
TASK = """\
task: vtok_written
dataset_path: json
dataset_kwargs:
  data_files: {test: DATA}
test_split: test
output_type: generate_until
doc_to_visual: !function made.video_of
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {max_new_tokens: 12, temperature: 0, do_sample: false}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


@pytest.mark.slow
def test_a_task_of_lmms_eval_has_the_answers_of_describe(run_dir: Path, videos: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("lmms_eval")
    asked = [(str(video), text) for video in videos for text in TEXTS]
    truth = [describe(video=video, prompt=text, run=str(run_dir), max_new_tokens=12) for video, text in asked]
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    rows = [
        {"video": video, "question": text, "answer": answer} for (video, text), answer in zip(asked, truth, strict=True)
    ]
    # One answer is wrong.
    rows[0]["answer"] = "something else"
    (tasks / "made.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tasks / "made.py").write_text(VISUAL)
    (tasks / "written.yaml").write_text(TASK.replace("DATA", str(tasks / "made.jsonl")))
    results = lmms_eval(run_dir, tasks, "vtok_written", tmp_path)
    assert results["results"]["vtok_written"]["exact_match,none"] == pytest.approx(5 / 6)
    (samples,) = tmp_path.rglob("*samples_vtok_written.jsonl")
    answers = [json.loads(line)["filtered_resps"] for line in samples.read_text(encoding="utf-8").splitlines()]
    assert answers == truth


def lmms_eval(run_dir: Path, tasks: Path, task: str, folder: Path) -> dict:
    """The results of a task by the command that the README shows."""
    command = [sys.executable, "-m", "lmms_eval", "--model", "vtok", "--model_args", f"run={run_dir}",
               "--tasks", task, "--include_path", str(tasks), "--batch_size", "2", "--log_samples",
               "--output_path", str(folder / "results")]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(folder.rglob("*results.json")), done.stdout[-3000:] + done.stderr[-6000:]
    (found,) = folder.rglob("*results.json")
    return json.loads(found.read_text(encoding="utf-8"))
