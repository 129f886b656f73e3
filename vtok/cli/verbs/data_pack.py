"""vtok data pack: writes any data set as tar shards."""

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
    """Write a data set as tar shards with an index, for data=shards.

    Takes train's overrides, such as data=folder data.root=PATH.

    Files are copied unchanged, each with a JSON file of its metadata (WebDataset's layout). The same command resumes
    after an interruption.

    Args:
        out: output folder, a new or an empty one.
        shard_mb: largest size of a shard in megabytes.
        overrides: overrides of the configuration.

    Raises:
        UserError: if the configuration does not fit, or as in `pack`.
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
