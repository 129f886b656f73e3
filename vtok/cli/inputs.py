"""Checks that a verb's files, folders and weights exist, before the libraries that the verb needs are loaded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_text
from vtok.common.overrides import override
from vtok.common.paths import path_exists, user_path
from vtok.common.weights import WeightsRef, check_available
from vtok.config import check, compose
from vtok.config.check import check_folder
from vtok.config.weights import WITH_WEIGHTS, wanted_weights, weights_of_run
from vtok.data.sources.shards.names import split_pattern
from vtok.hub.files import CONFIG
from vtok.runs.folder import find_run, load_config, resolve_relative_paths, run_of

# Verbs that build the model of a run.
USE_A_RUN = ("evaluate", "describe", "generate", "reconstruct", "tokenise", "export", "probe")
# Verbs that build the data set of a configuration, and some of them its backbone.
USE_DATA = ("data pack", "data check", "data preview", "precompute", "probe", "calibrate")
# Verbs that read or build something else of a configuration.
USE_COMPONENTS = ("plan", "draw")
# Verbs that run the components of a configuration on clips of noise in memory.
USE_NOISE = ("cost", "doctor")
DATA_KEYS = ("data=", "data.", "data@data.source", "+data@data.source")


def check_inputs(verb: str, given: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise UserError if a file, a folder or weights that the verb needs are missing.

    Args:
        verb: name of the verb, such as "describe" or "data check".
        given: arguments of the verb.
        overrides: overrides of a configuration.
    """
    videos = given.get("video") or []
    for video in [videos] if isinstance(videos, str) else videos:
        if not path_exists(video):
            raise UserError(f"video={video}: there is no such file or folder. Use an existing video.")
    if given.get("prompts") is not None:
        prompts = user_path(given["prompts"])
        try:
            read_text(prompts)
        except UserError as error:
            raise UserError(f"prompts={prompts}: {error}") from error
    if verb == "data index":
        check_shard_folder(given["root"])
    if verb in USE_A_RUN and given.get("run") is not None and not given.get("tokenisers"):
        check_run_weights(verb, given["run"], given["outputs"], overrides)
        if verb == "evaluate" and any(item.startswith("data=") for item in overrides):
            check_folder(compose([item for item in overrides if item.startswith(DATA_KEYS)]))
    else:
        check_available([one for config in configs(verb, given, overrides) for one in loaded_weights(verb, config)])


def check_shard_folder(root: str) -> None:
    """Raise UserError if a local folder of shards does not exist."""
    folder = split_pattern(root)[0]
    if "://" not in root and not path_exists(folder):
        raise UserError(f"root={root} is not a folder. Use an existing folder of shards.")


def check_run_weights(verb: str, run: str, outputs: str, overrides: Sequence[str]) -> None:
    """Raise UserError if weights of a run are not available, such as those of a folder that has moved."""
    try:
        check_available(run_weights(verb, run, outputs, overrides))
    except UserError as error:
        if verb == "evaluate":
            raise
        # The other verbs take no keys of a configuration.
        raise UserError(f"{error} Set it in {run_of(find_run(run, outputs)) / CONFIG}.") from error


def run_weights(verb: str, run: str, outputs: str, overrides: Sequence[str]) -> list[WeightsRef]:
    """The weights that the model of a run needs, except those that overrides replace."""
    run_dir = run_of(find_run(run, outputs))
    config = load_config(run_dir)
    resolve_relative_paths(config, run_dir)
    # References are not resolved: the folder may not be trustworthy, and a reference can read environment variables.
    if verb == "evaluate" and not any(item.startswith("generation/judge=") for item in overrides):
        wanted = weights_of_run(config, resolve=False)
    else:
        wanted = wanted_weights(OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]
    overridden = {item.partition("=")[0] for item in overrides}
    return [one for one in wanted if one.key not in overridden]


def configs(verb: str, given: Mapping[str, Any], overrides: Sequence[str]) -> Iterator[DictConfig]:
    """The configurations that a verb without a run composes; those with a data set are checked."""
    if verb in USE_NOISE:
        yield compose([*overrides, "data.cache=null"])
    elif verb in USE_COMPONENTS:
        yield compose(overrides)
    elif verb in USE_DATA:
        outputs = [override("outputs", given["outputs"])] if verb == "probe" else []
        for tokeniser in given.get("tokenisers") or [None]:
            chosen = [] if tokeniser is None else [override("tokeniser", tokeniser)]
            config = compose([*outputs, *overrides, *chosen])
            # Precompute refuses a cache, and a probe checks it itself.
            if config.data.get("cache") is None:
                check(config, plan=False)
            yield config


def loaded_weights(verb: str, config: DictConfig) -> list[WeightsRef]:
    """The weights that a verb without a run loads."""
    if verb == "cost":
        groups = list(WITH_WEIGHTS)
    elif verb in ("probe", "doctor"):
        # Without a backbone if its features come from a cache.
        groups = ["backbone"] if config.data.get("cache") is None else []
    elif verb == "precompute":
        groups = ["backbone", *(["decoder"] if config.objective.get("lambda_dec") else [])]
    else:
        groups = []
    return wanted_weights(OmegaConf.to_container(config, resolve=True), groups)  # type: ignore[arg-type]
