"""Writes synthetic clips, for benchmarks without clips of the user's."""

from pathlib import Path

import av
import numpy as np

SIZES = ((960, 540), (640, 480), (1280, 720))
FPS, SECONDS = 30, 5


def write_clips(folder: Path) -> list[Path]:
    """A clip of `SECONDS` in each of `SIZES` (width, height)."""
    paths = []
    for width, height in SIZES:
        paths.append(folder / f"synthetic_{width}x{height}.mp4")
        write_clip(paths[-1], width=width, height=height, frames=FPS * SECONDS)
    return paths


def write_clip(path: Path, *, width: int, height: int, frames: int) -> None:
    """H.264 with B-frames: the camera pans over a textured background, a textured object moves the other way."""
    rng = np.random.default_rng(0)
    background = texture(rng, height + 64, width + 2 * frames)
    moving = texture(rng, height // 3, width // 4)
    noise = rng.integers(0, 6, (8, height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "medium", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            down = round(32 + 30 * np.sin(number / 15))
            picture = background[down : down + height, 2 * number : 2 * number + width] + noise[number % len(noise)]
            left, top = (width - width // 4) * (frames - 1 - number) // max(1, frames - 1), height // 3
            picture[top : top + moving.shape[0], left : left + moving.shape[1]] = moving
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Patches of several sizes on top of each other; uint8 (height, width, 3), 249 at most."""
    layers = np.zeros((height, width, 3))
    for patch in (4, 16, 64):
        coarse = rng.random((height // patch + 1, width // patch + 1, 3))
        layers += np.kron(coarse, np.ones((patch, patch, 1)))[:height, :width]
    return (layers / 3 * 249).astype(np.uint8)
