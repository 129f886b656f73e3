"""Files whose timestamps do not give the presentation order, checked against decoding all frames."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vtok.data.video import packet_range as part
from vtok.data.video import video_file as videofile
from vtok.data.video.read import open_video, read_video

PLACEHOLDER = b"\x00\x00\x01\xb6\x7f"  # a picture that is not coded, as Xvid writes in place of one that is packed


def decoded(path: Path) -> np.ndarray:
    """All frames in the decoder's order, uint8 (T, H, W, 3)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def copy(source: Path, target: Path) -> Path:
    """The packets as they are in another container, with the timestamps that FFmpeg finds for them."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    return target


def in_decoding_order(source: Path, target: Path, *, packed: bool = False) -> Path:
    """The packets a frame after the other as AVI has them; `packed`: a B-frame in the packet of the frame before."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        stream.time_base = Fraction(1, 24)
        contents = [bytes(packet) for packet in read.demux(video=0) if packet.size]
        keys = [packet.is_keyframe for packet in _packets(source)]
        if packed:
            # The two bits after the code of a picture are 2 for a B-frame.
            b_frames = [content.partition(b"\x00\x00\x01\xb6")[2][0] >> 6 == 2 for content in contents]
            for number in range(1, len(contents)):
                if b_frames[number] and not b_frames[number - 1]:
                    contents[number - 1 : number + 1] = [contents[number - 1] + contents[number], PLACEHOLDER]
            # By this text FFmpeg knows the encoder, and that it packs.
            contents[0] = contents[0].replace(b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb2DivX503b1393p\x00\x00\x01\xb6", 1)
        for number, (content, is_key) in enumerate(zip(contents, keys, strict=True)):
            packet = av.Packet(content)
            packet.pts = packet.dts = number
            packet.time_base, packet.is_keyframe, packet.stream = stream.time_base, is_key, stream
            written.mux(packet)
    return target


def _packets(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def assert_decoders_order(path: Path, frames: int) -> None:
    truth = decoded(path)
    assert len(truth) == frames
    read, seconds = read_video(path, stride=1)
    np.testing.assert_array_equal(read.permute(0, 2, 3, 1).numpy(), truth)
    assert (np.diff(seconds) > 0).all()
    for indices in ([1], [frames - 1], [0, 6, 12, 18], [7, 3, 3]):
        np.testing.assert_array_equal(read_video(path, indices=indices)[0], read[indices])


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
@pytest.mark.parametrize("name", ["h264", "mpeg4", "packed"])
def test_frames_come_in_the_decoders_order(name: str, suffix: str, make_video, tmp_path: Path) -> None:
    codec = "libx264" if name == "h264" else "mpeg4"
    options = {"x264-params": "bframes=2:b-adapt=0:keyint=12"} if name == "h264" else {"bf": "1", "g": "9"}
    # H.264 with start codes in front of its parts, as AVI has it, is what MPEG-TS has as well.
    whole = make_video(tmp_path / ("whole.ts" if name == "h264" else "whole.mkv"), 30, codec, options=options)
    stored = in_decoding_order(whole, tmp_path / "stored.avi", packed=name == "packed")
    np.testing.assert_array_equal(decoded(stored), decoded(whole))
    assert_decoders_order(stored if suffix == ".avi" else copy(stored, tmp_path / f"copy{suffix}"), 30)


@pytest.mark.parametrize(("name", "frames"), [("xvid_packed/xvid.avi", 98), ("h264_avi_order/h264.avi", 100)])
def test_found_files_come_in_the_decoders_order(name: str, frames: int, faults_dir: Path, tmp_path: Path) -> None:
    assert_decoders_order(faults_dir / name, frames)
    assert_decoders_order(copy(faults_dir / name, tmp_path / "copy.mp4"), frames)
    seconds = read_video(faults_dir / name, stride=1)[1]
    assert float(seconds[-1] - seconds[0]) == pytest.approx(frames / 25, abs=0.2)


def test_a_part_of_a_file_in_decoding_order_is_that_of_all_of_it(make_video, tmp_path: Path, monkeypatch) -> None:
    options = {"x264-params": "bframes=2:b-adapt=0:keyint=12"}
    stored = in_decoding_order(make_video(tmp_path / "whole.ts", 60, options=options), tmp_path / "stored.avi")
    path = copy(stored, tmp_path / "copy.mp4")
    monkeypatch.setattr(part, "WORTH", 0.0)
    with open_video(path, part=part.Part(1.0, 1.5)) as video:
        read = video.read(list(range(len(video.timestamps))))
    truth = decoded(path)
    np.testing.assert_array_equal(read.permute(0, 2, 3, 1).numpy(), truth[len(truth) - len(read) :][: len(read)])


def test_an_order_that_the_decoder_contradicts_is_not_used(make_video, tmp_path: Path, monkeypatch) -> None:
    options = {"x264-params": "bframes=2:b-adapt=0:keyint=12"}
    path = in_decoding_order(make_video(tmp_path / "whole.ts", 30, options=options), tmp_path / "stored.avi")
    monkeypatch.setattr(videofile.PacketTimes, "is_doubtful", lambda self, may_reorder: False)
    read = read_video(path, stride=1)[0]
    np.testing.assert_array_equal(read.permute(0, 2, 3, 1).numpy(), decoded(path))


def test_a_right_order_without_b_frames_is_checked_once_and_then_trusted(
    make_video, tmp_path: Path, monkeypatch
) -> None:
    # The encoder announces B-frames, and finds none worth it.
    rng = np.random.default_rng(0)
    greys = rng.integers(0, 256, (24, 1, 1, 1), dtype=np.uint8)
    path = make_video(tmp_path / "clip.mp4", np.broadcast_to(greys, (24, 32, 32, 3)), options={"g": "12", "bf": "2"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.has_b_frames
    times = [packet.pts for packet in _packets(path)]
    assert times == sorted(times)
    with open_video(path) as video:
        monkeypatch.setattr(videofile.VideoFile, "_decode_all", lambda self, wanted: pytest.fail("all was decoded"))
        frame = video.read([13])[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(frame, decoded(path)[13])


def test_timestamps_that_restart_are_supported(make_video, tmp_path: Path, faults_dir: Path) -> None:
    # MPEG-TS counts 33 bits of 1/90000 s, 95,443.7 s; the muxer itself adds 1.4 s.
    path = make_video(tmp_path / "wrap.ts", 30, fps=25, muxer={"output_ts_offset": "95442"})
    for file, frames in ((path, 30), (faults_dir / "ts_negative" / "wrap.ts", 50)):
        with av.open(str(file)) as container:
            assert container.start_time < 0
        with open_video(file) as video:
            assert video.missing == 0
            np.testing.assert_allclose(video.timestamps, np.arange(frames) / 25, atol=1e-6)
            np.testing.assert_array_equal(video.read(list(range(frames))).permute(0, 2, 3, 1).numpy(), decoded(file))
