"""vtok data index: indexes the clips in existing tar shards."""

from vtok.data.broken_clips import list_bad
from vtok.data.sources.shards.scan import index_shards


def data_index(
    *,
    root: str,
    out: str | None = None,
) -> str:
    """Index plain tar shards in WebDataset's layout (KEY.mp4 with KEY.json or KEY.txt), for data=shards.

    Args:
        root: folder or URL of the shards; a pattern at its end, '{000..127}' or '*', chooses some of them.
        out: file for the index; null: index.arrow in the root.

    Raises:
        UserError: as in `index_shards`.
    """
    indexed = index_shards(root, out)
    lines = [f"{indexed.clips} clips in {indexed.shards} shards: {indexed.out}"]
    if indexed.bad:
        lines.append(f"{len(indexed.bad)} members cannot be used:\n{list_bad(indexed.bad)}")
    return "\n".join(lines)
