"""The run folder: what a run writes about itself, and how a run is found again.

A run folder holds `config.yaml` (resolved), `overrides.yaml`, `status.json`, `summary.json` (flat figures by name),
`train.log`, `held_out.png` and `checkpoints/`. `OUTPUTS/runs.txt` lists all run folders, wherever they are, the newest
last.
"""

import json
import logging
import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import read_mapping, read_text, read_yaml
from vtok.common.nested import leaves, nodes
from vtok.common.paths import user_path
from vtok.config.compose import explain, typed
from vtok.config.moved import with_new_key, with_one_clip
from vtok.config.options import groups as all_groups
from vtok.data.sources.shards.names import split_pattern

log = logging.getLogger("vtok")

Status = Literal["running", "finished", "stopped", "failed"]
INDEX = "runs.txt"
# What runs of earlier versions name, and what the same settings belong to now.
MOVED = {
    "torch.optim.AdamW": "vtok.training.optimisers.AdamW",
    "torch.optim.Adafactor": "vtok.training.optimisers.Adafactor",
    "torch.optim.SGD": "vtok.training.optimisers.Sgd",
    "transformers.get_scheduler": "vtok.training.schedule.schedule",
    "vtok.training.adamw8bit.AdamW8bit": "vtok.training.optimisers.AdamW8bit",
    "vtok.training.muon.MuonAdamW": "vtok.training.optimisers.MuonAdamW",
    "vtok.objective.Objective": "vtok.model.Objective",
}
# Keys of components that name a file or a folder.
PLACES = ("root", "manifest", "index", "cache", "weights")


def open_run(run_dir: Path, config: DictConfig, overrides: list[str]) -> None:
    """Make the folder, write the configuration into it, and put it on the list of runs."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    write_text(run_dir / "overrides.yaml", yaml.safe_dump(overrides))
    index = Path(config.outputs) / INDEX
    index.parent.mkdir(parents=True, exist_ok=True)
    with index.open("a", encoding="utf-8") as file:
        file.write(f"{run_dir.absolute()}\n")


def write_status(run_dir: Path, status: Status, mlflow_run_id: str | None, mlflow_uri: str | None = None) -> None:
    """How the run stands, and what MLflow run it is in the store at `mlflow_uri`, both None where it is not tracked."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    # Relative paths of the configuration count from there.
    directory = str(Path.cwd())
    content = {
        "status": status, "mlflow_run_id": mlflow_run_id, "mlflow_uri": mlflow_uri, "at": now, "directory": directory
    }  # fmt: skip
    write_text(run_dir / "status.json", json.dumps(content, indent=1))


def read_status(run_dir: Path) -> dict[str, Any]:
    """`status`, `mlflow_run_id` and `mlflow_uri`; empty where the folder has none.

    Raises:
        UserError: it cannot be read.
    """
    file = run_dir / "status.json"
    status = read_mapping(file) if file.exists() else {}
    for key, value in status.items():
        if not isinstance(value, str | None):
            raise UserError(f"{file}: {key}={value} must be a text or null.")
    return status


def status_of(run_dir: Path) -> str | None:
    """How one run of many stands; None, with a warning, where that cannot be read."""
    try:
        return read_status(run_dir).get("status")
    except UserError as error:
        log.warning("%s", error)
        return None


def write_summary(run_dir: Path, figures: dict[str, Any]) -> None:
    write_text(run_dir / "summary.json", json.dumps(figures, indent=1, sort_keys=True))


def read_summary(run_dir: Path) -> dict[str, float | str]:
    """The figures of `summary.json`; empty where the folder has none.

    Raises:
        UserError: it cannot be read.
    """
    file = run_dir / "summary.json"
    figures = read_mapping(file) if file.exists() else {}
    for name, value in figures.items():
        if not isinstance(value, int | float | str):
            raise UserError(f"{file}: {name} must be a number or a text.")
    return figures


def read_overrides(run_dir: Path) -> list[str]:
    """What the run was composed with, keys by their names of today; empty where the folder does not say.

    Raises:
        UserError: it cannot be read.
    """
    file = run_dir / "overrides.yaml"
    overrides = read_yaml(file) if file.exists() else []
    # An empty file is an empty mapping.
    if not overrides:
        return []
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise UserError(f"{file}: it must be a list of texts such as tokeniser.stride=3.")
    return [with_new_key(item) for item in overrides]


def load_config(run_dir: Path, *, groups: Collection[str] | None = None) -> DictConfig:
    """The configuration that a run was made with, held to the schemas.

    Which packages it trusted is left out: whoever builds something says that anew in `allowed_targets`.

    Args:
        run_dir: the run folder, or an exported folder.
        groups: that must be in it; all where None.

    Raises:
        UserError: this is no run folder, or its configuration cannot be read, refers to something, or has a key that
            exists no longer.
    """
    file = run_dir / "config.yaml"
    if not os.path.isfile(file):
        raise UserError(f"run={run_dir}: this is no run folder (it has no config.yaml).")
    content = read_mapping(file)
    read_by_clip = with_one_clip(content)
    wanted = [group for group in all_groups() if "/" not in group] if groups is None else groups
    for name in wanted:
        if not isinstance(content.get(name), dict):
            raise UserError(f"{file}: {name} is missing. It must be the configuration of a run.")
    for place, value in leaves(content, ""):
        # What it refers to could be another when it is built than when it is looked at.
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{file}: {place}={value}: runs write no references, and none is followed.")
    for group in ("objective", "optimiser", "scheduler"):
        named = content[group].get("_target_") if isinstance(content.get(group), dict) else None
        if isinstance(named, str) and named in MOVED:
            content[group]["_target_"] = MOVED[named]
    # Where that run went on from says nothing of what it is.
    content.pop("resume", None)
    content.pop("allowed_targets", None)
    # One clip again, as it was before the references were resolved for the reader.
    for data in read_by_clip:
        data["clip"] = "${clip}"
    config = OmegaConf.create(content)
    # And one backbone.
    if content["tokeniser"].get("backbone") == content["backbone"]:
        config.tokeniser.backbone = "${backbone}"
    try:
        whole = typed(config)
        missing = sorted(key for key in OmegaConf.missing_keys(whole) if key.partition(".")[0] in wanted)
    except UserError as error:
        raise UserError(f"run={run_dir}: its config.yaml does not fit this version. {error}") from error
    # OmegaConf lets a few errors of Python's own through.
    except (OmegaConfBaseException, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"run={run_dir}: its config.yaml does not fit this version. {explain(error, ())}") from error
    if missing:
        raise UserError(f"{file}: {missing[0]} is missing. It must be the configuration of a run.")
    return whole


def anchor(config: DictConfig, run_dir: Path) -> list[Path]:
    """Let the relative paths of a run's configuration count from the directory that the run was started in.

    Only those are changed under which something lies there: hub ids stay, and so do paths of a run that was moved here
    from another machine, or that does not say where it was started.

    Returns:
        The roots of data sets that lie neither there nor here, where they were.
    """
    directory = Path(read_status(run_dir).get("directory") or Path.cwd())
    lost = []
    for path, node in nodes(config):
        for key in (key for key in PLACES if key in node):
            value = None if OmegaConf.is_interpolation(node, key) else node.get(key)
            if not isinstance(value, str) or not value or "://" in value or value.startswith(("/", "~")):
                continue
            # The root of shards may go on with a pattern of their names.
            place = split_pattern(value)[0] if "index" in node else value
            if (directory / place).exists():
                node[key] = str(directory / value)
            elif key == "root" and path.startswith("data") and not Path(place).exists():
                lost.append(directory / place)
    return lost


def find_run(run: str, outputs: str, *, setting: str = "run") -> Path:
    """A run folder by its path, or "latest": the newest run that finished or was stopped.

    Args:
        run: the path, or "latest".
        outputs: the folder whose newest run is meant.
        setting: by this name the user gave `run`.

    Raises:
        UserError: there is none.
    """
    if run != "latest":
        # Unlike the method of a path, this takes names of any length.
        if not os.path.isdir(user_path(run)):
            raise UserError(f"{setting}={run}: there is no such folder; give a run folder, or latest.")
        return user_path(run)
    for path in reversed(listed_runs(outputs)):
        if status_of(path) in ("finished", "stopped"):
            return path
    raise UserError(
        f"{setting}=latest: no run has finished in {outputs}; train one first (vtok train), or give {setting}=FOLDER."
    )


def run_of(path: Path) -> Path:
    """The run folder that a path means: itself, or that of a checkpoint of it."""
    return path.parent.parent if (path / "state.json").is_file() else path


def listed_runs(outputs: str) -> list[Path]:
    """All run folders that still exist, oldest first, by when they were last begun."""
    index = Path(outputs) / INDEX
    lines = read_text(index).splitlines() if os.path.exists(index) else []
    newest_last = dict.fromkeys(reversed(lines))
    return [Path(line) for line in reversed(newest_last) if os.path.isdir(line)]


def shown(path: Path) -> str:
    """The path as it is told to a person: relative to the working directory where it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
