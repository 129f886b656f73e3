"""What is random about a training clip: the same for all frames, another each epoch, and never a lie."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch.nn import functional as F
from torch.utils.data import DataLoader

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.config import compose
from vtok.data import Augmentation, Clip, ClipDataset, ClipSettings, EpochSampler, FrameReader, Question, SampleKey
from vtok.data.augmentation import View, direction_word
from vtok.data.plan import StridePlanner, TargetPlan
from vtok.data.video.read import read_video
from vtok.training import train

STANDARD = {"min_area": 0.5, "max_aspect": 1.33, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}


def reader(augmentation: Augmentation | None, **settings) -> FrameReader:
    others = {"seed": 1} | {name: settings.pop(name) for name in ("target", "seed") if name in settings}
    return FrameReader(StridePlanner(6), ClipSettings(**({"size": 32} | settings)), augmentation=augmentation, **others)


def clip(path: Path, caption: str = "a thing", **keys) -> Clip:
    return Clip(id=path.name, path=path, caption=caption, **keys)


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("view", "enhance"),
    [
        (View(brightness=1.3), ImageEnhance.Brightness),
        (View(contrast=0.7), ImageEnhance.Contrast),
        (View(saturation=1.4), ImageEnhance.Color),
    ],
)
def test_colours_are_pillows(frames: torch.Tensor, view: View, enhance: type) -> None:
    # Contrast is about the mean grey of all frames, so that there is one frame.
    frame = frames[:1]
    factor = max(view.brightness, view.contrast, view.saturation, key=lambda one: abs(one - 1))
    truth = enhance(Image.fromarray(frame[0].permute(1, 2, 0).numpy())).enhance(factor)
    apart = view.apply(frame)[0].permute(1, 2, 0).int() - torch.from_numpy(np.array(truth)).int()
    assert apart.abs().max() <= 2
    assert apart.float().abs().mean() < 0.6


def test_a_part_and_a_flip(frames: torch.Tensor) -> None:
    assert torch.equal(View().apply(frames), frames)
    assert torch.equal(View(flipped=True).apply(frames), frames.flip(-1))
    part = View(top=0.25, left=0.5, height=0.5, width=0.25, flipped=True).apply(frames)
    assert torch.equal(part, frames[..., 10:30, 20:30].flip(-1))


def test_draws_stay_within_the_settings_and_fill_them() -> None:
    augmentation = Augmentation(**STANDARD, horizontal_flip=0.3)
    rng = np.random.default_rng(0)
    views = [augmentation.view(clip(Path("a")), rng) for _ in range(4000)]
    areas = np.array([view.height * view.width for view in views])
    aspects = np.array([view.width / view.height for view in views])
    assert 0.5 - 1e-9 <= areas.min() < 0.52
    assert 0.99 < areas.max() <= 1
    assert 1 / 1.34 < aspects.min() < 0.77
    assert 1.3 < aspects.max() < 1.34
    assert np.mean([view.flipped for view in views]) == pytest.approx(0.3, abs=0.03)
    assert all(view.top >= 0 and view.top + view.height <= 1 + 1e-9 for view in views)
    assert all(view.left >= 0 and view.left + view.width <= 1 + 1e-9 for view in views)
    for name in ("brightness", "contrast", "saturation"):
        factors = [getattr(view, name) for view in views]
        assert 0.8 <= min(factors) < 0.81
        assert 1.19 < max(factors) <= 1.2


@pytest.mark.parametrize(("min_area", "max_aspect"), [(0.8, 2.0), (0.5, 4 / 3), (0.3, 10.0), (1.0, 2.0)])
def test_crops_have_the_area_that_was_drawn_and_are_decoded_large_enough(min_area: float, max_aspect: float) -> None:
    augmentation, rng = Augmentation(min_area=min_area, max_aspect=max_aspect), np.random.default_rng(0)
    views = [augmentation.view(Clip("a", Path("a")), rng) for _ in range(2000)]
    areas = [view.height * view.width for view in views]
    assert min(areas) >= min_area - 1e-9
    assert np.mean(areas) == pytest.approx((1 + min_area) / 2, abs=0.02)
    shortest = min(min(view.height, view.width) for view in views)
    assert 1.0 <= shortest * augmentation.zoom + 1e-9 <= 1.25


def test_nothing_is_changed_by_default(make_video, tmp_path: Path) -> None:
    one = clip(make_video(tmp_path / "a.mp4", 40))
    assert torch.equal(
        reader(Augmentation()).read(one, SampleKey(3, 5)).frames, reader(None).read(one, SampleKey(0, 0)).frames
    )


@pytest.mark.parametrize(
    "setting", ["min_area", "max_aspect", "horizontal_flip", "brightness", "contrast", "saturation", "random_start"]
)
def test_it_changes_clips_if_any_setting_does(setting: str) -> None:
    """Clips that change are not kept in memory."""
    assert not Augmentation(left_right="keep").changes
    value = {"min_area": 0.5, "max_aspect": 2.0, "random_start": True}.get(setting, 0.5)
    assert Augmentation(**{setting: value}).changes


def test_all_frames_are_seen_alike_those_of_the_decoder_too(make_video, tmp_path: Path) -> None:
    # A still picture: whatever differs between frames was done to them one by one.
    still = np.broadcast_to(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), (30, 48, 64, 3))
    one = clip(make_video(tmp_path / "a.mkv", still, codec="ffv1", pix_fmt="bgr0"))
    sample = reader(Augmentation(**STANDARD), target=TargetPlan(num_frames=4, size=32)).read(one, SampleKey(0, 0))
    assert torch.equal(sample.frames, sample.frames[:1].expand_as(sample.frames))
    assert torch.equal(sample.target, sample.frames[:1].expand_as(sample.target))


def test_a_crop_is_cut_out_of_larger_frames(make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 13)
    augmentation = Augmentation(min_area=0.25)
    sample = reader(augmentation).read(clip(path), SampleKey(0, 0))
    rng = np.random.default_rng(read_seed(SampleKey(0, 0)))
    view = augmentation.view(clip(path), rng)
    whole = read_video(path, indices=[0, 6, 12], size=64)[0].float()
    top, left, side = round(64 * view.top), round(64 * view.left), round(64 * view.height)
    part = whole[..., top : top + side, left : left + side]
    truth = F.interpolate(part, (32, 32), mode="bilinear", antialias=True, align_corners=False)
    assert (sample.frames.float() - truth).abs().max() <= 1


def read_seed(key: SampleKey) -> int:
    return stable_hash("augmentation", 1, key.epoch, key.index)


def test_it_follows_from_seed_epoch_and_place_whatever_the_workers(make_video, tmp_path: Path) -> None:
    clips = [clip(make_video(tmp_path / f"{number}.mp4", 20)) for number in range(3)]

    def seen(workers: int, seed: int = 1, start: int = 0) -> list[torch.Tensor]:
        dataset = ClipDataset(clips, reader(Augmentation(**STANDARD), seed=seed), seed=1, replace_bad=True)
        sampler = EpochSampler(3, seed=1, start=start)
        loader = DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=workers)
        return [sample.frames for sample, _ in zip(loader, range(6), strict=False)]

    alone = seen(0)
    assert all(torch.equal(one, other) for one, other in zip(alone, seen(2), strict=True))
    assert all(torch.equal(one, other) for one, other in zip(alone[4:], seen(0, start=4), strict=False))
    order = [key.index for key, _ in zip(EpochSampler(3, seed=1), range(6), strict=False)]
    again = next(number for number in range(3, 6) if order[number] == order[0])
    assert not torch.equal(alone[0], alone[again]), "the second epoch looks like the first"
    assert not torch.equal(alone[0], seen(0, seed=2)[0])


def test_a_random_start_takes_any_frames_in_a_row(make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 34)
    every, times = read_video(path, stride=1, size=32)
    one, starts = clip(path), set()
    for epoch in range(60):
        sample = reader(Augmentation(random_start=True)).read(one, SampleKey(epoch, 0))
        start = next(number for number, frame in enumerate(every) if torch.equal(frame, sample.frames[0]))
        starts.add(start)
        assert torch.equal(sample.frames, every[start : start + 25 : 6])
        torch.testing.assert_close(sample.timestamps, (times[start : start + 25 : 6] - times[start]).float())
    assert starts == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("The car turns LEFT.", "LEFT"),
        ("a right-handed man", "right"),
        ("it goes leftwards", "leftwards"),
        ("it turns counter-clockwise", "counter-clockwise"),
        ("bright lights, a cleft, copyright", None),
    ],
)
def test_words_that_a_flip_would_change(text: str, word: str | None) -> None:
    assert direction_word(clip(Path("a"), caption=text)) == word
    asked = Question("motion", "choice", "which way?", "up", ("up", text))
    assert (direction_word(Clip("a", Path("a"), questions=(asked,))) is None) == (word is None)


def test_a_flip_of_left_and_right_is_refused_by_default() -> None:
    rng, one = np.random.default_rng(0), clip(Path("a.mp4"), caption="it moves left")
    sentence = r"^data\.augmentation\.horizontal_flip=0\.5: .* text of a\.mp4 says 'left'.* Set .*left_right=keep"
    with pytest.raises(UserError, match=sentence):
        Augmentation(horizontal_flip=0.5).view(one, rng)
    with pytest.raises(UserError, match=sentence):
        Augmentation(horizontal_flip=0.5).check([clip(Path("b.mp4")), one])
    Augmentation(horizontal_flip=0.5).check([clip(Path("b.mp4"))])
    Augmentation().check([one])
    assert not any(Augmentation(horizontal_flip=1.0, left_right="keep").view(one, rng).flipped for _ in range(9))
    assert all(Augmentation(horizontal_flip=1.0, left_right="flip").view(one, rng).flipped for _ in range(9))


def test_a_run_refuses_before_it_begins_and_its_evaluation_is_not_augmented(tiny_run, tmp_path: Path) -> None:
    flip = ["data/augmentation=standard", "data.augmentation.horizontal_flip=0.5"]
    with pytest.raises(UserError, match=r"says '(left|right)'"):
        train(compose([*tiny_run, *flip]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # Rates of 0 leave the weights as they are, and tokens are not standardised by what was trained on, so that the
    # metrics show what was evaluated on.
    still = [*tiny_run, "optimiser=sgd", "optimiser.lr=0", "trainer.max_steps=1", "mllm.standardise_video=false"]
    plain = train(compose(still), run_dir=tmp_path / "plain")
    augmented = train(compose([*still, *flip, "data.augmentation.left_right=keep"]), run_dir=tmp_path / "augmented")
    names = [name for name in plain if name.startswith(("alignment", "caption"))]
    assert names
    assert {name: plain[name] for name in names} == {name: augmented[name] for name in names}
