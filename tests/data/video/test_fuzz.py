"""Broken videos and images, made of whole ones at random: each gives its frames or a `BadVideoError`.

None ends or hangs a process.

`pytest tests/data/video/test_fuzz.py --fuzz 5000` reads more of them. A failure names its seed, and
`python tests/data/mutate.py SEED 1 FOLDER FILES` reads that file again.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

STALL = 120  # seconds without a word: the reader gives up a file after 20
KINDS = {
    "h264.mp4": ("libx264", "yuv420p", {"g": "8", "bf": "2"}),
    "h264.mkv": ("libx264", "yuv420p", {"g": "8", "bf": "2"}),
    "h264.ts": ("libx264", "yuv420p", {"g": "8", "bf": "2"}),
    "hevc.mp4": ("libx265", "yuv420p", {"x265-params": "keyint=8:log-level=none"}),
    "vp8.webm": ("libvpx", "yuv420p", {"lag-in-frames": "8", "auto-alt-ref": "1"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"lag-in-frames": "8"}),
    "av1.mp4": ("libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "lp=1"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"g": "8", "bf": "2"}),
    "motion_jpeg.mov": ("mjpeg", "yuvj420p", {}),
}
REAL = ("hallway_walk.mp4", "asl_milk.mkv", "nasa_rotated.mp4")


def write_images(folder: Path) -> list[Path]:
    """JPEG, PNG and WEBP files of several kinds, some with an EXIF orientation, under names that are looked for."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    grey = Image.fromarray(rng.integers(0, 65536, (24, 32), dtype=np.uint16))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "a camera"
    picture.save(folder / "plain.jpg")
    picture.save(folder / "turned.jpg", exif=exif, progressive=True)
    picture.save(folder / "turned.png", exif=exif)
    picture.quantize(16).save(folder / "palette.png")
    grey.save(folder / "deep.png")
    picture.save(folder / "webp.png", "WEBP", exif=exif)
    return [folder / name for name in ("plain.jpg", "turned.jpg", "turned.png", "palette.png", "deep.png", "webp.png")]


def said(process: subprocess.Popen[str], stall: int) -> Iterator[dict]:
    """The lines of json, until the process ends; one that is silent for too long is killed."""
    assert process.stdout is not None
    while True:
        watch = threading.Timer(stall, process.kill)
        watch.start()
        line = process.stdout.readline()
        watch.cancel()
        if not line:
            return
        yield json.loads(line)


def test_broken_files_give_frames_or_a_reason(request, make_video, tmp_path):
    whole = [
        make_video(tmp_path / name, 20, codec, pix_fmt=pix_fmt, options=options)
        for name, (codec, pix_fmt, options) in KINDS.items()
    ]
    clips = Path(__file__).resolve().parents[4] / "shared" / "clips"
    whole += [clips / name for name in REAL if (clips / name).is_file()]
    whole += write_images(tmp_path)
    (tmp_path / "broken").mkdir()
    count = request.config.getoption("--fuzz")
    command = [sys.executable, str(Path(__file__).parents[1] / "mutate.py"), "0", str(count), str(tmp_path / "broken")]
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen([*command, *map(str, whole)], stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        lines = list(said(process, STALL))
    last = lines[-1] if lines else {}
    assert process.returncode == 0, (last, process.returncode, (tmp_path / "stderr").read_text()[-3000:])
    read = [line for line in lines if "bad" in line]
    bad = [line for line in read if line["bad"] is not None]
    assert len(read) == count
    assert 0 < len(bad) < count, "every file was bad, or none: they are not broken as they ought to be"
    assert last["open"] == 0
    assert last["kib"] < 200 * 1024, last
