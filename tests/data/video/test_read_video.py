"""Readers against decoding everything with plain PyAV."""

import random
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vtok.common.errors import UserError
from vtok.data.video import video_file as videofile
from vtok.data.video.common import BadVideoError, cover
from vtok.data.video.read import nearest, open_video, read_video
from vtok.data.video.scale import INTERPOLATION, Scaler

OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0:b-adapt=0"}
MADE = {
    "h264.mp4": ("libx264", "yuv420p", {"bf": "2"}),
    "short_groups.mp4": ("libx264", "yuv420p", {"g": "7", "bf": "2"}),
    "open_groups.mkv": ("libx264", "yuv420p", OPEN_GROUPS),
    "intra_refresh.mkv": ("libx264", "yuv420p", {"x264-params": "intra-refresh=1:keyint=12:bframes=2"}),
    "mpeg4_b_frames.avi": ("mpeg4", "yuv420p", {"g": "8", "bf": "2"}),
    "mpeg2.mkv": ("mpeg2video", "yuv420p", {"g": "8", "bf": "2"}),
    "hevc.mp4": ("libx265", "yuv420p", {"x265-params": "keyint=12:log-level=none"}),
    "vp8.webm": ("libvpx", "yuv420p", {"lag-in-frames": "16", "auto-alt-ref": "1"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"lag-in-frames": "16"}),
    "lossless.mkv": ("ffv1", "bgr0", {}),
    "motion_jpeg.mov": ("mjpeg", "yuvj420p", {}),
    "ten_bit.mkv": ("ffv1", "yuv420p10le", {}),
    "transport.ts": ("libx264", "yuv420p", {"g": "7", "bf": "2"}),
    "mpeg4.mov": ("mpeg4", "yuv420p", {"g": "8", "bf": "2"}),
    "mpeg1.mpg": ("mpeg1video", "yuv420p", {"g": "8", "bf": "2"}),
    "hevc_closed.mkv": ("libx265", "yuv420p", {"x265-params": "keyint=8:open-gop=0:log-level=none"}),
    "vp9.mp4": ("libvpx-vp9", "yuv420p", {"g": "9", "lag-in-frames": "16"}),
    "av1.mp4": ("libsvtav1", "yuv420p", {"g": "9", "preset": "10", "svtav1-params": "lp=1"}),
    "av1.webm": ("libsvtav1", "yuv420p", {"preset": "10", "svtav1-params": "lp=1"}),
    "wmv2.avi": ("wmv2", "yuv420p", {"g": "8"}),
    "prores.mov": ("prores_ks", "yuv422p10le", {}),
    "animation.gif": ("gif", "rgb8", {}),
    "windows_media.wmv": ("wmv2", "yuv420p", {"g": "8"}),
    "flash.flv": ("flv", "yuv420p", {"g": "8"}),
}
# MPEG-2 knows a few frame rates only.
VARIABLE = [name for name in MADE if name.endswith((".mp4", ".mov", ".mkv", ".webm")) and name != "mpeg2.mkv"]
# x265 writes past the end of its memory at such sizes, so there is no HEVC among them.
ODD = {
    "h264.mp4": ("libx264", "yuv444p", {"g": "7", "bf": "2"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"bf": "2"}),
    "mjpeg.mov": ("mjpeg", "yuvj420p", {}),
}


def decode_all(path: Path, size: int | None = None) -> tuple[list[np.ndarray], list[float]]:
    """Every frame of the best video stream and every timestamp; in its own size as PyAV gives it.

    Scaled it is by our own scaler, which test_scaler.py holds against others: here it is seen which frames come.
    """
    scaler = Scaler()
    frames, times = [], []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_type = "NONE"
        # The clocks of these start anywhere.
        begin = stream.start_time * stream.time_base if container.format.name in ("mpegts", "mpeg") else 0
        for frame in container.decode(stream):
            if size is None:
                rgb = frame.to_ndarray(format="rgb24", interpolation=INTERPOLATION, threads=1)
                frames.append(np.rot90(rgb, frame.rotation // 90))
            else:
                picture = np.empty((3, *scaler.shape(frame, size)), np.uint8)
                scaler.scale(frame, size, picture)
                frames.append(picture.transpose(1, 2, 0))
            times.append(float(frame.pts * frame.time_base - begin))
    return frames, times


def assert_same_as_full_decode(path: Path, size: int | None, chosen: list[list[int]]) -> None:
    truth, times = decode_all(path, size)
    for indices in chosen:
        frames, timestamps = read_video(path, indices=indices, size=size)
        assert frames.dtype == torch.uint8
        assert timestamps.dtype == torch.float64
        np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), np.stack([truth[i] for i in indices]))
        np.testing.assert_allclose(timestamps.numpy(), [times[i] for i in indices], atol=1e-9)


@pytest.mark.parametrize("name", MADE)
def test_synthetic_videos_equal_a_full_decode(name, make_video, tmp_path):
    codec, pix_fmt, options = MADE[name]
    path = make_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt, options=options)
    singles = [[index] for index in range(30)]
    assert_same_as_full_decode(path, None, [*singles, list(range(0, 30, 6)), [29, 3, 3, 17, 0], list(range(30))])
    assert len(read_video(path, stride=1)[0]) == 30


@pytest.mark.parametrize("name", VARIABLE)
def test_synthetic_videos_of_variable_rate_equal_a_full_decode(name, make_video, tmp_path):
    codec, pix_fmt, options = MADE[name]
    times = np.cumsum([0.0, *np.random.default_rng(0).integers(10, 200, 23) / 1000]).tolist()
    path = make_video(tmp_path / name, 24, codec, pix_fmt=pix_fmt, options=options, times=times)
    assert_same_as_full_decode(path, None, [[23], [5], [20, 11, 2], list(range(0, 24, 6))])
    read = read_video(path, stride=1)[1].numpy()
    np.testing.assert_allclose(read - read[0], times, atol=2e-3)


@pytest.mark.parametrize("name", MADE)
def test_synthetic_videos_of_one_frame_equal_a_full_decode(name, make_video, tmp_path):
    codec, pix_fmt, options = MADE[name]
    path = make_video(tmp_path / name, 1, codec, pix_fmt=pix_fmt, options=options)
    assert_same_as_full_decode(path, 40, [[0], [0, 0]])
    assert len(read_video(path, stride=6)[0]) == 1


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(("height", "width"), [(51, 67), (50, 33)])
def test_synthetic_videos_of_odd_size_equal_a_full_decode(name, height, width, make_video, tmp_path):
    codec, pix_fmt, options = ODD[name]
    written = np.random.default_rng(0).integers(0, 256, (14, height, width, 3), dtype=np.uint8)
    path = make_video(tmp_path / name, written, codec, pix_fmt=pix_fmt, options=options)
    assert read_video(path, indices=[0])[0].shape == (1, 3, height, width)
    for size in (None, 41):
        assert_same_as_full_decode(path, size, [[13], [0, 6, 12]])


def test_fragments_without_a_count_of_frames_equal_a_full_decode(make_video, tmp_path):
    muxer = {"movflags": "frag_keyframe+empty_moov"}
    path = make_video(tmp_path / "clip.mp4", options={"g": "7", "bf": "2"}, muxer=muxer)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert_same_as_full_decode(path, None, [[3], [29, 8, 8], list(range(30))])


def test_lossless_frames_come_back_as_they_were_written(make_video, tmp_path):
    written = np.random.default_rng(0).integers(0, 256, (12, 20, 24, 3), dtype=np.uint8)
    path = make_video(tmp_path / "noise.mkv", written, "ffv1", pix_fmt="bgr0")
    frames, _ = read_video(path, indices=[11, 0, 5])
    np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), written[[11, 0, 5]])


def test_real_clips_equal_a_full_decode(clips_dir):
    chooser = random.Random(0)
    for name in ("asl_help.mkv", "fruit_conveyor.avi", "hallway_walk.mp4", "nasa_rotated.mp4", "stream.mp4"):
        with open_video(clips_dir / name) as video:
            count = len(video.timestamps)
        chosen = [[chooser.randrange(count)] for _ in range(4)] + [list(range(0, count, 6))]
        assert_same_as_full_decode(clips_dir / name, 96, chosen)


@pytest.mark.slow
def test_all_real_clips_equal_a_full_decode(clips_dir):
    chooser = random.Random(1)
    for path in sorted(clips_dir.glob("*.[mwa][pkev]*")):
        with open_video(path) as video:
            count = len(video.timestamps)
        chosen = [[chooser.randrange(count)] for _ in range(12)] + [list(range(0, count, 6)), list(range(count))]
        assert_same_as_full_decode(path, 112, chosen)


def test_scaling_is_near_pil(clips_dir):
    for name in ("flower.webm", "store_aisle.mp4", "nasa_rotated.mp4"):
        frames, _ = read_video(clips_dir / name, indices=[8], size=112)
        native = Image.fromarray(decode_all(clips_dir / name)[0][8])
        box, _ = cover(native.height, native.width, 112)
        corners = box.left, box.top, box.left + box.width, box.top + box.height
        truth = np.asarray(native.resize((112, 112), Image.Resampling.BILINEAR, box=corners))
        assert np.abs(frames[0].permute(1, 2, 0).numpy().astype(int) - truth).mean() < 2


def test_sizes(make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4")
    assert read_video(path, indices=[0])[0].shape == (1, 3, 48, 64)
    assert read_video(path, indices=[0, 1], size=32)[0].shape == (2, 3, 32, 32)
    assert read_video(path, indices=[0], size=(20, 90))[0].shape == (1, 3, 20, 90)
    assert read_video(path, indices=[0], size=(37, 35))[0].is_contiguous()
    with pytest.raises(UserError, match="size=0"):
        read_video(path, indices=[0], size=0)


def test_variable_rate_times(make_video, tmp_path):
    times = [0.0, 0.04, 0.1, 0.5, 0.52, 1.3]
    path = make_video(tmp_path / "variable.mkv", 6, times=times, options={"bf": "2"})
    frames, timestamps = read_video(path, stride=1)
    np.testing.assert_allclose(timestamps, times, atol=1e-3)
    chosen, nearest_times = read_video(path, times=[1.29, 0.29, 0.31, -5, 99])
    np.testing.assert_allclose(nearest_times, [1.3, 0.1, 0.5, 0.0, 1.3], atol=1e-3)
    assert torch.equal(chosen, frames[[5, 2, 3, 0, 5]])


def test_nearest_takes_the_earlier_of_two():
    assert nearest(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.51, 1.5, 7.0])).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (0, 1, 1, 0)])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_display_matrix_turns_and_mirrors_the_picture(codec, matrix, make_video, tmp_path):
    upright = make_video(tmp_path / "upright.mp4", 4, codec)
    file = bytearray(upright.read_bytes())
    # The track header's matrix (ISO 14496-12, 8.3.2): x' = a x + c y, y' = b x + d y; the third of each row is 0.
    place, (a, b, c, d) = file.index(b"tkhd") + 44, (number << 16 for number in matrix)
    file[place : place + 20] = struct.pack(">5i", a, b, 0, c, d)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(file)
    for size in (None, 24):
        truth = displayed(read_video(upright, indices=[2], size=size)[0], *matrix)
        assert torch.equal(read_video(turned, indices=[2], size=size)[0], truth)
    assert read_video(turned, indices=[2], size=(30, 20))[0].shape == (1, 3, 30, 20)


def displayed(pictures: torch.Tensor, a: int, b: int, c: int, d: int) -> torch.Tensor:
    """Each pixel (x, y) of pictures (N, C, H, W) put where the display matrix shows it, but for a shift."""
    height, width = pictures.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    out = pictures.new_empty(*pictures.shape[:2], int(down.max()) + 1, int(across.max()) + 1)
    out[..., down, across] = pictures
    return out


@pytest.mark.parametrize(("name", "flip"), [("hflip.mp4", 3), ("vflip.mp4", 2)])
def test_mirrored_files_are_mirrored_back(name, flip, faults_dir):
    plain, mirrored = (read_video(faults_dir / "mirror" / file, indices=[0, 9])[0] for file in ("base.mp4", name))
    assert torch.equal(mirrored, plain.flip(flip))


def test_a_group_is_not_decoded_unless_wanted(make_video, tmp_path, monkeypatch):
    path = make_video(tmp_path / "clip.mp4", options={"g": "5", "bf": "0"})
    sent = []
    with open_video(path) as video:
        monkeypatch.setattr(video, "_decode_all", lambda wanted: pytest.fail("everything was decoded"))
        runs = videofile.decode_ranges
        monkeypatch.setattr(videofile, "decode_ranges", lambda *given: sent.append(runs(*given)) or runs(*given))
        video.read([12, 26])
    assert sent == [[(10, 12), (25, 26)]]


def test_files_too_large_to_hold_are_read_again(make_video, tmp_path, monkeypatch):
    path = make_video(tmp_path / "clip.mp4", options={"g": "7", "bf": "2"})
    monkeypatch.setattr(videofile, "HELD_BYTES", 100)
    assert_same_as_full_decode(path, 32, [[3], [29, 8, 8], list(range(30))])


def test_a_reader_reads_more_than_once(make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4", options={"g": "7", "bf": "2"})
    truth, _ = decode_all(path)
    with open_video(path) as video:
        for indices in ([20], [3, 4], [29], [3]):
            frames = video.read(indices).permute(0, 2, 3, 1).numpy()
            np.testing.assert_array_equal(frames, np.stack([truth[i] for i in indices]))


def test_hidden_vp8_frames_are_no_frames(make_video, tmp_path):
    whole = make_video(tmp_path / "whole.webm", codec="libvpx", options={"lag-in-frames": "0"})
    hidden = tmp_path / "hidden.webm"
    with av.open(str(whole)) as source, av.open(str(hidden), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            content = bytearray(bytes(packet))
            if number == 10:
                content[0] &= ~0x10
            copy = av.Packet(bytes(content))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            target.mux(copy)
    assert len(decode_all(hidden)[0]) == 29
    assert_same_as_full_decode(hidden, None, [[index] for index in range(29)])
    with pytest.raises(UserError, match="29 frames"):
        read_video(hidden, indices=[29])


def test_packets_without_an_order_are_all_decoded(make_video, tmp_path, monkeypatch):
    path = make_video(tmp_path / "clip.avi", codec="mpeg4", options={"g": "8", "bf": "2"})
    monkeypatch.setattr(videofile.PacketTimes, "numbers", lambda self: {})
    assert_same_as_full_decode(path, 32, [[3], [29, 8, 8], list(range(30))])


@pytest.mark.parametrize(
    "choice", [{}, {"stride": 2, "indices": [0]}, {"stride": 0}, {"times": [float("nan")]}, {"indices": []}]
)
def test_invalid_choices_are_refused(choice, make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 4)
    with pytest.raises(UserError):
        read_video(path, **choice)


@pytest.mark.parametrize("index", [30, -1, 10**6])
def test_an_index_out_of_range_is_named(index, make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4")
    with pytest.raises(UserError, match=f"frame {index} .*30 frames") as caught:
        read_video(path, indices=[0, index])
    assert not isinstance(caught.value, BadVideoError)
