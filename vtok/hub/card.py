"""The model card of an exported tokeniser or model."""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from omegaconf import DictConfig, OmegaConf

import vtok
from vtok.common.overrides import command
from vtok.common.tables import markdown
from vtok.config.nodes import constant_of
from vtok.hub.files import CARD, CLIP_LOCATIONS, Part
from vtok.runs.folder import load_config, read_overrides
from vtok.training.best_checkpoint import main_metrics
from vtok.training.summary import main_overrides

INTRODUCTION = {
    "tokeniser": "A video tokeniser: turns a clip into a few tokens for a multimodal language model.",
    "model": "A multimodal language model with its video tokeniser, which turns a clip into a few tokens.",
}
USE = {
    "tokeniser": """\
import torch
from vtok.hub import from_pretrained

tokeniser = from_pretrained("FOLDER or ORG/NAME")
tokens = tokeniser(torch.rand(1, {frames}, 3, {size}, {size}))  # (1, tokens, {width})""",
    "model": """\
from vtok.hub import from_pretrained

model = from_pretrained("FOLDER or ORG/NAME")
# or, on a downloaded folder:""",
}
# A tokeniser of motion vectors reads the codec's vectors from a file.
USE_ON_FILES = """\
from pathlib import Path

from vtok.model.batch import stack_frames
from vtok.data import Clip, ClipSettings, FrameReader, SampleKey
from vtok.hub import from_pretrained

tokeniser = from_pretrained("FOLDER or ORG/NAME")
reader = FrameReader(tokeniser.planner, ClipSettings(size={size}, num_frames={frames}, fps={fps}))
sample = reader.read(Clip(id="FILE", path=Path("FILE")), SampleKey(0, 0))
tokens = tokeniser.encode_planned(stack_frames([sample])).tokens  # (1, tokens, {width})"""
DESCRIBE = '# vtok describe run=FOLDER video=FILE prompt="describe the video."'
GENERATE = "# vtok generate run=FOLDER prompt=TEXT out=FILE"
UNDERSTANDS, GENERATES = "video-text-to-text", "text-to-video"
# Metrics of generated videos.
OF_VIDEOS = ("reconstruct/", "generate/", "unseen/", "control/")


def write_card(
    folder: Path, *, part: Part, config: DictConfig, metrics: dict[str, Any], run_dir: Path, licence: str | None
) -> None:
    """Write `README.md`: metadata for the hub, how to load the part, and the metrics of its run.

    Args:
        folder: exported folder.
        part: exported part, "tokeniser" or "model".
        config: configuration of the part.
        metrics: metrics of the run's `summary.json` for these weights; empty if they were not evaluated.
        run_dir: run folder.
        licence: licence, as one of the hub's short names; None: not stated.
    """
    run_config = load_config(run_dir)
    sources = (OmegaConf.select(run_config, "data.sources") or {"": run_config.data}).values()
    data = " and ".join(dict.fromkeys(constant_of(source, "dataset") or str(source._target_) for source in sources))
    understands, generates = run_config.objective.lambda_under > 0, run_config.objective.lambda_dec > 0
    results = eval_results(metrics, data)
    tasks = [*([UNDERSTANDS] if understands else []), *([GENERATES] if generates else [])]
    metadata = ModelCardData(
        library_name="vtok",
        license=licence,
        pipeline_tag=tasks[0] if part == "model" and tasks else "feature-extraction",
        tags=["video", "video-tokenisation", "vtok", *(tasks[1:] if part == "model" else [])],
        model_name=f"vtok {part}",
        eval_results=results or None,
    )
    of_files = part == "tokeniser" and constant_of(config.tokeniser, "needs_files", False)
    use = (USE_ON_FILES if of_files else USE[part]).format(
        frames=run_config.clip.num_frames,
        fps=run_config.clip.fps,
        size=run_config.clip.size,
        width=config.tokeniser.get("token_dim") or "width",
    )
    commands = [*([DESCRIBE] if understands else []), *([GENERATE] if generates else [])] if part == "model" else []
    commit = f", commit {metrics['commit']}" if "commit" in metrics else ""
    evaluation = f"On test clips of `{data}`, after {metrics.get('steps', 'some')} optimiser steps"
    of_full_model = ", with the full model that the tokeniser was trained in" if part == "tokeniser" else ""
    text = "\n".join(
        [
            "---",
            metadata.to_yaml(),
            "---",
            f"# vtok {part}",
            "",
            INTRODUCTION[part],
            f"Trained with the framework [VTok](https://arxiv.org/abs/2602.04202), version {vtok.__version__}{commit}.",
            "",
            "```python",
            use,
            *commands,
            "```",
            "",
            "## Metrics",
            "",
            table(metrics),
            "",
            f"{evaluation}{of_full_model}." if results else "These weights were not evaluated on test clips.",
            "",
            "## Training",
            "",
            "```",
            train_command(run_dir),
            "```",
            "",
            settings(config),
            "",
        ]
    )
    ModelCard(text).save(folder / CARD)


def train_command(run_dir: Path) -> str:
    """The run's command line, for a shell; paths of clips are replaced by PATH, to keep them private."""
    place = rf"^(\+*data\.(?:source\.)?(?:sources\.[\w-]+\.)?(?:{'|'.join(CLIP_LOCATIONS)}))=.*"
    shown = [re.sub(place, r"\1=PATH", item, flags=re.DOTALL) for item in main_overrides(read_overrides(run_dir))]
    return command("python", "train.py", *shown)


def eval_results(metrics: dict[str, Any], dataset: str) -> list[EvalResult]:
    """The accuracies, in the hub's format."""
    shares = [name for name in main_metrics(metrics) if f"{name}_low" in metrics]
    return [
        EvalResult(
            task_type=GENERATES if name.startswith(OF_VIDEOS) else UNDERSTANDS,
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type="accuracy",
            metric_name=name,
            metric_value=metrics[name],
        )
        for name in shares
    ]


def table(metrics: dict[str, Any]) -> str:
    """A row for each metric: value, interval, accuracies of chance and of the most frequent answer, questions."""
    rows = [["metric", "value", "95 % interval", "chance", "majority", "questions"]]
    for name in sorted(main_metrics(metrics)):
        value, low = metrics[name], metrics.get(f"{name}_low")
        if isinstance(value, str):
            continue
        interval = "" if low is None else f"{low:.3f} to {metrics[f'{name}_high']:.3f}"
        shares = [metrics.get(f"{name}_{beside}") for beside in ("chance", "majority")]
        questions = metrics.get(f"{name}_questions")
        beside = ["" if share is None else f"{share:.3f}" for share in shares]
        rows.append([name, f"{value:.4g}", interval, *beside, "" if questions is None else f"{questions:.0f}"])
    return markdown(rows)


def settings(config: DictConfig) -> str:
    """A row for each component: its class and its settings, with those of nested components."""
    rows, given_groups = [["component", "class", "settings"]], OmegaConf.to_container(config, resolve=True)
    assert isinstance(given_groups, dict)
    for group, node in given_groups.items():
        if group != "tracking" and isinstance(node, dict) and "_target_" in node:
            # The backbone and the clip have their own rows.
            given = {key: value for key, value in node.items() if key not in ("_target_", "backbone", "clip")}
            rows.append([str(group), f"`{node['_target_']}`", f"`{json.dumps(given)}`"])
    return markdown(rows)
