"""Names and contents that make FFmpeg or Pillow open something else open nothing."""

import ctypes
import os
import platform
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from vtok.data.clip import Clip, Span
from vtok.data.video.common import BadVideoError
from vtok.data.video.container import FORMATS
from vtok.data.video.read import open_clip, read_video
from vtok.data.video.write import write_video

# System calls that start a process or open a connection: socket, connect, execve, fork, vfork (Linux).
FORBIDDEN = {"x86_64": (41, 42, 59, 322, 57, 58), "aarch64": (198, 203, 221, 281)}

NO_FILTER = "the system does not take a filter of system calls"
PORT = "127.0.0.1:18999"
HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S" '
    'profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation '
    'id="0" bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 50004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:18999/x.png" width="8" height="8"/></svg>'
# By name; {} stands for a video of the same folder, which reading the file must not bring either.
HOSTILE = {
    "playlist.m3u8": HLS.format(f"http://{PORT}/x.ts"),
    "playlist.mp4": HLS.format(f"http://{PORT}/x.ts"),
    "local.m3u8": HLS.format("{}"),
    "local_url.m3u8": HLS.format("file://{}"),
    "tcp.m3u8": HLS.format(f"tcp://{PORT}"),
    "data.m3u8": HLS.format("data:video/mp2t;base64,AAAA"),
    "key.m3u8": HLS.format("{}").replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="http://{PORT}/k"\n#EXTINF'),
    "session.sdp": SDP,
    "session.mp4": SDP,
    "script.ffconcat": "ffconcat version 1.0\nfile {}\n",
    "script.mp4": "ffconcat version 1.0\nfile http://127.0.0.1:18999/x.mp4\n",
    "manifest.mpd": DASH.format(f"http://{PORT}/x.mp4"),
    "manifest.mp4": DASH.format("{}"),
    "smooth.ism": f"http://{PORT}/x.ism",
    "stream.rtsp": f"rtsp://{PORT}/x",
    "picture.svg": SVG,
    "frame_%03d.png": "x",
    "rtmp:__x": "x",
    "concat:secret.mp4|secret.mp4": "x",
    "subfile,,start,0,end,0,,:secret.mp4": "x",
    "pipe:0": "x",
    "data:video,x": "x",
    "crypto:secret.mp4": "x",
    "udp:@18999": "x",
    "avs.avs": 'AVISource("secret.mp4")',
}


def forbid(numbers: tuple[int, ...]) -> None:
    """From here on a system call of these numbers kills this process (seccomp, as `man 2 seccomp` describes it)."""
    # Load the call's number; for each that is forbidden: if equal, kill; at the end: allow.
    program = [(0x20, 0, 0, 0)]
    for number in numbers:
        program += [(0x15, 0, 1, number), (0x06, 0, 0, 0x80000000)]
    program.append((0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    system = ctypes.CDLL(None, use_errno=True)
    if system.prctl(38, 1, 0, 0, 0) or system.prctl(22, 2, header, 0, 0):
        raise OSError(ctypes.get_errno(), NO_FILTER)


def confined(work: Callable[[], None]) -> str:
    """How `work` went in a process that can neither connect nor start another: "it went well", or what it raised."""
    numbers = FORBIDDEN.get(platform.machine())
    if platform.system() != "Linux" or numbers is None:
        pytest.skip("system calls are filtered on Linux only")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = "it went well"
        try:
            forbid(numbers)
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if NO_FILTER in said:
        pytest.skip(NO_FILTER)
    return said or "it was killed for a system call"


@pytest.fixture
def hostile(make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The hostile files, by names relative to the working folder, beside a good video."""
    make_video(tmp_path / "secret.mp4", 4)
    monkeypatch.chdir(tmp_path)
    for name, content in HOSTILE.items():
        (tmp_path / name).write_text(content.replace("{}", str(tmp_path / "secret.mp4")))
    return [Path(name) for name in HOSTILE]


def test_the_filter_of_system_calls_kills() -> None:
    import socket

    assert confined(lambda: None) == "it went well"
    assert confined(lambda: socket.socket().close()) == "it was killed for a system call"


def test_hostile_files_open_nothing(hostile: list[Path]) -> None:
    def read() -> None:
        for path in hostile:
            spans = [None, Span(str(path), 0, path.stat().st_size)]
            for span in spans:
                with pytest.raises(BadVideoError), open_clip(Clip("a", path, span=span), timeout=5.0):
                    pass

    assert confined(read) == "it went well"


def test_an_eps_named_png_starts_no_process(tmp_path: Path, faults_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/was_run\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.png").write_text(EPS)
    for folder in (tmp_path / "frames", faults_dir / "eps_as_png" / "s" / "frames"):
        with pytest.raises(BadVideoError, match="cannot be read"):
            read_video(folder, indices=[0])
    assert not (tmp_path / "was_run").exists()


def test_an_image_of_another_format_is_refused(tmp_path: Path) -> None:
    content = BytesIO()
    Image.new("RGB", (8, 8)).save(content, "TIFF")
    (tmp_path / "0.png").write_bytes(content.getvalue())
    with pytest.raises(BadVideoError, match="cannot identify image file"):
        read_video(tmp_path, indices=[0])


@pytest.mark.parametrize("name", ["2024-05-01T10:30:00.mp4", "concat:a.mp4", "file:a.mp4", "a%03d.mp4", "a?b#c.mp4"])
def test_a_name_is_that_of_a_file_and_nothing_else(name: str, make_video, tmp_path: Path, monkeypatch) -> None:
    frames = read_video(make_video(tmp_path / "plain.mp4", 4), stride=1)[0]
    monkeypatch.chdir(tmp_path)
    Path("plain.mp4").rename(name)
    assert read_video(name, stride=1)[0].equal(frames)
    assert read_video(tmp_path / name, stride=1)[0].equal(frames)
    write_video(Path(name), frames[:2], fps=10)
    assert len(read_video(name, stride=1)[0]) == 2


@pytest.mark.parametrize("name", ["x" * 5000 + ".mp4", "a\0b.mp4"])
def test_a_name_that_no_file_can_have_is_a_reason(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadVideoError):
        read_video(tmp_path / name, indices=[0])


def test_found_names_and_playlists(faults_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(faults_dir / "ffmpeg_protocol_and_colon")
    assert len(read_video("2024-05-01T10:30:00.mp4", stride=1)[0]) == 50
    with pytest.raises(BadVideoError, match="cannot be decoded"):
        read_video("concat:secret.mp4|secret.mp4", indices=[0])
    for name in ("hls.m3u8", "hlsf.m3u8", "sdp.mp4"):
        with pytest.raises(BadVideoError, match="not in a video format"):
            read_video(faults_dir / "shard_network" / name, indices=[0])


def test_containers_that_name_other_files_are_not_among_those_read() -> None:
    referring = {"hls", "concat", "dash", "sdp", "rtsp", "rtp", "sap", "image2", "image2pipe", "svg_pipe", "imf", "avs"}
    assert referring.isdisjoint(FORMATS)
