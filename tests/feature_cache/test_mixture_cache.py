"""One feature cache for all sources of a mixture."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from vtok.cli.verbs.precompute import precompute
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.data.cache_blocks import Block
from vtok.training import train


@pytest.fixture
def mixed(folder: list[str], clips: Path) -> list[str]:
    """Overrides of a small run on two folders, which are the same."""
    settings = [item for item in folder if not item.startswith(("data=", "data.root="))]
    sources = [f"+data@data.sources.{name}=folder" for name in ("whole", "half")]
    roots = [f"data.sources.{name}.root={clips}" for name in ("whole", "half")]
    return [
        *settings,
        "data=mixture",
        *sources,
        *roots,
        "data.sources.half.frames_fps=12",
        "data.weights={whole:2,half:1}",
    ]


def test_a_mixture_trains_from_its_cache_as_from_its_files(
    mixed: list[str],
    tmp_path: Path,
    losses: Callable[..., tuple[list[float], dict]],
    no_decoding: Callable[[], None],
) -> None:
    cache = tmp_path / "cache"
    given = [*mixed, "name=two words"]
    report = precompute(out=str(cache), tokenisers=["vtok"], block=30, dtype="float32", overrides=given)
    assert report.startswith("20 clips in 1 blocks: ")
    # Quoted for a shell, which would split some of the overrides into several words.
    assert shlex.split(report.splitlines()[-1]) == ["python", "train.py", *given, f"data.cache={cache}"]
    names = Block(next((cache / "blocks").iterdir())).entries
    assert {name.split("\n")[0] for name in names} == {
        f"{source}/{number}.mp4" for source in ("whole", "half") for number in range(10)
    }
    files, metrics = losses(mixed, tmp_path / "files")
    no_decoding()
    cached, again = losses([*mixed, f"data.cache={cache}", "evaluation.captions=false"], tmp_path / "cached")
    assert cached == pytest.approx(files, abs=1e-5)
    assert again["alignment/half/caption"] == metrics["alignment/half/caption"]


def test_a_cache_with_another_frame_rate_of_a_source_is_refused(mixed: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    precompute(out=str(cache), tokenisers=["vtok"], block=30, dtype="float32", overrides=mixed)
    other = [item.replace("half.frames_fps=12", "half.frames_fps=8") for item in mixed]
    with pytest.raises(UserError, match=r"was computed with data\.sources\.half\.frames_fps=12\.0, not 8\.0"):
        train(compose([*other, f"data.cache={cache}"]), run_dir=tmp_path / "run")
