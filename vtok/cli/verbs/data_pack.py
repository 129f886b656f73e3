"""vtok data pack: any data set to tar shards."""

from collections.abc import Sequence

from vtok.common.overrides import command, override
from vtok.common.paths import user_path
from vtok.common.setting_types import Count
from vtok.config import check, compose
from vtok.data import LoaderSettings
from vtok.data.broken_clips import list_bad
from vtok.data.sources.shards.pack import pack
from vtok.model.build import build


def data_pack(
    *,
    out: str,
    shard_mb: Count = 1024,
    overrides: Sequence[str] = (),
) -> str:
    """A data set to tar shards with an index, which data=shards reads.

    Takes train's overrides, data=... above all.

    Files are copied as they are, with what is known of each beside it as JSON (WebDataset's layout). What was broken
    off goes on where it was by the same command.

    Args:
        out: output folder, a new or an empty one.
        shard_mb: largest size of a shard in megabytes.
        overrides: of the configuration.

    Raises:
        UserError: the configuration does not fit, or see `pack`.
    """
    config = compose(overrides)
    check(config)
    source = build(config.data)
    loader: LoaderSettings = build(config.loader)
    packed = pack(source, user_path(out), shard_bytes=shard_mb * 10**6, max_bad_fraction=loader.max_bad_fraction)
    left_out = source.bad | packed.left_out
    lines = [f"packed {packed.clips} clips into {packed.shards} shards, {packed.bytes / 1e9:.3g} GB, in {packed.out}"]
    if left_out:
        lines.append(f"{len(left_out)} clips were left out:\n{list_bad(left_out)}")
    return "\n".join([*lines, command("python", "train.py", "data=shards", override("data.root", str(packed.out)))])
