"""A trained tokeniser, or a whole trained model, as a folder, and back.

The folder holds `export.json`, which says what it is, `config.yaml`, what is to be built, `model.safetensors`, the
weights by name, `summary.json`, the run's figures, and `README.md`, the model card. Frozen parts that came from
published weights are not copied: the configuration names them. Frozen parts with random weights are copied, since no
seed promises the same numbers for good.

huggingface_hub's PyTorchModelHubMixin rebuilds one class from the JSON of its constructor's arguments. Here a
configuration names components within components, all of which are checked before the first is built.
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
from vtok.common.files import is_free, whole_folder
from vtok.common.foreign_files import read_tensors
from vtok.config import check
from vtok.config.nodes import data_nodes
from vtok.feature_cache import without_cache
from vtok.hub.card import write_card
from vtok.hub.files import CONFIG, FIGURES, GROUPS, MARK, PLACES_OF_CLIPS, WEIGHTS, Part, is_exported, part_of
from vtok.hub.remote import fetch
from vtok.hub.trust import trusted_config
from vtok.model import VideoLanguageModel
from vtok.model.build import build, build_model, building_from
from vtok.runs.folder import load_config, read_summary, run_of
from vtok.tokeniser import Tokeniser
from vtok.training.checkpoint import latest_checkpoint, load_weights
from vtok.training.model_tensors import digest, persistent_buffers, saved_tensors

# Where a component lies, in the configuration as in the model, for those that may be frozen with published weights.
PLACES = {"backbone": "tokeniser.backbone", "mllm": "mllm", "decoder": "decoder"}
# Of this machine or of the training alone.
NO_TRACKER = "vtok.tracking.none.NoTracker"
FORGOTTEN = ("resume", "outputs", "name", "optimise")


def save_pretrained(
    run: Path, folder: Path, *, part: Part, licence: str | None = None, allowed_targets: Sequence[str] = ()
) -> Path:
    """Write a part of a run, or of one of its checkpoints, to a new folder, whole or not at all.

    The weights are the averaged ones where the run kept them (trainer.ema_decay), as in its own evaluation.

    Args:
        run: a run folder (its newest checkpoint), or a checkpoint.
        folder: that does not exist yet, or is empty.
        part: the tokeniser alone, or all that was trained.
        licence: for the model card, by the hub's short names.
        allowed_targets: packages of one's own, whose components are built.

    Raises:
        UserError: the run has no checkpoint, is no run or names code that is not allowed, or the folder holds something
            or cannot be written.
    """
    if not is_free(folder):
        raise UserError(f"out={folder}: there is something already; name a new folder.")
    if is_exported(run):
        raise UserError(f"run={run}: this was exported from a run; give that run, or copy the folder.")
    run_dir = run_of(run)
    checkpoint = latest_checkpoint(run_dir) if run == run_dir else run
    config = load_config(run_dir)
    config.allowed_targets = list(allowed_targets)
    without_cache(config)
    check(config, files=False)
    with building_from(run_dir):
        model = build_model(config)
    load_weights(checkpoint, model, averaged=True)
    kept, figures = kept_config(config, part), figures_of(run_dir, model)
    exported = model.tokeniser if part == "tokeniser" else model
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in stored(exported, kept, part).items()}
    with whole_folder(folder.absolute()) as partial:
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        (partial / MARK).write_text(json.dumps({"part": part, "version": vtok.__version__}), encoding="utf-8")
        (partial / CONFIG).write_text(OmegaConf.to_yaml(kept, resolve=True), encoding="utf-8")
        (partial / FIGURES).write_text(json.dumps(figures, indent=1, sort_keys=True), encoding="utf-8")
        write_card(partial, part=part, config=kept, figures=figures, run_dir=run_dir, licence=licence)
    return folder


def from_pretrained(
    place: str | Path,
    *,
    revision: str | None = None,
    weights: Mapping[str, str] | None = None,
    trust: Sequence[str] = (),
) -> Tokeniser | VideoLanguageModel:
    """The tokeniser or the model that `save_pretrained` wrote, in eval mode on the CPU.

    A configuration names code that is run, and this one may be a stranger's: only this project's own components and
    optimisers and layers of torch are built, and components of packages that are trusted by name.

    Args:
        place: a folder, or an id on the hub.
        revision: branch, tag or commit on the hub.
        weights: where frozen parts have their weights here, by group: {"backbone": "/data/clip"}; those of the
            configuration where None.
        trust: packages of one's own.

    Raises:
        UserError: there is no such folder or model, it holds something else, or it names a class that is not trusted.
    """
    folder = fetch(str(place), revision=revision)
    part = part_of(folder)
    config = trusted_config(folder, part, trust=trust)
    named = [group for group, path in PLACES.items() if group in GROUPS[part] and has_published(config, path)]
    for group, path in (weights or {}).items():
        if group not in named:
            raise UserError(
                f"weights={{{group!r}: {path!r}}}: this {part} has no {group} with published weights; "
                + (f"those that have them: {', '.join(named)}." if named else "all of its weights are in the folder.")
            )
        OmegaConf.select(config, PLACES[group]).weights = path
    with building_from(folder):
        model = build(config.tokeniser) if part == "tokeniser" else build_model(config)
    read_weights(folder, model, config, part)
    return model.eval()


def kept_config(config: DictConfig, part: Part) -> DictConfig:
    """What of a run's configuration goes with the part."""
    kept = config.copy()
    OmegaConf.set_struct(kept, False)
    for key in FORGOTTEN if part == "model" else [key for key in config if key not in GROUPS[part]]:
        kept.pop(key, None)
    if part == "model":
        # Commands build a data source to read a clip as the run did, whatever lies there.
        for _, node in data_nodes(kept):
            node.update({key: nowhere for key, nowhere in PLACES_OF_CLIPS.items() if key in node})
        kept.tracking = {"_target_": NO_TRACKER}
    return kept


def figures_of(run_dir: Path, model: nn.Module) -> dict[str, Any]:
    """The run's `summary.json`; of weights that it was not made with (an earlier checkpoint's), the commit alone."""
    figures = read_summary(run_dir)
    if figures.get("digest/ema", figures.get("digest/trained")) == digest(saved_tensors(model)):
        return figures
    return {name: value for name, value in figures.items() if name == "commit"}


def has_published(config: DictConfig, place: str) -> bool:
    """Whether the component at a place of the configuration gets weights from somewhere."""
    return bool(OmegaConf.select(config, f"{place}.weights"))


def stored(model: nn.Module, config: DictConfig, part: Part) -> dict[str, Tensor]:
    """The weights that a folder holds: all parameters but frozen ones that published weights bring, and buffers."""
    published = tuple(
        f"{place}." for group, place in PLACES.items() if group in GROUPS[part] and has_published(config, place)
    )
    above = "tokeniser." if part == "tokeniser" else ""
    parameters = {
        name: tensor
        for name, tensor in model.named_parameters()
        if tensor.requires_grad or not f"{above}{name}".startswith(published)
    }
    return dict(sorted((parameters | persistent_buffers(model)).items()))


def read_weights(folder: Path, model: nn.Module, config: DictConfig, part: Part) -> None:
    """Put the folder's weights into a model of its configuration.

    Raises:
        UserError: they cannot be read, or do not fit.
    """
    found = read_tensors(folder / WEIGHTS)
    here = stored(model, config, part)
    odd = sorted(here.keys() ^ found.keys()) or [name for name in here if here[name].shape != found[name].shape]
    if odd:
        raise UserError(
            f"{folder}: {WEIGHTS} does not fit config.yaml: {len(odd)} weights are missing or of another shape, "
            f"{odd[0]} among them."
        )
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(found[name])
