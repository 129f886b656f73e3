"""Planned frames of clips, and what stands in for broken ones."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vtok.common.errors import UserError
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipSample, FrameReader, clip_frames
from vtok.data.clip_settings import ClipSettings
from vtok.data.dataset import ClipDataset
from vtok.data.frame_maps import FrameMaps
from vtok.data.kept_samples import KeptSamples
from vtok.data.plan import StridePlanner
from vtok.data.sampler import EpochSampler, SampleKey
from vtok.data.video.common import BadVideoError
from vtok.data.video.read import read_video


def dataset(clips: list[Clip], **keys) -> ClipDataset:
    how = {name: keys.pop(name) for name in ("seed", "replace_bad", "keep_bytes") if name in keys}
    planner = keys.pop("planner", StridePlanner(6))
    reader = FrameReader(planner, ClipSettings(**({"size": 32} | keys)))
    return ClipDataset(clips, reader, **({"seed": 0, "replace_bad": True} | how))


def clip(path: Path, **keys) -> Clip:
    return Clip(id=path.name, path=path, caption=path.stem, **keys)


def test_a_sample_has_the_planned_frames(make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 40)
    sample = dataset([clip(path)], planner=StridePlanner(6, "middle"))[SampleKey(3, 0)]
    truth, times = read_video(path, indices=[0, 6, 12, 18, 24], size=32)
    assert torch.equal(sample.frames, truth)
    assert sample.timestamps.dtype == torch.float32
    torch.testing.assert_close(sample.timestamps, times.float())
    assert (sample.key, sample.epoch, sample.clip.id, sample.bad) == (2, 3, "clip.mp4", ())


def test_a_key_chosen_from_content_is_minus_one(make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4")
    assert dataset([clip(path)], planner=StridePlanner(6, "medoid"))[SampleKey(0, 0)].key == -1


def test_a_range_of_a_file(make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 48)
    sample = dataset([clip(path, start=0.5, end=1.0)], planner=StridePlanner(4))[SampleKey(0, 0)]
    assert torch.equal(sample.frames, read_video(path, indices=[12, 16, 20], size=32)[0])
    torch.testing.assert_close(sample.timestamps, torch.tensor([0, 4 / 24, 8 / 24]))


def test_clip_frames():
    whole = Clip("a", Path("a"))
    at_24 = np.arange(48) / 24
    assert clip_frames(at_24, whole, num_frames=30, fps=None).tolist() == list(range(30))
    assert clip_frames(at_24, whole, num_frames=99, fps=None).tolist() == list(range(48))
    assert clip_frames(at_24, whole, num_frames=99, fps=12).tolist() == list(range(0, 48, 2))
    assert clip_frames(at_24, whole, num_frames=4, fps=48).tolist() == [0, 0, 1, 1]
    part = Clip("a", Path("a"), start=0.5, end=1.0)
    assert clip_frames(at_24, part, num_frames=99, fps=None).tolist() == list(range(12, 24))
    assert clip_frames(at_24, part, num_frames=99, fps=8).tolist() == [12, 15, 18, 21]
    in_milliseconds = np.round(at_24, 3)
    assert clip_frames(in_milliseconds, part, num_frames=99, fps=None).tolist() == list(range(12, 24))
    late = at_24 + 7.0
    assert clip_frames(late, whole, num_frames=3, fps=12).tolist() == [0, 2, 4]
    assert clip_frames(np.array([0.5]), whole, num_frames=3, fps=12).tolist() == [0]
    with pytest.raises(BadVideoError, match=r"no frame lies in the clip \(5 to 6 s\), the last frame is at 1.96 s"):
        clip_frames(at_24, Clip("a", Path("a"), start=5, end=6), num_frames=3, fps=None)


@pytest.mark.parametrize("end", [None, 1.5])
def test_rates_of_files_do_not_change_the_plan(end):
    clips = Clip("a", Path("a"), start=0.25, end=end)
    at_25 = clip_frames(np.arange(50) / 25, clips, num_frames=99, fps=10)
    at_30 = clip_frames(np.arange(60) / 30, clips, num_frames=99, fps=10)
    assert len(at_25) == len(at_30) == (18 if end is None else 13)
    assert np.abs(at_25 / 25 - at_30 / 30).max() <= 1 / 25


def test_a_broken_clip_is_replaced_by_the_same_one_every_time(make_video, tmp_path):
    clips = [clip(make_video(tmp_path / f"{n}.mp4", 6)) for n in range(5)]
    for number in (1, 3):
        clips[number].path.write_bytes(b"")
    samples = {key: dataset(clips)[key] for key in (SampleKey(epoch, 1) for epoch in range(8))}
    assert len({sample.clip.id for sample in samples.values()}) > 1
    for sample in samples.values():
        assert sample.clip.id not in ("1.mp4", "3.mp4")
        assert sample.bad[0] == (str(tmp_path / "1.mp4"), "the file is empty (0 bytes)")
    again = dataset(clips)
    for key in reversed(samples):
        assert again[key].clip == samples[key].clip
        assert again[key].bad == samples[key].bad
    good = dataset(clips)[SampleKey(0, 2)]
    assert (good.clip.id, good.bad) == ("2.mp4", ())


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_samples(workers, make_video, tmp_path):
    clips = [clip(make_video(tmp_path / f"{n}.mp4", 6)) for n in range(5)]
    clips[2].path.write_bytes(b"")
    data = dataset(clips, planner=StridePlanner(2))

    def first(num_workers: int) -> list:
        sampler = EpochSampler(5, seed=1)
        loader = DataLoader(data, sampler=sampler, batch_size=None, num_workers=num_workers)
        return [sample for sample, _ in zip(loader, range(12), strict=False)]

    for here, there in zip(first(0), first(workers), strict=True):
        assert (here.clip, here.epoch, here.bad) == (there.clip, there.epoch, there.bad)
        assert torch.equal(here.frames, there.frames)


def test_without_replacement_a_broken_clip_is_an_error(make_video, tmp_path):
    clips = [clip(make_video(tmp_path / "good.mp4", 6)), clip(tmp_path / "missing.mp4")]
    data = dataset(clips, replace_bad=False)
    assert data[SampleKey(0, 0)].clip.id == "good.mp4"
    with pytest.raises(BadVideoError, match=r"missing.mp4: there is no such file"):
        data[SampleKey(0, 1)]


def test_all_clips_broken_is_an_error_with_the_first_twenty(tmp_path):
    clips = [clip(tmp_path / f"{n}.mp4") for n in range(25)]
    with pytest.raises(UserError, match=r"All 25 clips are broken") as caught:
        dataset(clips)[SampleKey(0, 0)]
    assert str(caught.value).count("no such file") == 20
    assert "and 5 more" in str(caught.value)


def test_a_truncated_file_is_broken_if_the_clip_needs_the_missing_part(make_video, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    path = make_video(tmp_path / "cut.mkv", noise, options={"g": "6"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadVideoError, match="truncated"):
        dataset([clip(path)], num_frames=60, replace_bad=False)[SampleKey(0, 0)]
    assert len(dataset([clip(path)], num_frames=12, replace_bad=False)[SampleKey(0, 0)].frames) == 2
    assert len(dataset([clip(path, end=0.5)], num_frames=60, replace_bad=False)[SampleKey(0, 0)].frames) == 2


def test_a_key_frame_outside_of_a_short_clip_names_the_clip(make_video, tmp_path):
    path = make_video(tmp_path / "short.mp4", 6)
    with pytest.raises(BadVideoError, match=r"short.mp4: tokeniser.key_frame=20"):
        dataset([clip(path)], planner=StridePlanner(6, 20), replace_bad=False)[SampleKey(0, 0)]


def test_real_clips_of_every_kind(clips_dir):
    paths = [clips_dir / "flower_frames" / "frames", *sorted(clips_dir.glob("*.[mwa][pkev]*"))]
    data = dataset([clip(path) for path in paths], fps=8.0, num_frames=16, replace_bad=False)
    for index in range(len(data)):
        sample = data[SampleKey(0, index)]
        assert sample.frames.shape[1:] == (3, 32, 32)
        assert sample.timestamps[0] == 0
        assert torch.all(sample.timestamps.diff() > 0.4)


def test_the_dataset_pickles(tmp_path):
    data = dataset([clip(tmp_path / "a.mp4")])
    assert len(pickle.loads(pickle.dumps(data))) == 1


@pytest.mark.parametrize("sizes", [1, 2])
def test_samples_of_a_small_set_are_read_once(make_video, tmp_path, monkeypatch, sizes):
    """If there is room for two samples, two clips are kept, and of three none."""
    clips = [clip(make_video(tmp_path / f"{number}.mp4", 24)) for number in range(1 + sizes)]
    reads: list[int] = []
    read = FrameReader.read

    def counted(reader, clip, key):
        reads.append(key.index)
        return read(reader, clip, key)

    monkeypatch.setattr(FrameReader, "read", counted)
    room = 2 * dataset(clips)[SampleKey(0, 0)].num_bytes
    assert room == 2 * (4 * 3 * 32 * 32 + 4 * 4)
    reads.clear()
    data = dataset(clips, keep_bytes=room)
    first = [data[SampleKey(0, index)] for index in range(len(clips))]
    again = [data[SampleKey(1, index)] for index in range(len(clips))]
    assert len(reads) == len(clips) * (1 if len(clips) == 2 else 2)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert (one.epoch, other.epoch) == (0, 1)


def test_the_size_of_a_sample_is_that_of_all_its_tensors(make_video, tmp_path):
    sample = dataset([clip(make_video(tmp_path / "a.mp4", 24))])[SampleKey(0, 0)]
    maps = FrameMaps(
        maps=torch.zeros(4, 6, 2, 2, dtype=torch.float16), sharpness=torch.zeros(4), levels=torch.zeros(4).long()
    )
    more = replace(
        sample,
        frames=None,
        maps=maps,
        latents=torch.zeros(3, 5),
        vectors=torch.zeros(4, 3, 2, 2),
        pooled={"a": torch.zeros(7)},
    )
    assert more.num_bytes == 4 * 4 + (4 * 6 * 2 * 2) * 2 + 4 * 4 + 4 * 8 + 4 * 15 + 4 * 48 + 4 * 7


def test_a_large_first_sample_does_not_speak_for_all():
    """64 samples are enough to judge the others by."""

    def sample(number: int):
        return ClipSample(torch.zeros(number, dtype=torch.uint8), torch.zeros(0), 0, Clip("a", Path("a")), 0)

    kept = KeptSamples(clips=1000, max_bytes=1200)
    for index, size in enumerate([10, *[1] * 999]):
        kept.add(index, sample(size))
    assert len(kept) == 1000
    for clips, most in ((1000, 64), (10, 10)):
        kept = KeptSamples(clips=clips, max_bytes=clips - 1)
        for index in range(clips):
            kept.add(index, sample(1))
            assert len(kept) == (index + 1 if index + 1 < most else 0)
