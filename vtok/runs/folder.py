"""The run folder: writing and reading its files, and finding run folders.

A run folder holds `config.yaml` (resolved), `overrides.yaml`, `status.json`, `summary.json` (metrics by name),
`train.log`, `held_out.png` and `checkpoints/`. `OUTPUTS/runs.txt` lists all run folders, also those elsewhere, with the
newest last.
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
from vtok.config.compose import complete_saved
from vtok.config.explain import explain
from vtok.config.options import groups as all_groups
from vtok.data.sources.shards.names import split_pattern

log = logging.getLogger("vtok")

Status = Literal["running", "finished", "stopped", "failed"]
INDEX = "runs.txt"
# Keys of components that name a file or a folder.
PATH_KEYS = ("root", "manifest", "index", "cache", "flow", "weights")


def open_run(run_dir: Path, config: DictConfig, overrides: list[str]) -> None:
    """Create a run folder with its configuration, and add it to the list of runs."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    write_text(run_dir / "overrides.yaml", yaml.safe_dump(overrides))
    index = Path(config.outputs) / INDEX
    index.parent.mkdir(parents=True, exist_ok=True)
    with index.open("a", encoding="utf-8") as file:
        file.write(f"{run_dir.absolute()}\n")


def write_status(run_dir: Path, status: Status, mlflow_run_id: str | None, mlflow_uri: str | None = None) -> None:
    """Write `status.json`: the status of a run, and its MLflow run and store (None without tracking)."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    # Relative paths in the configuration are relative to this directory.
    directory = str(Path.cwd())
    content = {
        "status": status, "mlflow_run_id": mlflow_run_id, "mlflow_uri": mlflow_uri, "at": now, "directory": directory
    }  # fmt: skip
    write_text(run_dir / "status.json", json.dumps(content, indent=1))


def read_status(run_dir: Path) -> dict[str, Any]:
    """The content of `status.json`; empty if the folder does not have the file.

    Raises:
        UserError: the file cannot be read.
    """
    file = run_dir / "status.json"
    status = read_mapping(file) if file.exists() else {}
    for key, value in status.items():
        if not isinstance(value, str | None):
            raise UserError(f"{file}: {key}={value} must be a string or null. Delete the file.")
    return status


def status_of(run_dir: Path) -> str | None:
    """The status of a run; None, with a warning, if it cannot be read."""
    try:
        return read_status(run_dir).get("status")
    except UserError as error:
        log.warning("%s", error)
        return None


def write_summary(run_dir: Path, metrics: dict[str, Any]) -> None:
    write_text(run_dir / "summary.json", json.dumps(metrics, indent=1, sort_keys=True))


def read_summary(run_dir: Path) -> dict[str, float | str]:
    """The metrics in `summary.json`; empty if the folder does not have the file.

    Raises:
        UserError: the file cannot be read.
    """
    file = run_dir / "summary.json"
    metrics = read_mapping(file) if file.exists() else {}
    for name, value in metrics.items():
        if not isinstance(value, int | float | str):
            raise UserError(f"{file}: {name} must be a number or a string. Delete the file, or correct it.")
    return metrics


def read_overrides(run_dir: Path) -> list[str]:
    """The overrides that a run was composed with; empty if none are saved.

    Raises:
        UserError: the file cannot be read.
    """
    file = run_dir / "overrides.yaml"
    overrides = read_yaml(file) if file.exists() else []
    # An empty file is read as an empty mapping.
    if not overrides:
        return []
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise UserError(
            f"{file} must be a list of overrides such as tokeniser.stride=3. Delete the file, or correct it."
        )
    return overrides


def drop_clip_copies(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Remove the copies of `clip` that a resolved configuration has in its data sets, and return these data sets."""
    data = content.get("data")
    if not isinstance(data, dict):
        return []
    named = data.get("sources")
    sources = [one for one in named.values() if isinstance(one, dict)] if isinstance(named, dict) else []
    copies = [one for one in (data, *sources) if "clip" in one and one["clip"] == content.get("clip")]
    for one in copies:
        del one["clip"]
    return copies


def load_config(run_dir: Path, *, groups: Collection[str] | None = None) -> DictConfig:
    """The configuration of a run, checked against the schemas.

    The run's `allowed_targets` are left out. To build its components, a user must allow them again.

    Args:
        run_dir: the run folder, or an exported folder.
        groups: config groups that the configuration must have; None: all.

    Raises:
        UserError: `run_dir` is not a run folder, or its configuration cannot be read, holds a reference, or has an
            unknown key.
    """
    file = run_dir / "config.yaml"
    if not os.path.isfile(file):
        raise UserError(f"run={run_dir} is not a run folder (it has no config.yaml). Give a run folder, or run=latest.")
    content = read_mapping(file)
    read_by_clip = drop_clip_copies(content)
    wanted = [group for group in all_groups() if "/" not in group] if groups is None else groups
    for name in wanted:
        if not isinstance(content.get(name), dict):
            raise UserError(f"{file}: {name} is missing. Give a folder that holds the configuration of a run.")
    for place, value in leaves(content, ""):
        # A reference could have one value when it is checked and another when the component is built.
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{file}: {place}={value}: runs write no references. Write the value itself.")
    # Where the run was resumed from does not describe the run.
    content.pop("resume", None)
    content.pop("allowed_targets", None)
    # References to the clip and to the backbone were resolved in the file. Restore them, so that each exists once.
    for data in read_by_clip:
        data["clip"] = "${clip}"
    config = OmegaConf.create(content)
    if content["tokeniser"].get("backbone") == content["backbone"]:
        config.tokeniser.backbone = "${backbone}"
    try:
        checked = complete_saved(config)
        missing = sorted(key for key in OmegaConf.missing_keys(checked) if key.partition(".")[0] in wanted)
    except UserError as error:
        raise UserError(f"run={run_dir}: its config.yaml does not fit this version. {error}") from error
    # OmegaConf passes some built-in exceptions through.
    except (OmegaConfBaseException, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"run={run_dir}: its config.yaml does not fit this version. {explain(error, ())}") from error
    if missing:
        raise UserError(f"{file}: {missing[0]} is missing. Give a folder that holds the configuration of a run.")
    return checked


def resolve_relative_paths(config: DictConfig, run_dir: Path) -> list[Path]:
    """Resolve the relative paths of a run's configuration against the directory that the run was started in.

    A path is changed only if it exists there. Hub ids stay as they are, and so do the paths of a run from another
    machine, or of one whose `status.json` does not name its directory.

    Returns:
        The roots of data sets that exist neither there nor in the working directory.
    """
    directory = Path(read_status(run_dir).get("directory") or Path.cwd())
    missing = []
    for path, node in nodes(config):
        for key in (key for key in PATH_KEYS if key in node):
            value = None if OmegaConf.is_interpolation(node, key) else node.get(key)
            if not isinstance(value, str) or not value or "://" in value or value.startswith(("/", "~")):
                continue
            # The root of shards may end with a pattern of file names.
            place = split_pattern(value)[0] if "index" in node else value
            if (directory / place).exists():
                node[key] = str(directory / value)
            elif key == "root" and path.startswith("data") and not Path(place).exists():
                missing.append(directory / place)
    return missing


def find_run(run: str, outputs: str, *, setting: str = "run") -> Path:
    """The run folder at a path, or for "latest" that of the newest run that finished or was stopped.

    Args:
        run: path of the folder, or "latest".
        outputs: folder whose list of runs is searched for "latest".
        setting: name of the setting that holds `run`, for the message.

    Raises:
        UserError: the folder does not exist, or no run has finished.
    """
    if run != "latest":
        # Path.is_dir fails on names that are too long.
        if not os.path.isdir(user_path(run)):
            raise UserError(f"{setting}={run} is not a folder. Use the folder of a run, or {setting}=latest.")
        return user_path(run)
    for path in reversed(listed_runs(outputs)):
        if status_of(path) in ("finished", "stopped"):
            return path
    raise UserError(
        f"{setting}=latest: no run has finished in {outputs}. Train a model with `vtok train`, or set {setting}=FOLDER."
    )


def run_of(path: Path) -> Path:
    """The run folder of a path, which is a run folder or one of its checkpoints."""
    return path.parent.parent if (path / "state.json").is_file() else path


def listed_runs(outputs: str) -> list[Path]:
    """All run folders that still exist, ordered by their last start, the newest last."""
    index = Path(outputs) / INDEX
    lines = read_text(index).splitlines() if os.path.exists(index) else []
    newest_last = dict.fromkeys(reversed(lines))
    return [Path(line) for line in reversed(newest_last) if os.path.isdir(line)]


def shown(path: Path) -> str:
    """The path for a message: relative to the working directory if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
