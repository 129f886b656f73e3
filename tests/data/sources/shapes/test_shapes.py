import hashlib
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from vtok.common.errors import UserError
from vtok.data import ClipSettings, FolderData, ShapesData, read_video
from vtok.data.sources.base import SPLITS
from vtok.data.sources.shapes.language import attributes, caption, questions
from vtok.data.sources.shapes.render import ZOOM, render
from vtok.data.sources.shapes.scene import CAMERAS, COLOURS, DIRECTIONS, FAMILIES, Scene, SceneObject, sample_scene
from vtok.data.video.write import write_video


def scenes(number: int, level: str = "easy") -> list[Scene]:
    return [sample_scene(np.random.default_rng([3, index]), level) for index in range(number)]


def centre_of_colour(frame: np.ndarray, colour: str) -> np.ndarray:
    """Mean position (x, y) of the pixels near a colour."""
    near = np.abs(frame.astype(int) - np.array(COLOURS[colour])).sum(-1) < 90
    return np.argwhere(near)[:, ::-1].mean(0)


@pytest.mark.parametrize("direction", list(DIRECTIONS))
def test_objects_move_in_their_direction(direction: str) -> None:
    thing = SceneObject("circle", "red", 0.12, (0.5, 0.5), (direction,), "fast", 0.3)
    frames = render(Scene("motion", (thing,), None, (90, 90, 90), 0.0, 1), num_frames=30, size=64)
    moved = (centre_of_colour(frames[-1], "red") - centre_of_colour(frames[0], "red")) / 64
    np.testing.assert_allclose(moved, 0.3 * np.array(DIRECTIONS[direction]), atol=0.01)


def test_two_moves_come_one_after_the_other() -> None:
    thing = SceneObject("square", "blue", 0.1, (0.5, 0.5), ("left", "up"), None, 0.25)
    frames = render(Scene("order", (thing,), None, (90, 90, 90), 0.0, 1), num_frames=31, size=64)
    places = [centre_of_colour(frames[index], "blue") / 64 for index in (0, 15, 30)]
    np.testing.assert_allclose(places[1] - places[0], (-0.25, 0), atol=0.01)
    np.testing.assert_allclose(places[2] - places[1], (0, -0.25), atol=0.01)


@pytest.mark.parametrize(("camera", "sign"), [("pans left", 1), ("pans right", -1)])
def test_a_pan_moves_still_objects_the_other_way(camera: str, sign: int) -> None:
    thing = SceneObject("circle", "white", 0.1, (0.5, 0.5))
    frames = render(Scene("camera", (thing,), camera, (90, 90, 90), 0.0, 1), num_frames=20, size=64)
    moved = centre_of_colour(frames[-1], "white") - centre_of_colour(frames[0], "white")
    assert sign * moved[0] > 10
    assert abs(moved[1]) < 1


def test_a_zoom_changes_the_size() -> None:
    thing = SceneObject("circle", "white", 0.1, (0.5, 0.5))
    frames = render(Scene("camera", (thing,), "zooms in", (90, 90, 90), 0.0, 1), num_frames=20, size=64)
    areas = [(frame.min(-1) > 200).sum() for frame in (frames[0], frames[-1])]
    assert areas[1] / areas[0] == pytest.approx(ZOOM**2, rel=0.15)


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_begins_with_the_same_view(camera: str) -> None:
    thing = SceneObject("circle", "white", 0.1, (0.4, 0.6))
    still = render(Scene("camera", (thing,), None, (90, 90, 90), 0.2, 1), num_frames=5, size=64)
    moved = render(Scene("camera", (thing,), camera, (90, 90, 90), 0.2, 1), num_frames=5, size=64)
    np.testing.assert_array_equal(moved[0], still[0])
    assert np.abs(moved[-1].astype(int) - still[-1]).mean() > 5


def test_a_file_is_the_same_each_time_it_is_written(tmp_path: Path) -> None:
    """A textured clip with a pan: without fixed parameters, x264 coded these in two ways."""
    pans = [scene for scene in scenes(60) if scene.family == "camera"][:4]
    for scene in pans:
        written = set()
        for _ in range(5):
            write_video(tmp_path / "a.mp4", render(scene, num_frames=30, size=64).transpose(0, 3, 1, 2), fps=15)
            written.add((tmp_path / "a.mp4").read_bytes())
        assert len(written) == 1


def test_the_start_does_not_reveal_the_direction() -> None:
    moving = [scene for scene in scenes(3000) if scene.family == "motion"]
    for direction in DIRECTIONS:
        starts = np.array([scene.objects[0].start for scene in moving if scene.objects[0].moves == (direction,)])
        standard_error = 0.28 / np.sqrt(12 * len(starts))
        assert np.abs(starts.mean(0) - 0.5).max() < 4 * standard_error


def test_all_categories_occur_and_truths_are_balanced() -> None:
    asked = [
        question
        for index, scene in enumerate(scenes(2000))
        for question in questions(scene, np.random.default_rng(index))
    ]
    kinds = Counter((question.kind, question.category) for question in asked)
    categories = {"object", "colour", "motion_direction", "speed", "count", "camera", "order"}
    assert {category for kind, category in kinds if kind == "choice"} == categories
    for kind, category in kinds:
        answers = Counter(q.answer for q in asked if (q.kind, q.category) == (kind, category))
        even = kinds[kind, category] / len(answers)
        assert max(answers.values()) < even + 4 * np.sqrt(even)
    assert all(question.answer in question.choices for question in asked)
    assert all(len(set(question.choices)) == len(question.choices) for question in asked)


def test_claims_name_the_truth_and_different_falsehoods() -> None:
    for index, scene in enumerate(scenes(200)):
        for number in (1, 3):
            asked = questions(scene, np.random.default_rng(index), false_claims=number)
            for choice in (one for one in asked if one.kind == "choice"):
                claims = [one for one in asked if one.kind == "yes_no" and one.category == choice.category]
                assert [one.answer for one in claims] == ["yes"] + ["no"] * min(number, len(choice.choices) - 1)
                assert choice.answer in claims[0].text
                assert len({one.text for one in claims}) == len(claims)
                assert not any(choice.answer in one.text.split() for one in claims[1:])


@pytest.mark.parametrize("level", ["easy", "hard"])
def test_unusual_combinations_are_in_test_clips_alone(tmp_path: Path, level: Literal["easy", "hard"]) -> None:
    """Of colour and direction, number or camera, read from the truths; every single value stays in training."""
    numbers = {"train_clips": 1500, "validation_clips": 300, "test_clips": 600}
    data = ShapesData(root=str(tmp_path), clip=ClipSettings(num_frames=8, size=64), level=level, unseen=True, **numbers)
    shown, values = defaultdict(set), defaultdict(set)
    for split in SPLITS:
        for clip in data.all_clips(split):
            for action in ("motion_direction", "order", "count", "camera"):
                if action in clip.attributes:
                    combination = (clip.attributes["colour"], action, clip.attributes[action].partition(" then ")[0])
                    shown[split, clip.unseen].add(combination)
                    values[split] |= set(combination)
    trained = shown["train", False] | shown["validation", False]
    assert not shown["train", True] | shown["validation", True]
    # 6 colours and 4 actions of each of 4 families: 24 of 96. Hard scenes have a second object, which may be unusual.
    assert len(trained) == 72
    assert len((shown["test", True] | shown["test", False]) - trained) == 24
    assert not shown["test", False] - trained
    if level == "easy":
        assert not shown["test", True] & trained
    assert values["train"] == values["test"]
    usual = ShapesData(root=str(tmp_path), clip=ClipSettings(num_frames=8, size=64), level=level, **numbers)
    assert not any(clip.unseen for clip in usual.all_clips("test"))
    assert [clip.caption for clip in usual.all_clips("test")] == [clip.caption for clip in data.all_clips("test")]
    assert usual.folder != data.folder


@pytest.mark.parametrize("level", ["easy", "hard"])
def test_the_caption_holds_the_truth(level: str) -> None:
    for scene in scenes(300, level):
        for truth in attributes(scene).values():
            assert truth in caption(scene)


def test_files_hold_the_rendered_frames(tmp_path: Path) -> None:
    frames = render(scenes(1)[0], num_frames=12, size=64)
    write_video(tmp_path / "a.mp4", frames.transpose(0, 3, 1, 2), fps=15)
    read, times = read_video(tmp_path / "a.mp4", stride=1)
    assert read.shape == (12, 3, 64, 64)
    np.testing.assert_allclose(times.numpy(), np.arange(12) / 15, atol=1e-6)
    # Over blocks, since h264 keeps little of the noise and halves the colours' resolution.
    blocks = [
        video.reshape(12, 16, 4, 16, 4, 3).astype(float).mean((2, 4))
        for video in (read.permute(0, 2, 3, 1).numpy(), frames)
    ]
    assert np.abs(blocks[0] - blocks[1]).mean() < 2


@pytest.mark.parametrize(
    ("level", "digest"),
    [
        ("easy", "c8cbe246a5ca0fe1d6899b877818767424a26119a10a3ff4dad1644d493bd33c"),
        ("hard", "623a70758fb0a79a9cdb181c8bf522bf541f222a1c4050af6df46be3e6cab518"),
    ],
)
def test_scenes_are_those_of_this_version(level: str, digest: str) -> None:
    """Rendered files depend on the scenes: if this fails, increase VERSION."""
    text = "\n".join(repr(scene) for scene in scenes(300, level))
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_chosen_families_keep_their_shares_of_each_other() -> None:
    chosen = [sample_scene(np.random.default_rng([3, index]), "easy", ("count", "motion")) for index in range(1000)]
    found = Counter(scene.family for scene in chosen)
    assert set(found) == {"motion", "count"}
    share = FAMILIES["motion"] / (FAMILIES["motion"] + FAMILIES["count"])
    assert found["motion"] == pytest.approx(1000 * share, abs=4 * np.sqrt(1000 * share * (1 - share)))


def make_source(tmp_path: Path, **changes: object) -> ShapesData:
    clip = ClipSettings(size=64, num_frames=10)
    settings: dict = {"root": str(tmp_path), "clip": clip, "train_clips": 6, "validation_clips": 3, "test_clips": 3}
    return ShapesData(**(settings | changes))


def test_splits_share_no_clip_and_files_are_rendered_once(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    source.prepare()
    clips = [clip for split in SPLITS for clip in source.clips(split)]
    assert len({clip.id for clip in clips}) == len({clip.path for clip in clips}) == 12
    assert len({clip.path.read_bytes() for clip in clips}) == 12
    before = {clip.path: clip.path.stat().st_mtime_ns for clip in clips}
    make_source(tmp_path).prepare()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_manifest_is_written_after_an_interruption(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    source.prepare()
    manifest = source.folder / "manifest.jsonl"
    content = manifest.read_text()
    manifest.unlink()
    make_source(tmp_path).prepare()
    assert manifest.read_text() == content


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make_source(Path("~/x")).folder.parent == tmp_path / "x"


def test_clips_are_made_once(tmp_path: Path) -> None:
    """A run asks for them eleven times, which took three seconds."""
    source = make_source(tmp_path)
    assert all(one is other for one, other in zip(source.clips("test"), source.clips("test"), strict=True))


def test_a_clip_is_independent_of_the_other_clips(tmp_path: Path) -> None:
    few, many = make_source(tmp_path / "a", limit=2), make_source(tmp_path / "b", make_workers=1)
    few.prepare()
    many.prepare()
    assert len(few.clips("train")) == 2
    for one, other in zip(few.clips("train"), many.clips("train"), strict=False):
        assert one.path.read_bytes() == other.path.read_bytes()
        assert one.questions == other.questions


def test_half_of_the_yes_no_questions_are_true_however_many_clips_are_looked_at(tmp_path: Path) -> None:
    """Drawn independently, 47 of 73 about the camera were false."""
    clips = ShapesData(root=str(tmp_path), clip=ClipSettings(size=64)).clips("test")
    for number in (400, 101, 40):
        answers: dict[str, Counter[str]] = defaultdict(Counter)
        for clip in clips[:number]:
            for question in clip.questions:
                if question.kind == "yes_no":
                    answers[question.category][question.answer] += 1
        assert len(answers) == 7
        assert all(abs(each["yes"] - each["no"]) <= 1 for each in answers.values())


def test_sets_of_other_families_do_not_mix(tmp_path: Path) -> None:
    whole, part = make_source(tmp_path), make_source(tmp_path, families=["count", "motion"], train_clips=16)
    assert whole.folder.name == "v3-easy-seed0-10x64"
    assert part.folder.name == "v3-easy-motion+count-seed0-10x64"
    assert make_source(tmp_path, families=["motion", "count"]).folder == part.folder
    assert make_source(tmp_path, families=list(FAMILIES)).folder == whole.folder
    part.prepare()
    clips = part.clips("train") + part.clips("test")
    assert all(clip.attributes.keys() & {"count", "speed"} for clip in clips)
    # The files hold the scenes of these families too.
    still = next(clip for clip in clips if "count" in clip.attributes)
    moving = next(clip for clip in clips if "speed" in clip.attributes)
    changes = [
        (frames[-1].float() - frames[0].float()).abs().amax().item()
        for frames, _ in (read_video(clip.path, indices=[0, 9]) for clip in (still, moving))
    ]
    assert changes[0] < 30 < changes[1]


def test_the_rendered_folder_is_readable_as_data_folder(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    source.prepare()
    folder = FolderData(root=source.folder, clip=ClipSettings(size=64))
    folder.prepare()
    assert [clip.caption for clip in folder.clips("train")] == [clip.caption for clip in source.clips("train")]
    assert [len(folder.clips(split)) for split in ("validation", "test")] == [3, 3]


def test_invalid_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"level=medium.*easy or hard"):
        make_source(tmp_path, level="medium")
    with pytest.raises(UserError, match=r"data.families=\[motion,spin\].*motion, order, count, camera"):
        make_source(tmp_path, families=["motion", "spin"])
    with pytest.raises(UserError, match=r"data.families=\[\]"):
        make_source(tmp_path, families=[])


def test_processes_that_render_clips_do_not_load_torch() -> None:
    """It would take longer than rendering a hundred of them."""
    program = "import sys, vtok.data.sources.shapes.clip_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
