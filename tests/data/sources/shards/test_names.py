"""Names of shards with braces and stars."""

from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from vtok.data.sources.shards.names import expand_braces, matches, split_pattern


@pytest.mark.parametrize(
    ("root", "folder", "pattern"),
    [
        ("a/b", "a/b", None),
        ("s3://bucket/a", "s3://bucket/a", None),
        ("s3://bucket/a/s-{00..02}.tar", "s3://bucket/a", "s-{00..02}.tar"),
        ("/data/**/*.tar", "/data", "**/*.tar"),
        ("*.tar", ".", "*.tar"),
        ("/x*.tar", "/", "x*.tar"),
    ],
)
def test_folder_and_pattern(root: str, folder: str, pattern: str | None) -> None:
    assert split_pattern(root) == (folder, pattern)


def test_braces() -> None:
    assert expand_braces("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_braces("{x,y}/{1..2}") == ["x/1", "x/2", "y/1", "y/2"]
    assert expand_braces("plain.tar") == ["plain.tar"]
    with pytest.raises(ValueError, match="backwards"):
        expand_braces("{2..1}")


def test_matching() -> None:
    assert matches("a/b-01.tar", ["a/b-0?.tar"])
    assert not matches("a/c.tar", ["a/b.tar", "b*"])


def test_a_star_selects_the_shards_that_the_index_was_made_of(tmp_path: Path) -> None:
    names = ("a.tar", "b/a.tar", "b/c/a.tar", ".h.tar", "b/[1].tar")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("*.tar", "*/*.tar", "**/*.tar", "b/**", "?/a.tar", "b/[[]1].tar", "[!a].tar"):
        globbed = LocalFileSystem().glob(f"{tmp_path}/{pattern}")
        found = {path for name in names if matches(name, [pattern]) for path in [str(tmp_path / name)]}
        assert found == {path for path in globbed if path.endswith(".tar")}, pattern
