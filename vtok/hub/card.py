"""The model card of an exported part."""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from omegaconf import DictConfig, OmegaConf

import vtok
from vtok.common.overrides import command
from vtok.common.tables import markdown
from vtok.config.nodes import trait_of
from vtok.hub.files import CARD, PLACES_OF_CLIPS, Part
from vtok.runs.folder import load_config, read_overrides
from vtok.training.best_checkpoint import names
from vtok.training.summary import told

INTRODUCTION = {
    "tokeniser": "A tokeniser of video: clips to a few tokens for a multimodal language model.",
    "model": "A multimodal language model that takes video as a few tokens, with its tokeniser.",
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
# Motion vectors are those of a file.
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


def write_card(
    folder: Path, *, part: Part, config: DictConfig, figures: dict[str, Any], run_dir: Path, licence: str | None
) -> None:
    """`README.md` of an exported part: metadata for the hub, how to load it, and the figures of its run.

    Args:
        folder: of the part.
        part: "tokeniser" or "model".
        config: of the part.
        figures: of the run's `summary.json`, where they are of these weights.
        run_dir: the run's folder.
        licence: by the hub's short names; none is named where None.
    """
    whole = load_config(run_dir)
    sources = (OmegaConf.select(whole, "data.sources") or {"": whole.data}).values()
    data = " and ".join(dict.fromkeys(trait_of(source, "dataset") or str(source._target_) for source in sources))
    understands, generates = whole.objective.lambda_under > 0, whole.objective.lambda_dec > 0
    results = eval_results(figures, data)
    tasks = [*([UNDERSTANDS] if understands else []), *([GENERATES] if generates else [])]
    metadata = ModelCardData(
        library_name="vtok",
        license=licence,
        pipeline_tag=tasks[0] if part == "model" and tasks else "feature-extraction",
        tags=["video", "video-tokenisation", "vtok", *(tasks[1:] if part == "model" else [])],
        model_name=f"vtok {part}",
        eval_results=results or None,
    )
    of_files = part == "tokeniser" and trait_of(config.tokeniser, "needs_files", False)
    use = (USE_ON_FILES if of_files else USE[part]).format(
        frames=whole.clip.num_frames,
        fps=whole.clip.fps,
        size=whole.clip.size,
        width=config.tokeniser.get("token_dim") or "width",
    )
    commands = [*([DESCRIBE] if understands else []), *([GENERATE] if generates else [])] if part == "model" else []
    commit = f", commit {figures['commit']}" if "commit" in figures else ""
    evaluated = f"On held-out clips of `{data}`, after {figures.get('steps', 'some')} optimiser steps"
    of_whole = " of the whole model that the tokeniser was trained in" if part == "tokeniser" else ""
    text = "\n".join(
        [
            "---",
            metadata.to_yaml(),
            "---",
            f"# vtok {part}",
            "",
            INTRODUCTION[part],
            f"Made with [VTok](https://arxiv.org/abs/2602.04202)'s framework, version {vtok.__version__}{commit}.",
            "",
            "```python",
            use,
            *commands,
            "```",
            "",
            "## Figures",
            "",
            table(figures),
            "",
            f"{evaluated}{of_whole}." if results else "These weights were not evaluated on held-out clips.",
            "",
            "## How it was made",
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
    """The run's command line, for a shell; where the run and its clips were kept is nobody else's business."""
    place = rf"^(\+*data\.(?:sources\.[\w-]+\.)?(?:{'|'.join(PLACES_OF_CLIPS)}))=.*"
    shown = [re.sub(place, r"\1=PATH", item, flags=re.DOTALL) for item in told(read_overrides(run_dir))]
    return command("python", "train.py", *shown)


def eval_results(figures: dict[str, Any], dataset: str) -> list[EvalResult]:
    """The shares of right answers, as the hub lists them."""
    shares = [name for name in names(figures) if f"{name}_low" in figures]
    return [
        EvalResult(
            task_type=GENERATES if name.startswith(("reconstruct/", "generate/", "control/")) else UNDERSTANDS,
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type="accuracy",
            metric_name=name,
            metric_value=figures[name],
        )
        for name in shares
    ]


def table(figures: dict[str, Any]) -> str:
    """The figures with intervals, chance and what always giving the commonest answer gets, a row each."""
    rows = [["figure", "value", "95 % interval", "chance", "majority", "questions"]]
    for name in sorted(names(figures)):
        value, low = figures[name], figures.get(f"{name}_low")
        if isinstance(value, str):
            continue
        interval = "" if low is None else f"{low:.3f} to {figures[f'{name}_high']:.3f}"
        shares = [figures.get(f"{name}_{beside}") for beside in ("chance", "majority")]
        questions = figures.get(f"{name}_questions")
        beside = ["" if share is None else f"{share:.3f}" for share in shares]
        rows.append([name, f"{value:.4g}", interval, *beside, "" if questions is None else f"{questions:.0f}"])
    return markdown(rows)


def settings(config: DictConfig) -> str:
    """A row of each component's class and settings, those of parts of it among them."""
    rows, given_groups = [["component", "class", "settings"]], OmegaConf.to_container(config, resolve=True)
    assert isinstance(given_groups, dict)
    for group, node in given_groups.items():
        if group != "tracking" and isinstance(node, dict) and "_target_" in node:
            # The backbone and the clip have rows of their own.
            given = {key: value for key, value in node.items() if key not in ("_target_", "backbone", "clip")}
            rows.append([str(group), f"`{node['_target_']}`", f"`{json.dumps(given)}`"])
    return markdown(rows)
