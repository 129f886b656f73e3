"""Weights that a library loads: what is reported about those in the hub's local cache."""

from pathlib import Path

import pytest

from vtok.common import pretrained
from vtok.common.errors import UserError
from vtok.common.pretrained import Place, load

NAME = "vtok-tests/another-kind"


def read(place: Place) -> None:
    raise ValueError("not a CLIP vision model: 3 of its parameters are missing\nadvice of a library")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("cached", "expected"),
    [
        (
            True,
            "the copy in the local cache cannot be read (not a CLIP vision model: 3 of its parameters are missing).",
        ),
        (False, "there is no such folder, and it is not in the local cache and "),
    ],
)
def test_cached_weights_of_another_kind(
    cached: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"models--{NAME.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    if cached:
        (folder / "snapshots" / "abc" / "config.json").write_text("{}")
    found = pretrained.try_to_load_from_cache
    monkeypatch.setattr(
        pretrained,
        "try_to_load_from_cache",
        lambda name, file, revision: found(name, file, cache_dir=tmp_path, revision=revision),
    )
    with pytest.raises(UserError) as error:
        load(NAME, read, key="backbone.weights", kind="CLIP model", way_out="Set backbone.weights=PATH.")
    assert str(error.value).startswith(f"backbone.weights={NAME}: {expected}")
    assert str(error.value).endswith("Set backbone.weights=PATH.")
