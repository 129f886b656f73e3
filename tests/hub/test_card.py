"""The model card against the run's files."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from omegaconf import OmegaConf

from vtok.config import compose
from vtok.hub import save_pretrained
from vtok.hub.card import settings

Run = Callable[..., Path]
GENERATES = (
    "objective=generation", "generation.max_clips=1", "generation.steps=2", "visual_head.width=16",
    "visual_head.steps=2", "decoder.num_frames=4", "decoder.size=16", "decoder.heads=2", "decoder.head_dim=12",
    "decoder.double_layers=1", "decoder.single_layers=0",
)  # fmt: skip


def test_the_metrics_are_those_of_the_run(make_run: Run, tmp_path: Path) -> None:
    run = make_run("tokeniser.stride=3")
    save_pretrained(run, tmp_path / "out", part="tokeniser", licence="apache-2.0")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    metrics = json.loads((run / "summary.json").read_text())
    listed = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert listed == {name: metrics[name] for name in metrics if f"{name}_low" in metrics}
    assert "alignment/colour" in listed
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "vtok")
    row = next(line for line in card.text.splitlines() if line.startswith("| alignment/colour |"))
    value, interval, chance, majority, questions = (cell.strip() for cell in row.strip("| ").split("|")[1:])
    assert float(value) == pytest.approx(metrics["alignment/colour"], abs=1e-3)
    bounds = [metrics["alignment/colour_low"], metrics["alignment/colour_high"]]
    assert [float(bound) for bound in interval.split(" to ")] == pytest.approx(bounds, abs=1e-3)
    assert float(chance) == pytest.approx(metrics["alignment/colour_chance"], abs=1e-3)
    assert majority == "", "not all questions about a colour have the same choices"
    row = next(line for line in card.text.splitlines() if line.startswith("| alignment_yes_no/colour |"))
    assert float(row.split("|")[-3]) == pytest.approx(metrics["alignment_yes_no/colour_majority"], abs=1e-3)
    assert float(questions) == metrics["alignment/colour_questions"]
    assert metrics.get("commit", "") in card.text
    code = re.search(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert code is not None
    exec(code[1].replace("FOLDER or ORG/NAME", str(tmp_path / "out")), names := {})
    assert names["tokens"].shape[0] == 1


def test_the_command_is_for_a_shell_and_says_nothing_of_the_machine(make_run: Run, tmp_path: Path) -> None:
    shown = ["tokeniser.stride=3", "data.families=[motion, order]"]
    run = make_run(*shown, f"data.root={tmp_path / 'mine'}")
    # As a run that was tracked by a server has it.
    overrides = [
        *shown,
        f"data.root={tmp_path / 'mine'}",
        "+tracking.uri=http://me:password@host",
        "outputs=/home/me",
    ]
    (run / "overrides.yaml").write_text(json.dumps(overrides))
    text = (save_pretrained(run, tmp_path / "out", part="model") / "README.md").read_text()
    assert shlex.split(next(line for line in text.splitlines() if line.startswith("python train.py"))) == [
        "python", "train.py", *shown, "data.root=PATH",
    ]  # fmt: skip
    written = "".join(file.read_text() for file in (tmp_path / "out").iterdir() if file.suffix != ".safetensors")
    assert not [secret for secret in ("password", "/home/me", str(tmp_path)) if secret in written]


def test_the_example_code_of_a_tokeniser_of_files_runs(make_run: Run, tmp_path: Path) -> None:
    run = make_run("tokeniser=codec_motion", "tokeniser.stride=3")
    text = (save_pretrained(run, tmp_path / "out", part="tokeniser") / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert code is not None
    video = next((tmp_path / "outputs" / "data").rglob("test-*.mp4"))
    exec(code[1].replace("FOLDER or ORG/NAME", str(tmp_path / "out")).replace("FILE", str(video)), names := {})
    assert names["tokens"].shape == (1, 16 + 3, 16)


def test_paths_of_the_manifest_and_the_feature_cache_are_hidden(make_run: Run, tmp_path: Path) -> None:
    run = make_run()
    clips = next((tmp_path / "outputs" / "data").rglob("manifest.jsonl"))
    config = OmegaConf.load(run / "config.yaml")
    given = ["data=folder", f"data.root={clips.parent}", f"data.manifest={clips}", f"data.cache={tmp_path / 'cache'}"]
    config.data = compose(given).data
    OmegaConf.save(config, run / "config.yaml", resolve=True)
    (run / "overrides.yaml").write_text(json.dumps(given))
    save_pretrained(run, tmp_path / "out", part="model")
    written = "".join(file.read_text() for file in (tmp_path / "out").iterdir() if file.suffix != ".safetensors")
    assert "data.manifest=PATH data.cache=PATH" in written
    assert str(tmp_path) not in written


def test_a_model_is_listed_under_what_it_does(exported_model: Path) -> None:
    card = ModelCard.load(exported_model / "README.md")
    assert card.data.pipeline_tag == "video-text-to-text"
    assert "vtok describe run=FOLDER" in card.text
    assert "vtok generate" not in card.text


def test_a_model_that_only_generates_is_listed_as_text_to_video(make_run: Run, tmp_path: Path) -> None:
    card = ModelCard.load(save_pretrained(make_run(*GENERATES), tmp_path / "a", part="model") / "README.md")
    assert card.data.pipeline_tag == "text-to-video"
    assert "vtok generate run=FOLDER" in card.text
    assert "vtok describe" not in card.text
    tasks = {result.metric_name.partition("/")[0]: result.task_type for result in card.data.eval_results}
    assert tasks["generate"] == "text-to-video"


def test_settings_of_parts_are_shown_and_do_not_break_the_table() -> None:
    config = compose(["mllm=causal_lm", "mllm.video_token='<|video|>'", "mllm.lora={rank:3,alpha:5}"])
    rows = settings(config).splitlines()
    row = next(row for row in rows if row.startswith("| mllm |"))
    assert '"rank": 3' in row
    assert r"<\|video\|>" in row
    assert any("MeanPooling" in row for row in rows if row.startswith("| tokeniser |"))
    assert not any(row.startswith("| tracking |") for row in rows)
