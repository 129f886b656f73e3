"""Parts of a sequence."""

import pytest

from vtok.common.chunks import chunks


@pytest.mark.parametrize(("total", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (5, 1)])
def test_chunks_cover_everything_once_and_in_order(total: int, size: int) -> None:
    parts = [list(range(total))[part] for part in chunks(total, size)]
    assert [number for part in parts for number in part] == list(range(total))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert all(parts)
