"""A feature cache of twins: one entry for all versions of a clip."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vtok.cli.verbs.precompute import precompute
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.training import train

TWINS = ["data=twins", "data.categories=[arrow,pan]"]


@pytest.fixture
def twins(folder: list[str], clips: Path) -> list[str]:
    """Overrides of a small run on twins of a folder."""
    settings = [item for item in folder if not item.startswith(("data=", "data.root="))]
    return [*settings, *TWINS, f"data.source.root={clips}"]


def test_twins_train_from_their_cache_as_from_their_files(
    twins: list[str],
    tmp_path: Path,
    losses: Callable[..., tuple[list[float], dict]],
    no_decoding: Callable[[], None],
) -> None:
    cache = tmp_path / "cache"
    # 10 clips, each forwards and backwards, and with four pans.
    report = precompute(out=str(cache), tokenisers=["vtok"], block=30, dtype="float32", overrides=twins)
    assert report.startswith("60 clips in 1 blocks: ")
    files, metrics = losses(twins, tmp_path / "files")
    no_decoding()
    cached, again = losses([*twins, f"data.cache={cache}"], tmp_path / "cached")
    assert cached == pytest.approx(files, abs=1e-5)
    assert again["alignment/arrow"] == metrics["alignment/arrow"]
    with pytest.raises(UserError, match="is not in the cache"):
        train(compose([*twins, "data.window=0.5", f"data.cache={cache}"]), run_dir=tmp_path / "run")
