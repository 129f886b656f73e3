"""Parts of a sequence."""


def chunks(total: int, size: int) -> list[slice]:
    """Slices of `size` items, the last one shorter, that cover a sequence of `total` items in order."""
    return [slice(start, start + size) for start in range(0, total, size)]
