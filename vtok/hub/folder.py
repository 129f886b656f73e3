"""Exports a trained tokeniser or a full trained model to a folder, and loads it.

The folder holds `export.json` (which part it is), `config.yaml`, `model.safetensors`, `summary.json` (the metrics) and
`README.md` (the model card). Frozen components with published weights are not copied: the configuration names the
weights. Frozen components with random weights are copied, since the same seed may give other numbers in later versions.

huggingface_hub's PyTorchModelHubMixin is not used: it rebuilds one class from the JSON of its constructor's arguments.
Here a configuration has nested components, all of which are checked before the first is built.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

import vtok
from vtok.common.errors import UserError
from vtok.common.files import atomic_folder, is_free
from vtok.common.foreign_files import read_tensors
from vtok.config import check
from vtok.config.cross_checks import check_unasked
from vtok.config.nodes import data_nodes
from vtok.config.targets import check_targets
from vtok.feature_cache import without_cache
from vtok.hub.card import write_card
from vtok.hub.files import CLIP_LOCATIONS, CONFIG, GROUPS, MARKER, METRICS, WEIGHTS, Part, exported_part, is_exported
from vtok.hub.remote import fetch
from vtok.model import VideoLanguageModel
from vtok.model.build import build, build_model, report_build_errors
from vtok.runs.folder import load_config, read_summary, run_of
from vtok.tokeniser import Tokeniser
from vtok.training.checkpoint import latest_checkpoint, load_weights
from vtok.training.model_tensors import digest, persistent_buffers, saved_tensors

# Components that may be frozen with published weights, and their path in the configuration and in the model.
COMPONENT_PATHS = {"backbone": "tokeniser.backbone", "mllm": "mllm", "decoder": "decoder"}
NO_TRACKER = "vtok.tracking.none.NoTracker"
# Keys that belong to the machine or to training.
DROPPED_KEYS = ("resume", "outputs", "name", "optimise")


def save_pretrained(
    run: Path, folder: Path, *, part: Part, licence: str | None = None, allowed_targets: Sequence[str] = ()
) -> Path:
    """Export the tokeniser or the model of a run to a new folder; after an error nothing is left there.

    If the run averaged its weights (trainer.ema_decay), the averaged weights are exported, as in the run's evaluation.

    Args:
        run: run folder, whose newest checkpoint is exported, or a checkpoint.
        folder: output folder, which must be new or empty.
        part: part to export, the tokeniser alone or the full model.
        licence: licence for the model card, as one of the hub's short names.
        allowed_targets: packages of the user's own whose components may be built.

    Raises:
        UserError: if the run has no checkpoint, is not a run or names code that is not allowed, the tokeniser alone
            reads the question, or the folder is not empty or cannot be written.
    """
    if not is_free(folder):
        raise UserError(f"out={folder}: this folder is not empty. Use a new folder.")
    if is_exported(run):
        raise UserError(f"run={run}: this folder is itself an export. Use the run that it came from, or copy it.")
    run_dir = run_of(run)
    checkpoint = latest_checkpoint(run_dir) if run == run_dir else run
    config = load_config(run_dir)
    config.allowed_targets = list(allowed_targets)
    without_cache(config)
    check(config, files=False)
    if part == "tokeniser":
        check_unasked(config, override=f"part={part}", instead="Use part=model.")
    with report_build_errors(run_dir):
        model = build_model(config)
    load_weights(checkpoint, model, averaged=True)
    written, metrics = exported_config(config, part), metrics_of(run_dir, model)
    found = exported_tensors(model.tokeniser if part == "tokeniser" else model, written, part)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}
    with atomic_folder(folder.absolute()) as partial:
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        (partial / MARKER).write_text(json.dumps({"part": part, "version": vtok.__version__}), encoding="utf-8")
        (partial / CONFIG).write_text(OmegaConf.to_yaml(written, resolve=True), encoding="utf-8")
        (partial / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True), encoding="utf-8")
        write_card(partial, part=part, config=written, metrics=metrics, run_dir=run_dir, licence=licence)
    return folder


def from_pretrained(
    place: str | Path,
    *,
    revision: str | None = None,
    weights: Mapping[str, str] | None = None,
    trust: Sequence[str] = (),
) -> Tokeniser | VideoLanguageModel:
    """Load the tokeniser or the model that `save_pretrained` wrote, in eval mode on the CPU.

    A configuration names code that is run, and a downloaded one may not be trustworthy. Only components of this
    project, optimisers and layers of torch, and components of packages in `trust` are built.

    Args:
        place: folder, or an id on the hub.
        revision: branch, tag or commit on the hub.
        weights: local weights of frozen components, by group, such as {"backbone": "/data/clip"}; None: as the
            configuration says.
        trust: packages of the user's own whose components may be built.

    Raises:
        UserError: if there is no such folder or model, it is not an export, or it names a class that is not trusted.
    """
    folder = fetch(str(place), revision=revision)
    part = exported_part(folder)
    config = load_config(folder, groups=GROUPS[part])
    config.allowed_targets = list(trust)
    check_targets(config, groups=GROUPS[part])
    named = [group for group, path in COMPONENT_PATHS.items() if group in GROUPS[part] and has_published(config, path)]
    for group, path in (weights or {}).items():
        if group not in named:
            way_out = f"Use one of {', '.join(named)}." if named else "Leave it out: all weights are in the folder."
            raise UserError(
                f"weights={{{group!r}: {path!r}}}: this {part} has no {group} with published weights. {way_out}"
            )
        OmegaConf.select(config, COMPONENT_PATHS[group]).weights = path
    with report_build_errors(folder):
        model = build(config.tokeniser) if part == "tokeniser" else build_model(config)
    read_weights(folder, model, config, part)
    return model.eval()


def exported_config(config: DictConfig, part: Part) -> DictConfig:
    """The part of a run's configuration that is exported."""
    exported = config.copy()
    OmegaConf.set_struct(exported, False)
    for key in DROPPED_KEYS if part == "model" else [key for key in config if key not in GROUPS[part]]:
        exported.pop(key, None)
    if part == "model":
        # Commands build a data source to read a clip as the run did, even without the run's clips.
        for _, node in data_nodes(exported):
            node.update({key: neutral for key, neutral in CLIP_LOCATIONS.items() if key in node})
        exported.tracking = {"_target_": NO_TRACKER}
    return exported


def metrics_of(run_dir: Path, model: nn.Module) -> dict[str, Any]:
    """The run's `summary.json`; only its commit if it was computed with other weights, as for an earlier checkpoint."""
    metrics = read_summary(run_dir)
    if metrics.get("digest/ema", metrics.get("digest/trained")) == digest(saved_tensors(model)):
        return metrics
    return {name: value for name, value in metrics.items() if name == "commit"}


def has_published(config: DictConfig, place: str) -> bool:
    """Whether the component at this path of the configuration has published weights."""
    return bool(OmegaConf.select(config, f"{place}.weights"))


def exported_tensors(model: nn.Module, config: DictConfig, part: Part) -> dict[str, Tensor]:
    """The tensors that a folder holds: buffers, and all parameters except frozen ones of published weights."""
    published = tuple(
        f"{place}."
        for group, place in COMPONENT_PATHS.items()
        if group in GROUPS[part] and has_published(config, place)
    )
    above = "tokeniser." if part == "tokeniser" else ""
    parameters = {
        name: tensor
        for name, tensor in model.named_parameters()
        if tensor.requires_grad or not f"{above}{name}".startswith(published)
    }
    return dict(sorted((parameters | persistent_buffers(model)).items()))


def read_weights(folder: Path, model: nn.Module, config: DictConfig, part: Part) -> None:
    """Load the folder's weights into a model that was built from its configuration.

    Raises:
        UserError: if they cannot be read, or do not fit.
    """
    found = read_tensors(folder / WEIGHTS)
    expected = exported_tensors(model, config, part)
    wrong = sorted(expected.keys() ^ found.keys())
    wrong = wrong or [name for name in expected if expected[name].shape != found[name].shape]
    if wrong:
        raise UserError(
            f"{folder}: {WEIGHTS} does not fit config.yaml: {len(wrong)} weights are missing, unknown or of another "
            f"shape, such as {wrong[0]}. Export the run again."
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(found[name])
