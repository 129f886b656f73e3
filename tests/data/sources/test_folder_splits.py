"""The splits of the clips of a folder."""

import json
from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.data import ClipSettings
from vtok.data.sources.base import SPLITS
from vtok.data.sources.folder import FolderData


def source(root: Path, **keys) -> FolderData:
    return FolderData(root=root, clip=ClipSettings(size=32), **keys)


def manifest_of(root: Path, count: int, **keys) -> FolderData:
    rows = [json.dumps({"video": f"{number}.mp4", "caption": "a"}) for number in range(count)]
    (root / "manifest.jsonl").write_text("\n".join(rows))
    return source(root, **keys)


def ids(data: FolderData, split) -> set[str]:
    return {clip.id for clip in data.clips(split)}


def test_splits_are_stable_and_apart(tmp_path):
    small = manifest_of(tmp_path, 200)
    before = {split: ids(small, split) for split in SPLITS}
    assert sum(map(len, before.values())) == len(set.union(*before.values())) == 200
    assert 2 <= len(before["validation"]) <= 20
    assert 8 <= len(before["test"]) <= 35
    large = manifest_of(tmp_path, 400)
    assert all(found <= ids(large, split) for split, found in before.items())


@pytest.mark.parametrize("fraction", [0.001, 0.949])
def test_each_split_has_a_clip_where_there_are_three(fraction, tmp_path):
    counts = [
        [len(ids(manifest_of(tmp_path, count, test_fraction=fraction), split)) for split in SPLITS]
        for count in (1, 2, 3)
    ]
    assert counts == [[1, 0, 0], [1, 0, 1], [1, 1, 1]]


def splits_of(root: Path, rows: list[dict], **keys) -> dict[str, str]:
    """The splits of the clips by id, separated by spaces if a clip is in several."""
    (root / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data, found = source(root, **keys), {}
    for split in SPLITS:
        for clip in data.clips(split):
            found[clip.id] = f"{found[clip.id]} {split}" if clip.id in found else split
    return found


@pytest.mark.parametrize("group", [None, "scene"])
def test_the_clips_of_a_file_or_a_group_are_in_one_split(group, tmp_path):
    rows = [{"video": f"{n if group else n % 9}.mp4", "caption": "a", "start": n, "end": n + 1} for n in range(90)]
    rows = [row | ({"group": f"scene {n % 9}"} if group else {}) for n, row in enumerate(rows)]
    found = splits_of(tmp_path, rows, validation_fraction=0.3, test_fraction=0.3)
    assert len(found) == 90
    together = {}
    for name, split in found.items():
        together.setdefault(int(name.partition("@")[2].partition("-")[0]) % 9, set()).add(split)
    assert all(len(splits) == 1 for splits in together.values())
    assert set.union(*together.values()) == set(SPLITS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("group", [None, 3])
def test_rows_without_a_split_take_that_of_their_file_or_group(split, group, tmp_path):
    ranges = [{"video": "a.mp4", "caption": "a", "start": n, "end": n + 1} for n in range(40)]
    ranges[20] |= {"split": split} | ({} if group is None else {"group": group})
    found = splits_of(tmp_path, ranges + [{"video": f"{n}.mp4", "caption": "b"} for n in range(40)])
    assert {where for name, where in found.items() if name.startswith("a.mp4")} == {split}


def test_a_group_of_two_splits_is_refused(tmp_path):
    rows = [{"video": f"{split}.mp4", "caption": "a", "group": "kitchen", "split": split} for split in ("train", "val")]
    with pytest.raises(UserError, match=r"the group kitchen has rows of the splits train and validation"):
        splits_of(tmp_path, rows)


@pytest.mark.parametrize("name", ["val", "test"])
def test_of_a_manifest_with_one_held_out_split_that_one_is_reported(name, tmp_path, caplog):
    rows = [
        {"video": f"{n}.mp4", "caption": "a", "group": f"scene {n // 4}", "split": name if n < 12 else "train"}
        for n in range(80)
    ]
    found = splits_of(tmp_path, rows, validation_fraction=0.3)
    assert {clip for clip, split in found.items() if split == "test"} == {f"{n}.mp4" for n in range(12)}
    validation = sum(split == "validation" for split in found.values())
    assert 0 < validation < 68
    # Entire groups, which are four clips each.
    assert validation % 4 == 0
    assert f"{validation} of 68 training clips are validation clips" in caplog.text
    assert f"none is a {'test' if name == 'val' else 'validation'} clip. The 12" in caplog.text


def test_a_manifest_with_three_splits_is_followed(tmp_path, caplog):
    names = {"a": "train", "b": "val", "c": "test"}
    rows = [{"video": f"{stem}.mp4", "caption": "a", "split": split} for stem, split in names.items()]
    assert list(splits_of(tmp_path, rows).values()) == list(SPLITS)
    assert not caplog.records


def test_a_question_joins_its_clip_where_one_of_the_two_names_the_split(tmp_path):
    asked = {"video": "a.mp4", "question": "Is it red?", "answer": "yes", "split": "test"}
    rows = [{"video": "a.mp4", "caption": "a"}, asked, {"video": "b.mp4", "caption": "b"}]
    assert splits_of(tmp_path, rows) == {"a.mp4": "test", "b.mp4": "train"}


def test_the_only_file_without_a_split_is_in_one_split(tmp_path):
    ranges = [{"video": "a.mp4", "caption": "a", "start": n, "end": n + 1} for n in range(40)]
    found = splits_of(tmp_path, [*ranges, {"video": "b.mp4", "caption": "b", "split": "train"}])
    assert found.pop("b.mp4") == "train"
    assert set(found.values()) == {"test"}


def test_a_file_that_is_written_into_two_splits_stays_in_both(tmp_path):
    rows = [
        {"video": "a.mp4", "caption": "a", "start": n, "end": n + 1, "split": split}
        for n, split in enumerate(["train", "validation", "test"])
    ]
    assert list(splits_of(tmp_path, rows).values()) == list(SPLITS)
