"""vtok data pack: any data set to tar shards."""

from vtok.build import build
from vtok.config import check, compose
from vtok.data.report import list_bad
from vtok.data.shards.pack import pack
from vtok.errors import UserError
from vtok.overrides import command, override
from vtok.paths import user_path


def data_pack(*, out: str, shard_mb: int, overrides: list[str]) -> str:
    """Pack the data set of a configuration; returns what to tell the user.

    Raises:
        UserError: the configuration does not fit, or see `pack`.
    """
    if shard_mb < 1:
        raise UserError(f"shard_mb={shard_mb}: allowed is 1 or more.")
    config = compose(overrides)
    check(config)
    source = build(config.data)
    packed = pack(source, user_path(out), shard_bytes=shard_mb * 10**6)
    left_out = source.bad | packed.left_out
    lines = [f"packed {packed.clips} clips into {packed.shards} shards, {packed.bytes / 1e9:.3g} GB, in {packed.out}"]
    if left_out:
        lines.append(f"{len(left_out)} clips were left out:\n{list_bad(left_out)}")
    return "\n".join([*lines, command("python", "train.py", "data=shards", override("data.root", str(packed.out)))])
