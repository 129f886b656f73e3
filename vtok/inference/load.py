"""Loads a trained run for the verbs that use one."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vtok.common.errors import UserError
from vtok.config import check, compose
from vtok.config.budget import read_budget
from vtok.config.compose import groups, settle
from vtok.config.explain import explain
from vtok.config.mixture import limit_sources
from vtok.feature_cache import without_cache
from vtok.hub.files import exported_part, is_exported
from vtok.hub.folder import read_weights
from vtok.model import VideoLanguageModel
from vtok.model.build import build_model, device_of, report_build_errors
from vtok.runs.folder import find_run, load_config, resolve_relative_paths, run_of
from vtok.training.checkpoint import latest_checkpoint, load_weights

log = logging.getLogger(__name__)

# The beginnings of overrides that add a source to a mixture, or choose that of twins.
SOURCES = ("+data@data.source", "data@data.source")
NAMES_CLIPS = re.compile(r"data=|data\.(source\.)?(sources\.[^.]+\.)?root=")


def load_run(
    run: str,
    *,
    outputs: str,
    overrides: Sequence[str] = (),
    allowed_targets: Sequence[str] = (),
    cached: bool = False,
    clips: bool = False,
) -> tuple[Path, DictConfig, VideoLanguageModel]:
    """Load a run: its folder, its configuration with `overrides`, and its model in eval mode.

    If the run averaged its weights (trainer.ema_decay), the model has the averaged weights, as in the run's evaluation.

    Args:
        run: run folder, a checkpoint of one, an exported folder, or latest: the newest run that finished or was
            stopped. A run folder's newest checkpoint is loaded.
        outputs: folder in which runs are looked for.
        overrides: overrides of the run's configuration; `data=OPTION` replaces its data set, and
            `generation/judge=OPTION` its judge.
        allowed_targets: packages of the user's own whose components may be built; the folder cannot allow packages.
        cached: whether to leave the backbone out if the run was trained from a feature cache.
        clips: whether the run's clips are needed, which an exported folder does not name.

    Raises:
        UserError: if there is no such run, it has no checkpoint, an override does not fit, an exported folder holds
            only a tokeniser or names no clips, or a class is not a component or not allowed.
    """
    named = find_run(run, outputs)
    run_dir = run_of(named)
    exported = is_exported(run_dir)
    if exported and exported_part(run_dir) != "model":
        raise UserError(
            f"run={run}: this folder holds only a tokeniser. Export the run with part=model to use it in commands. "
            "Use vtok.hub.from_pretrained to load the tokeniser in Python."
        )
    if exported and clips and not any(NAMES_CLIPS.match(item) for item in overrides):
        raise UserError(
            f"run={run}: an exported folder names no clips. Set data=folder data.root=PATH, or data=shapes."
        )
    checkpoint = latest_checkpoint(run_dir) if named == run_dir and not exported else named
    config = load_config(run_dir)
    config.allowed_targets = list(allowed_targets)
    lost = resolve_relative_paths(config, run_dir)
    if lost and clips and not any(NAMES_CLIPS.match(item) for item in overrides):
        log.warning(
            "run=%s: its folder of clips, %s, no longer exists. Clips are read from, or made again in, %s.",
            run, lost[0], Path(config.data.get("root", "")).absolute(),
        )  # fmt: skip
    OmegaConf.set_struct(config, True)
    if any(item.startswith("data=") for item in overrides):
        config.data = other_data(overrides)
    if any(item.startswith("generation/judge=") for item in overrides):
        judge = overrides_of(overrides, "generation/judge=", "generation.judge.")
        config.generation.judge = compose(judge).generation.judge
    remaining = [item for item in overrides if not item.startswith(("data=", *SOURCES, "generation/judge="))]
    for item in remaining:
        if item.partition("=")[0].replace(".", "/") in groups():
            raise UserError(
                f"{item}: the components of a trained run cannot be replaced, except data and generation/judge. "
                "Set data=folder data.root=PATH for other clips, or a key of a component, such as loader.batch_size=8."
            )
        try:
            config.merge_with_dotlist([item])
        except OmegaConfBaseException as error:
            raise UserError(explain(error, remaining)) from error
        except YAMLError as error:
            raise UserError(f"{item}: the value cannot be read. Put it in quotes: KEY='VALUE'.") from error
    limit_sources(config)
    if any(item.startswith("tokeniser.budget=") for item in remaining):
        settle(config, read_budget(config), remaining)
    if not cached:
        without_cache(config)
    # The full configuration: commands build more than the model, such as the data source.
    check(config, files=False)
    with report_build_errors(run_dir):
        model = build_model(config)
    if exported:
        read_weights(run_dir, model, config, "model")
    else:
        load_weights(checkpoint, model, averaged=True)
    model.place(device_of(config))
    return run_dir, config, model.eval()


def other_data(overrides: Sequence[str]) -> DictConfig:
    """The data group of a configuration composed from `data=OPTION` and the other data overrides.

    Raises:
        UserError: if there is no such option, or a required key has no value.
    """
    return compose(overrides_of(overrides, "data=", *SOURCES, "data.")).data


def overrides_of(overrides: Sequence[str], *prefixes: str) -> list[str]:
    return [item for item in overrides if item.startswith(prefixes)]
