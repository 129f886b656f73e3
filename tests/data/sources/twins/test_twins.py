"""Twins: what a reader of unordered frames can know, the questions, and how the data set fits in with others."""

import json
import pickle
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.data import (
    Augmentation,
    Clip,
    ClipSample,
    ClipSettings,
    FolderData,
    MixtureData,
    SampleKey,
    ShardData,
    TwinsData,
)
from vtok.data.cache_blocks import footage_name, pictures_of
from vtok.data.plan import KeyFramePlanner, SlowFastPlanner, StridePlanner, TargetPlan
from vtok.data.sources.base import Split
from vtok.data.sources.shards.pack import pack
from vtok.data.sources.twins.versions import ANSWERS, CATEGORIES, look_alike, versions_of
from vtok.data.video.read import read_video
from vtok.tokeniser import FrameSamplingTokeniser, VTokTokeniser

SETTINGS = {"clip": ClipSettings(size=24)}
# One is shorter than a clip.
LENGTHS = (40, 33, 30, 17)
BACKBONE = TinyBackbone(feature_dim=8, width=8)


def pictures(number: int, seed: int) -> np.ndarray:
    """A bright square that moves right and down over a ground of coloured blocks, uint8 (number, 48, 64, 3)."""
    ground = np.random.default_rng(seed).integers(0, 120, (6, 8, 3), dtype=np.uint8)
    frames = np.repeat(np.kron(ground, np.ones((8, 8, 1), np.uint8))[None], number, axis=0)
    for place, frame in enumerate(frames):
        top, left = place * 30 // number, place * 46 // number
        frame[top : top + 16, left : left + 16] = (250, 5 * place, 30)
    return frames


@pytest.fixture(scope="module")
def folder(make_video, tmp_path_factory) -> Path:
    """A folder of four videos of all splits, with flow statistics."""
    root = tmp_path_factory.mktemp("videos")
    rows, flow = [], {}
    for number, length in enumerate(LENGTHS):
        make_video(root / f"{number}.mp4", pictures(length, number))
        rows.append(
            {"video": f"{number}.mp4", "caption": "a square", "split": ("train", "test", "train", "validation")[number]}
        )
        right = [8.0, 0.5] if number % 2 else [0.5, -8.0]
        seconds = [step * 4 / 24 for step in range((length - 1) // 4 + 1)]
        flow[f"{number}.mp4"] = {"seconds": seconds, "flow": [[*right, 0.1]] * (len(seconds) - 1)}
    (root / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "flow.json").write_text(json.dumps({"width": 160, "step": 4, "videos": flow}))
    return root


def twins(folder: Path, clip: ClipSettings = SETTINGS["clip"], **settings) -> TwinsData:
    return TwinsData(source=FolderData(root=folder, clip=clip), clip=clip, **settings)


def read(source: TwinsData, split: Split, planner, target: TargetPlan | None = None) -> list[ClipSample]:
    reader = source.frame_reader(planner, target)
    return [reader.read(clip, SampleKey(0, number)) for number, clip in enumerate(source.clips(split))]


def unordered(frames: torch.Tensor) -> tuple[bytes, ...]:
    return tuple(sorted(frame.numpy().tobytes() for frame in frames))


@pytest.mark.parametrize(
    "planner",
    [
        VTokTokeniser(BACKBONE, stride=6).planner,
        VTokTokeniser(BACKBONE, stride=4, key_frame="middle").planner,
        FrameSamplingTokeniser(BACKBONE, stride=7).planner,
        StridePlanner(6, 13),
        StridePlanner(1, "medoid"),
        SlowFastPlanner(3, slow_frames=2),
        KeyFramePlanner(6, "middle"),
    ],
)
def test_no_reader_of_unordered_frames_is_better_than_chance(folder: Path, planner) -> None:
    # Whatever such a reader answers: it answers the same to all questions of a group, in which every answer is true
    # equally often.
    source = twins(folder, ClipSettings(size=24, num_frames=26), flow=str(folder / "flow.json"))
    seen = Counter[str]()
    for split in get_args(Split):
        groups: dict[tuple, Counter[str]] = defaultdict(Counter)
        for sample in read(source, split, planner, TargetPlan(4, 24)):
            for one in sample.clip.questions:
                given = (unordered(sample.frames), unordered(sample.target), tuple(sample.timestamps.tolist()))
                groups[(*given, sample.key, one.category, one.text, one.choices)][one.answer] += 1
        for (*_, category, _, choices), answers in groups.items():
            seen[category] += 1
            assert answers.keys() == set(choices), category
            assert len(set(answers.values())) == 1, category
    assert seen.keys() == set(CATEGORIES)


def test_versions_with_different_answers_look_different(folder: Path) -> None:
    source = twins(folder, flow=str(folder / "flow.json"))
    shown: dict[tuple[str, str], dict[bytes, str]] = defaultdict(dict)
    for sample in read(source, "train", StridePlanner(6)):
        question = sample.clip.questions[0]
        video = sample.frames.numpy().tobytes()
        assert shown[str(sample.clip.path), question.category].setdefault(video, question.answer) == question.answer
    assert {len(videos) for videos in shown.values()} == {2, 3, 4}


@pytest.mark.parametrize("category", CATEGORIES)
def test_versions_with_different_answers_look_different_for_three_planned_frames_or_more(category) -> None:
    for stride in (1, 2, 5):
        for planned in range(3, 65):
            num_frames = (planned - 1) * stride + 1
            indices = range(0, num_frames, stride)
            # Of so few frames, both halves have the same ones at any pace.
            too_few = category == "speed" and num_frames <= 4
            assert look_alike(category, indices, num_frames, window=0.6) == too_few


def test_odd_frames_of_five() -> None:
    orders = [
        [
            [one.frame for one in version.playback.show(range(5), 5)]
            for version in versions_of("odd", window=0.6, **each)
        ]
        for each in ({"variant": 0}, {"variant": 1})
    ]
    assert orders[0] == [[0, 4, 1, 2, 3], [1, 2, 0, 3, 4], [1, 2, 3, 0, 4]]
    assert orders[1] == [[0, 4, 1, 2, 3], [0, 1, 4, 2, 3], [1, 2, 3, 0, 4]]


def test_every_version_against_frames_of_the_file(folder: Path) -> None:
    source = twins(folder, window=0.5)
    samples = {sample.clip.id: sample for sample in read(source, "train", StridePlanner(6))}
    filmed, times = read_video(folder / "0.mp4", indices=[0, 6, 12, 18, 24], size=24)
    for name, order in {
        "arrow-0": [0, 1, 2, 3, 4],
        "arrow-1": [4, 3, 2, 1, 0],
        "order-1": [2, 3, 4, 0, 1],
        "odd-0": [0, 4, 1, 2, 3],
        "odd-2": [1, 2, 3, 0, 4],
    }.items():
        sample = samples[f"0.mp4~{name}"]
        assert torch.equal(sample.frames, filmed[order]), name
        # Times are those at which frames are shown.
        torch.testing.assert_close(sample.timestamps, times.float())
    still, fast = samples["0.mp4~freeze-0"], samples["0.mp4~speed-0"]
    assert torch.equal(still.frames, read_video(folder / "0.mp4", indices=[0, 0, 0, 7, 19], size=24)[0])
    assert torch.equal(fast.frames, read_video(folder / "0.mp4", indices=[0, 8, 16, 22, 26], size=24)[0])
    large = read_video(folder / "0.mp4", indices=[0, 6], size=48)[0]
    # The window moves by half a frame over 29 frames, from the right to the left.
    left = samples["0.mp4~pan-0"]
    assert left.clip.questions[0].answer == "left"
    assert torch.equal(left.frames[:2], torch.stack([large[0, :, 12:36, 24:], large[1, :, 12:36, 19:43]]))
    up, zoomed = samples["0.mp4~tilt-0"], samples["0.mp4~zoom-2"]
    assert (up.clip.questions[0].answer, zoomed.clip.questions[0].answer) == ("up", "out")
    assert torch.equal(up.frames[0], large[0, :, 24:, 12:36])
    assert torch.equal(zoomed.frames[0], large[0, :, 12:36, 12:36])


def test_questions_say_what_is_shown_in_the_same_words_to_all_twins(folder: Path) -> None:
    found = list(twins(folder).clips("train"))
    assert len({clip.id for clip in found}) == len(found)
    for clip in found:
        choice, *claims = clip.questions
        assert clip.caption is None
        assert clip.attributes == {}
        assert sorted(choice.choices) == sorted(ANSWERS[choice.category])
        assert {claim.answer for claim in claims} == {"yes", "no"}
        for claim in claims:
            said = [answer for answer in choice.choices if re.search(rf"\b{answer}\b", claim.text)]
            assert (said == [choice.answer]) == (claim.answer == "yes")
            assert len(said) == 1
    texts = defaultdict(set)
    for clip in found:
        texts[clip.path, clip.questions[0].category].add((clip.questions[0].text, clip.questions[0].choices))
    assert {len(each) for each in texts.values()} == {1}
    # Two clips in eight categories: another clip may be asked in other words.
    assert len({text for each in texts.values() for text, _ in each}) > 8


def test_twins_are_in_the_split_and_file_of_their_clip(folder: Path) -> None:
    source = twins(folder)
    for split in get_args(Split):
        filmed = {clip.path for clip in source.filmed(split)}
        assert (
            {clip.path for clip in source.clips(split)} == filmed == {clip.path for clip in source.source.clips(split)}
        )
    assert source.clips("train").counts == {
        name: 2 * {"arrow": 2, "order": 2, "odd": 3}.get(name, 4) for name in ANSWERS if "_" not in name
    }


def test_the_first_twins_are_of_many_clips_and_sets_are_never_broken(folder: Path) -> None:
    every = twins(folder).clips("train")
    few = twins(folder, limit=9).clips("train")
    assert [clip.id for clip in few] == [clip.id for clip in every[: len(few)]]
    # Sets of 2, 2 and 4; the second clip begins with the second category.
    assert [clip.id.split("~")[1] for clip in few] == [
        "arrow-0",
        "arrow-1",
        "order-0",
        "order-1",
        *("order-0", "order-1"),
    ]
    assert [clip.id[0] for clip in few] == ["0", "0", "2", "2", "0", "0"]
    assert len(twins(folder, limit=1).clips("train")) == 2
    one_each = twins(folder, sets=1, categories=["odd", "arrow"]).clips("train")
    assert [clip.id for clip in one_each] == ["0.mp4~arrow-0", "0.mp4~arrow-1", *(f"2.mp4~odd-{n}" for n in range(3))]
    assert [clip.id for clip in every[3:8:2]] == [every[number].id for number in (3, 5, 7)]
    assert pickle.loads(pickle.dumps(every))[-1].id == every[len(every) - 1].id


def test_a_split_may_be_empty_or_without_flow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = twins(folder, flow=str(folder / "flow.json"))
    splits = {"train": made.source.clips("train"), "validation": [], "test": [Clip("x.mp4", folder / "x.mp4")]}
    monkeypatch.setattr(made.source, "clips", splits.get)
    assert "up_down" in made.clips("train").counts
    assert made.clips("validation").counts == {}
    assert "up_down" not in made.clips("test").counts


def test_versions_of_a_clip_have_one_name_in_a_feature_cache_and_windows_their_own_pictures(folder: Path) -> None:
    clips = [clip for window in (0.5, 0.6) for clip in twins(folder, window=window, categories=["pan"]).clips("train")]
    assert {footage_name(clip) for clip in clips} == {f"{name}\n0.0 None" for name in ("0.mp4", "2.mp4")}
    shown = [set(pictures_of(clip, (0, 6, 12), 30)) for clip in clips if clip.footage == "0.mp4"]
    # Two versions are each other's reverse, which has the same pictures; another window has others.
    assert [sum(one == other for other in shown) for one in shown] == [2] * len(shown)
    assert len(set().union(*shown)) == 3 * len(shown) // 2


def test_twins_of_a_mixture(folder: Path) -> None:
    mixed = MixtureData(sources={name: FolderData(root=folder, **SETTINGS) for name in "ab"}, **SETTINGS)
    source = TwinsData(source=mixed, **SETTINGS)
    sample = read(source, "train", StridePlanner(6))[-1]
    assert (sample.clip.source, sample.clip.id[:2]) == ("b", "b/")
    assert source.source_of(sample.clip) is mixed.sources["b"]
    with pytest.raises(UserError, match=r"data.source.weights: .* Set data.source.weights=null"):
        TwinsData(source=MixtureData(sources=mixed.sources, weights={"a": 1, "b": 2}, **SETTINGS), **SETTINGS)


def test_twins_of_shards_are_those_of_the_packed_folder(folder: Path, tmp_path: Path) -> None:
    pack(FolderData(root=folder, **SETTINGS), tmp_path / "shards", shard_bytes=10**9, progress=False)
    packed = TwinsData(source=ShardData(root=str(tmp_path / "shards"), **SETTINGS), **SETTINGS)
    for one, other in zip(*(read(each, "test", StridePlanner(6)) for each in (packed, twins(folder))), strict=True):
        assert (one.clip.id, one.clip.questions) == (other.clip.id, other.clip.questions)
        assert torch.equal(one.frames, other.frames)
    with pytest.raises(UserError, match="shards hold clips as they were filmed"):
        pack(twins(folder), tmp_path / "more", shard_bytes=10**9, progress=False)


def flipping(folder: Path, left_right: str, **settings) -> TwinsData:
    augmentation = Augmentation(horizontal_flip=1.0, left_right=left_right)
    return TwinsData(source=FolderData(root=folder, augmentation=augmentation, **SETTINGS), **SETTINGS, **settings)


def test_a_flip_never_makes_an_answer_wrong(folder: Path) -> None:
    with pytest.raises(UserError, match="makes the answers of pan wrong"):
        flipping(folder, "flip").check_augmentation(100)
    with pytest.raises(UserError, match="left_right=keep"):
        flipping(folder, "refuse").check_augmentation(100)
    flipping(folder, "flip", categories=["arrow", "zoom"]).check_augmentation(100)
    kept = flipping(folder, "keep", categories=["arrow", "pan"])
    kept.check_augmentation(100)
    plain, trained = (kept.frame_reader(StridePlanner(6), seed=seed) for seed in (None, 0))
    for number, clip in enumerate(kept.clips("train")):
        before, after = (reader.read(clip, SampleKey(0, number)).frames for reader in (plain, trained))
        flipped = clip.questions[0].category != "pan"
        assert torch.equal(after, before.flip(-1) if flipped else before)


def test_mistakes_of_settings(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be shown as twins"):
        TwinsData(source=twins(folder), **SETTINGS)
    with pytest.raises(UserError, match="differs from the clip of the twins"):
        TwinsData(source=FolderData(root=folder, **SETTINGS), clip=ClipSettings(size=8))
    with pytest.raises(UserError, match="only the twins have a cache"):
        TwinsData(source=FolderData(root=folder, cache="x", **SETTINGS), **SETTINGS)
    with pytest.raises(UserError, match=r"data.categories=\[arow\]: unknown"):
        twins(folder, categories=["arow"])
    with pytest.raises(UserError, match=r"data.flow=null: .* set data.flow=PATH/flow.json"):
        twins(folder, categories=["left_right"]).clips("train")
    (tmp_path / "flow.json").write_text('{"width": 1, "step": 1, "videos": {}}')
    with pytest.raises(UserError, match="it has none of the clips' files"):
        twins(folder, flow=str(tmp_path / "flow.json")).clips("train")


def test_twins_are_augmented_if_their_source_is(folder: Path) -> None:
    for augmentation in (Augmentation(), Augmentation(min_area=0.5)):
        source = FolderData(root=str(folder), augmentation=augmentation, **SETTINGS)
        assert TwinsData(source=source, categories=["arrow"], **SETTINGS).is_augmented is augmentation.changes
