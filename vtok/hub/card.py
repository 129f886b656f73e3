"""The model card of an exported part."""

import json
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from omegaconf import DictConfig, OmegaConf

import vtok
from vtok.training.best import names

DATASET = {"vtok.data.ShapesData": "shapes"}
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
# or, on a downloaded folder: vtok describe run=FOLDER video=FILE prompt="describe the video.\"""",
}


def write_card(
    folder: Path, *, part: str, config: DictConfig, figures: dict[str, Any], run_dir: Path, licence: str | None
) -> None:
    """`README.md` of an exported part: metadata for the hub, how to load it, and the figures of its run.

    Args:
        folder: of the part.
        part: "tokeniser" or "model".
        config: of the part.
        figures: of the run's `summary.json`.
        run_dir: the run's folder.
        licence: by the hub's short names; none is named where None.
    """
    whole = OmegaConf.load(run_dir / "config.yaml")
    data = str(OmegaConf.select(whole, "data._target_"))
    metadata = ModelCardData(
        library_name="vtok",
        license=licence,
        pipeline_tag="video-text-to-text" if part == "model" else "feature-extraction",
        tags=["video", "video-tokenisation", "vtok"],
        model_name=f"vtok {part}",
        eval_results=eval_results(figures, DATASET.get(data, data)),
    )
    frames, size = OmegaConf.select(whole, "data.num_frames"), OmegaConf.select(whole, "data.size")
    use = USE[part].format(frames=frames, size=size, width=config.tokeniser.get("token_dim") or "width")
    overrides = yaml.safe_load((run_dir / "overrides.yaml").read_text(encoding="utf-8")) or []
    text = "\n".join(
        [
            "---",
            metadata.to_yaml(),
            "---",
            f"# vtok {part}",
            "",
            INTRODUCTION[part],
            f"Made with [VTok](https://arxiv.org/abs/2602.04202)'s framework, version {vtok.__version__}.",
            "",
            "```python",
            use,
            "```",
            "",
            "## Figures",
            "",
            *table(figures),
            "",
            f"On held-out clips of `{DATASET.get(data, data)}`, after {figures.get('steps', 'some')} optimiser steps.",
            "",
            "## How it was made",
            "",
            "```",
            " ".join(["python train.py", *overrides]),
            "```",
            "",
            "| component | class | settings |",
            "| --- | --- | --- |",
            *settings(config),
            "",
        ]
    )
    ModelCard(text).save(folder / "README.md")


def eval_results(figures: dict[str, Any], dataset: str) -> list[EvalResult] | None:
    """The shares of right answers, as the hub lists them."""
    shares = [name for name in names(figures) if f"{name}_low" in figures]
    results = [
        EvalResult(
            task_type="video-text-to-text",
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type="accuracy",
            metric_name=name,
            metric_value=figures[name],
        )
        for name in shares
    ]
    return results or None


def table(figures: dict[str, Any]) -> list[str]:
    """The figures with intervals and chance, a row each."""
    rows = ["| figure | value | 95 % interval | chance | questions |", "| --- | --- | --- | --- | --- |"]
    for name in sorted(names(figures)):
        value, low = figures[name], figures.get(f"{name}_low")
        if isinstance(value, str):
            continue
        interval = "" if low is None else f"{low:.3f} to {figures[f'{name}_high']:.3f}"
        chance, questions = figures.get(f"{name}_chance"), figures.get(f"{name}_questions")
        beside = [interval, "" if chance is None else f"{chance:.3f}", "" if questions is None else f"{questions:.0f}"]
        rows.append(f"| {name} | {value:.4g} | {' | '.join(beside)} |")
    return rows


def settings(config: DictConfig) -> list[str]:
    """A row of each component's class and settings."""
    rows = []
    for group in (str(key) for key in config):
        node = OmegaConf.to_container(config, resolve=True)[group]  # type: ignore[index, call-overload]
        if isinstance(node, dict) and "_target_" in node:
            given = {key: value for key, value in node.items() if key != "_target_" and not isinstance(value, dict)}
            rows.append(f"| {group} | `{node['_target_']}` | `{json.dumps(given)}` |")
    return rows
