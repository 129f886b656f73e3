"""vtok precompute: computes the features of a frozen backbone once."""

from collections.abc import Sequence
from typing import Literal

from vtok.common.errors import UserError
from vtok.common.overrides import command, override
from vtok.common.paths import user_path
from vtok.common.setting_types import Count
from vtok.config import check, compose
from vtok.config.cross_checks import check_cacheable
from vtok.data.broken_clips import list_bad
from vtok.training.precompute import precompute as make_cache


def precompute(
    *,
    out: str,
    block: Count = 256,
    dtype: Literal["float32", "bfloat16"] = "float32",
    overrides: Sequence[str] = (),
) -> str:
    """Compute a frozen backbone's features of each clip once; data.cache=FOLDER then trains without the backbone.

    Takes train's overrides. The cache holds pooled features, and the targets of a trained decoder: latents of its VAE,
    or frames. Several processes may work on one folder. The same command resumes after an interruption, and adds new
    clips and clips whose files have changed.

    Args:
        out: output folder.
        block: approximate number of clips in a file; after a crash, unfinished files are computed again.
        dtype: number format of the features: float32 for the same losses as from the files, bfloat16 for half the size.
        overrides: overrides of the configuration.

    Raises:
        UserError: if the configuration does not fit, or as in `vtok.training.precompute.precompute`.
    """
    config = compose(overrides)
    if config.data.get("cache") is not None:
        raise UserError(
            f"data.cache={config.data.cache}: a cache is computed from files, not from another cache. Remove this key, "
            "and set out=FOLDER."
        )
    check(config)
    check_cacheable(config, override=f"out={out}")
    made = make_cache(config, user_path(out), block=block, dtype=dtype, progress=config.trainer.progress)
    each = made.bytes / max(1, made.clips - len(made.bad))
    lines = [
        f"{made.clips} clips in {made.blocks} blocks, {made.bytes / 1e9:.3g} GB, {each / 1e3:.3g} kB a clip, in {out}"
    ]
    if made.bad:
        lines.append(f"{len(made.bad)} of them are broken:\n{list_bad(made.bad)}")
    return "\n".join([*lines, command("python", "train.py", *overrides, override("data.cache", out))])
