"""vtok precompute: computes the feature maps of a frozen backbone once."""

import logging
from collections.abc import Sequence
from typing import Literal

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.overrides import command, override
from vtok.common.paths import user_path
from vtok.common.setting_types import Count
from vtok.config import check, compose
from vtok.config.cross_checks import check_cacheable, needs_pixels
from vtok.config.nodes import constant_of, planner_of
from vtok.config.options import options_of
from vtok.data.broken_clips import list_bad
from vtok.data.clip_reader import Planner
from vtok.data.plan import EvenPlanner
from vtok.evaluation.probing.run import FRAMES
from vtok.training.cache_estimate import Estimate
from vtok.training.precompute import precompute as make_cache

log = logging.getLogger("vtok")


def precompute(
    *,
    out: str,
    tokenisers: Sequence[str] = (),
    strides: Sequence[Count] = (),
    probe: bool = True,
    attention: bool = True,
    dtype: Literal["float16", "bfloat16", "float32"] = "float16",
    block: Count = 64,
    estimate: bool = False,
    overrides: Sequence[str] = (),
) -> str:
    """Compute a frozen backbone's feature maps once; with data.cache=FOLDER every tokeniser trains from them.

    Takes train's overrides. The cache holds the feature map of each frame that one of the tokenisers plans, once,
    whichever tokenisers and versions of a clip (data=twins) share it, and the targets of a trained decoder: latents of
    its VAE, or frames. Size and time are reported first. Several processes may work on one folder. The same command
    resumes after an interruption; with other clips, tokenisers or strides it adds what is missing. For smaller maps set
    backbone.map_size.

    Args:
        out: output folder.
        tokenisers: options of the group tokeniser whose frames are cached; all that read feature maps if the overrides
            choose none.
        strides: values of tokeniser.stride for which each tokeniser that has one is planned, besides its own.
        probe: whether the frames whose features vtok probe reconstructs are cached too.
        attention: whether the attention that each place receives is cached, which tokeniser=visionzip reads.
        dtype: number format of the maps; float32 gives the same losses as the files.
        block: approximate number of clips in a file; after a crash, unfinished files are computed again.
        estimate: report size and time, and write nothing.
        overrides: overrides of the configuration.

    Raises:
        UserError: if a configuration does not fit, or as in `vtok.training.precompute.precompute`.
    """
    configs = configurations(tokenisers, strides, overrides)
    for config in configs:
        if config.data.get("cache") is not None:
            raise UserError(
                f"data.cache={config.data.cache}: a cache is computed from files, not from another cache. Remove this "
                "key, and set out=FOLDER."
            )
        check(config)
        check_cacheable(config, override=f"out={out}")
    own = [planner for config in configs if (planner := planner_of(config)) is not None]
    planners: list[Planner] = [each for planner in own for each in (planner, planner.for_training())]
    if probe:
        planners.append(EvenPlanner(FRAMES))
    made = make_cache(
        configs[0],
        user_path(out),
        planners=planners,
        block=block,
        dtype=dtype,
        attention=attention,
        only_estimate=estimate,
        progress=configs[0].trainer.progress,
    )
    if isinstance(made, Estimate):
        return f"{made}. Nothing was written, because estimate=true."
    each = made.bytes / max(1, made.pictures)
    lines = [
        f"{made.clips} clips in {made.blocks} blocks: {made.pictures} pictures, {made.bytes / 1e9:.3g} GB, "
        f"{each / 1e3:.3g} kB a picture, in {out}"
    ]
    if made.bad:
        lines.append(f"{len(made.bad)} files are broken:\n{list_bad(made.bad)}")
    return "\n".join([*lines, command("python", "train.py", *overrides, override("data.cache", out))])


def configurations(tokenisers: Sequence[str], strides: Sequence[int], overrides: Sequence[str]) -> list[DictConfig]:
    """The configurations whose plans are united.

    Without a choice these are all tokenisers that read feature maps. Those that the overrides do not fit, such as a
    recipe's tokeniser.stride, are left out, and named in the log.

    Raises:
        UserError: if an override does not fit the default tokeniser, or one that is asked for by name.
    """
    if tokenisers or any(item.startswith("tokeniser=") for item in overrides):
        chosen = [[*overrides, override("tokeniser", name)] for name in tokenisers] or [list(overrides)]
        return [config for option in chosen for config in with_strides(option, strides)]
    compose(list(overrides))
    configs: list[DictConfig] = []
    unfit = []
    for name in options_of("tokeniser"):
        option = [*overrides, override("tokeniser", name)]
        try:
            config, *others = with_strides(option, strides)
        except UserError:
            unfit.append(name)
            continue
        if constant_of(config.tokeniser, "needs_files", False) or needs_pixels(config):
            continue
        configs += [config, *others]
    if unfit:
        log.info("left out, as the overrides do not fit them: tokeniser=%s", ", ".join(unfit))
    return configs


def with_strides(overrides: Sequence[str], strides: Sequence[int]) -> list[DictConfig]:
    """The configuration of overrides, and if its tokeniser has a stride, that of each further stride."""
    config = compose(overrides)
    more = strides if "stride" in config.tokeniser else ()
    return [config, *(compose([*overrides, f"tokeniser.stride={each}"]) for each in more)]
