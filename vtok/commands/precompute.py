"""vtok precompute: the features of a frozen backbone, once."""

from vtok.config import check, compose
from vtok.config.pairs import check_cacheable
from vtok.data.report import list_bad
from vtok.errors import UserError
from vtok.feature_cache.making import precompute
from vtok.overrides import command, override
from vtok.paths import user_path


def precompute_command(*, out: str, block: int, dtype: str, overrides: list[str]) -> str:
    """Make or finish the feature cache of a configuration; returns what to tell the user.

    Raises:
        UserError: the configuration does not fit, or see `precompute`.
    """
    if block < 1:
        raise UserError(f"block={block}: allowed is 1 or more.")
    if dtype not in ("float32", "bfloat16"):
        raise UserError(f"dtype={dtype}: allowed are float32 and bfloat16.")
    config = compose(overrides)
    if config.data.get("cache") is not None:
        raise UserError(f"data.cache={config.data.cache}: a cache is made of files; leave it out, and say out=FOLDER.")
    check(config)
    check_cacheable(config, said=f"out={out}")
    made = precompute(config, user_path(out), block=block, dtype=dtype, progress=config.trainer.progress)
    each = made.bytes / max(1, made.clips - len(made.bad))
    lines = [
        f"{made.clips} clips in {made.blocks} blocks, {made.bytes / 1e9:.3g} GB, {each / 1e3:.3g} kB a clip, in {out}"
    ]
    if made.bad:
        lines.append(f"{len(made.bad)} of them are broken:\n{list_bad(made.bad)}")
    return "\n".join([*lines, command("python", "train.py", *overrides, override("data.cache", out))])
