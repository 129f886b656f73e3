"""What the verbs that use a trained run have in common."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vtok.common.errors import UserError
from vtok.config import check, compose
from vtok.config.compose import explain, groups
from vtok.config.mixture import limit_sources
from vtok.feature_cache import without_cache
from vtok.hub.files import is_exported, part_of
from vtok.hub.folder import read_weights
from vtok.model import VideoLanguageModel
from vtok.model.build import build_model, building_from, device_of
from vtok.runs.folder import anchor, find_run, load_config, run_of
from vtok.training.checkpoint import latest_checkpoint, load_weights

log = logging.getLogger(__name__)

# As a data set is composed into a mixture.
SOURCE = "+data@data.sources."
NAMES_CLIPS = re.compile(r"data=|data\.(sources\.[^.]+\.)?root=")


def load_run(
    run: str,
    *,
    outputs: str,
    overrides: Sequence[str] = (),
    allowed_targets: Sequence[str] = (),
    cached: bool = False,
    clips: bool = False,
) -> tuple[Path, DictConfig, VideoLanguageModel]:
    """A run's folder, its configuration with `overrides`, and its model with the weights of a checkpoint.

    The checkpoint is the newest, or the one that `run` is the folder of. The weights are the averaged ones where the
    run kept them (trainer.ema_decay), as in its own evaluation. The model is to be used as it is.

    Args:
        run: see `vtok.cli.dispatch`.
        outputs: folder in which runs are looked for.
        overrides: of the run's configuration; `data=OPTION` has another data set in the place of its own, and
            `generation/judge=OPTION` another judge.
        allowed_targets: packages of one's own, whose components are built; the folder has no say in it.
        cached: leave the backbone out where the run was trained from a feature cache, as it was then.
        clips: whether the clips of its data set are wanted, which an exported folder does not name.

    Raises:
        UserError: there is no such run, it has no checkpoint, an override does not fit, or what was exported is a
            tokeniser alone, names no clips, or a class is named that is not a component or not allowed.
    """
    named = find_run(run, outputs)
    run_dir = run_of(named)
    exported = is_exported(run_dir)
    if exported and part_of(run_dir) != "model":
        raise UserError(
            f"run={run}: a tokeniser alone was exported there; in Python vtok.hub.from_pretrained has it, and for "
            "commands export part=model."
        )
    if exported and clips and not any(NAMES_CLIPS.match(item) for item in overrides):
        raise UserError(
            f"run={run}: what was exported names no clips; say which, by data=folder data.root=PATH or data=shapes."
        )
    checkpoint = latest_checkpoint(run_dir) if named == run_dir and not exported else named
    config = load_config(run_dir)
    config.allowed_targets = list(allowed_targets)
    lost = anchor(config, run_dir)
    if lost and clips and not any(NAMES_CLIPS.match(item) for item in overrides):
        log.warning(
            "run=%s: its clips were in %s, where nothing is now. They are looked for, or made again, in %s.",
            run, lost[0], Path(config.data.get("root", "")).absolute(),
        )  # fmt: skip
    OmegaConf.set_struct(config, True)
    given = overrides
    if any(item.startswith("data=") for item in given):
        config.data = other_data(given)
    if any(item.startswith("generation/judge=") for item in given):
        config.generation.judge = compose(of(given, "generation/judge=", "generation.judge.")).generation.judge
    overrides = [item for item in given if not item.startswith(("data=", SOURCE, "generation/judge="))]
    for item in overrides:
        if item.partition("=")[0].replace(".", "/") in groups():
            raise UserError(
                f"{item}: a trained run keeps its components, but for the data set (data=folder data.root=PATH) and "
                "generation/judge; keys of them can be changed, for example loader.batch_size=8."
            )
        try:
            config.merge_with_dotlist([item])
        except OmegaConfBaseException as error:
            raise UserError(explain(error, overrides)) from error
        except YAMLError as error:
            raise UserError(f"{item}: the value cannot be read; put it in quotes, KEY='VALUE'.") from error
    limit_sources(config)
    if not cached:
        without_cache(config)
    # Of all of it: commands build more than the model, such as the data source.
    check(config, files=False)
    with building_from(run_dir):
        model = build_model(config)
    if exported:
        read_weights(run_dir, model, config, "model")
    else:
        load_weights(checkpoint, model, averaged=True)
    model.place(device_of(config))
    return run_dir, config, model.eval()


def other_data(overrides: Sequence[str]) -> DictConfig:
    """Another data set for a trained run, `data=OPTION` with its keys; its clips are read as the run's own are.

    Raises:
        UserError: there is no such option, or a key of it that is needed has no value.
    """
    return compose(of(overrides, "data=", SOURCE, "data.")).data


def of(overrides: Sequence[str], *keys: str) -> list[str]:
    return [item for item in overrides if item.startswith(keys)]
