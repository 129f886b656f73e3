"""A trained tokeniser, or a whole trained model, as a folder, and back.

The folder holds `export.json`, which says what it is, `config.yaml`, what is to be built, `model.safetensors`, the
weights by name, `summary.json`, the run's figures, and `README.md`, the model card. Frozen parts that came from
published weights are not copied: the configuration names them. Frozen parts with random weights are copied, since no
seed promises the same numbers for good.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalEntryNotFoundError
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import vtok
from vtok.build import build, build_model
from vtok.config.schemas import OPTIONS
from vtok.errors import UserError
from vtok.feature_cache import without_cache
from vtok.hub.card import write_card
from vtok.model import VideoLanguageModel
from vtok.runs import load_config, run_of
from vtok.tokeniser import Tokeniser
from vtok.training.checkpoint import latest_checkpoint, load_weights, persistent_buffers, trained_weights

Part = Literal["tokeniser", "model"]
WEIGHTS, MARK = "model.safetensors", "export.json"
GROUPS = {
    "tokeniser": ("backbone", "tokeniser"),
    "model": ("backbone", "tokeniser", "mllm", "visual_head", "decoder", "objective"),
}
# Where a component lies in the whole model, for those that may be frozen with weights of their own.
PLACES = {"backbone": "tokeniser.backbone", "mllm": "mllm", "decoder": "decoder"}
# Of this machine or of the training alone.
NO_TRACKER = "vtok.tracking.none.NoTracker"
FORGOTTEN = ("resume", "outputs", "name", "optimise")


def save_pretrained(run: Path, folder: Path, *, part: Part, licence: str | None = None) -> Path:
    """Write a part of a run, or of one of its checkpoints, to a new folder, whole or not at all.

    The weights are the averaged ones where the run kept them (trainer.ema_decay), as in its own evaluation.

    Args:
        run: a run folder (its newest checkpoint), or a checkpoint.
        folder: that does not exist yet, or is empty.
        part: the tokeniser alone, or all that was trained.
        licence: for the model card, by the hub's short names.

    Raises:
        UserError: the run has no checkpoint, or the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"out={folder}: there is something already; name a new folder.")
    run_dir = run_of(run)
    checkpoint = latest_checkpoint(run_dir) if run == run_dir else run
    config = load_config(run_dir)
    without_cache(config)
    model = build_model(config)
    load_weights(checkpoint, model, averaged=True)
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = kept_config(config, part)
    exported = model.tokeniser if part == "tokeniser" else model
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in stored(exported, kept, part).items()}
    save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
    (partial / MARK).write_text(json.dumps({"part": part, "version": vtok.__version__}), encoding="utf-8")
    (partial / "config.yaml").write_text(OmegaConf.to_yaml(kept, resolve=True), encoding="utf-8")
    summary = run_dir / "summary.json"
    figures = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
    (partial / "summary.json").write_text(json.dumps(figures, indent=1, sort_keys=True), encoding="utf-8")
    write_card(partial, part=part, config=kept, figures=figures, run_dir=run_dir, licence=licence)
    if folder.exists():
        folder.rmdir()
    partial.replace(folder)
    return folder


def from_pretrained(
    place: str | Path,
    *,
    revision: str | None = None,
    weights: Mapping[str, str] | None = None,
    trust: Sequence[str] = (),
) -> Tokeniser | VideoLanguageModel:
    """The tokeniser or the model that `save_pretrained` wrote, in eval mode on the CPU.

    A configuration names code that is run, and this one may be a stranger's: only this project's own components are
    built, and those of packages that are trusted by name.

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
    config = load_config(folder)
    part: Part = json.loads((folder / MARK).read_text(encoding="utf-8"))["part"]
    for group, path in (weights or {}).items():
        config[group].weights = path
    check_trusted(config, GROUPS[part], trust)
    model = build(config.tokeniser) if part == "tokeniser" else build_model(config)
    read_weights(folder, model, config, part)
    return model.eval()


def push_to_hub(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder of `save_pretrained`; the repository is made where there is none. Returns its address.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    hub = HfApi()
    try:
        url = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by vtok export")
    except (HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        raise UserError(
            f"push={repository}: the hub did not take it ({type(error).__name__}: {str(error).splitlines()[0]}); "
            f"log in by `hf auth login`, then push {folder} again."
        ) from error
    return str(url)


def kept_config(config: DictConfig, part: Part) -> DictConfig:
    """What of a run's configuration goes with the part."""
    kept = config.copy()
    OmegaConf.set_struct(kept, False)
    for key in FORGOTTEN if part == "model" else [key for key in config if key not in GROUPS[part]]:
        kept.pop(key, None)
    if part == "model":
        # Commands build a data source to read a clip as the run did, whatever lies there.
        kept.data.root, kept.tracking = ".", {"_target_": NO_TRACKER}
    return kept


def stored(model: nn.Module, config: DictConfig, part: Part) -> dict[str, Tensor]:
    """The weights that a folder holds: trained ones, buffers, and frozen ones that no published weights bring."""
    tensors = trained_weights(model) | persistent_buffers(model)
    for group, place in PLACES.items():
        if group in GROUPS[part] and not config[group].get("weights"):
            prefix = place.removeprefix("tokeniser.") if part == "tokeniser" else place
            tensors |= {name: tensor for name, tensor in model.named_parameters() if name.startswith(f"{prefix}.")}
    return dict(sorted(tensors.items()))


def read_weights(folder: Path, model: nn.Module, config: DictConfig, part: Part) -> None:
    """Put the folder's weights into a model of its configuration.

    Raises:
        UserError: they do not fit.
    """
    here, found = stored(model, config, part), load_file(folder / WEIGHTS)
    odd = sorted(here.keys() ^ found.keys()) or [name for name in here if here[name].shape != found[name].shape]
    if odd:
        raise UserError(
            f"{folder}: {WEIGHTS} does not fit config.yaml: {len(odd)} weights are missing or of another shape, "
            f"{odd[0]} among them."
        )
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(found[name])


def fetch(place: str, *, revision: str | None) -> Path:
    """The folder of that name, or of that id on the hub or in its local cache.

    Raises:
        UserError: there is neither, or it is none of ours.
    """
    folder = Path(place).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(place, revision=revision))
        except (HfHubHTTPError, HFValidationError, HTTPError, LocalEntryNotFoundError, OSError) as error:
            raise UserError(
                f"{place}: there is no such folder, and the hub does not give it ({type(error).__name__})."
            ) from error
    if not is_exported(folder):
        raise UserError(f"{place}: it was not written by vtok export; for a run or a checkpoint, export it first.")
    return folder


def is_exported(folder: Path) -> bool:
    """Whether a folder was written by `save_pretrained`."""
    return (folder / MARK).is_file() and (folder / WEIGHTS).is_file()


def check_trusted(config: DictConfig, groups: Sequence[str], trust: Sequence[str]) -> None:
    """Raise UserError where a component is neither of this project nor of a package that is trusted."""
    known = {str(vars(schema)["_target_"]) for options in OPTIONS.values() for schema in options.values()}
    for path, target in targets(OmegaConf.to_container(OmegaConf.masked_copy(config, list(groups)), resolve=True), ""):
        if target not in known and target.split(".")[0] not in trust:
            raise UserError(
                f"{path}._target_={target}: it is no component of this project, and is not run. If you trust the "
                f"package, say from_pretrained(..., trust=[{target.split('.')[0]!r}])."
            )


def targets(node: Any, path: str) -> list[tuple[str, str]]:
    """Every `_target_` below a node, with its place."""
    if isinstance(node, dict):
        below = [one for key, value in node.items() for one in targets(value, f"{path}.{key}".lstrip("."))]
        return [(path, str(node["_target_"])), *below] if "_target_" in node else below
    if isinstance(node, list):
        return [one for number, value in enumerate(node) for one in targets(value, f"{path}[{number}]")]
    return []
