"""Renders clips to files, in processes that need not load torch."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from vtok.data.sources.shapes.render import render
from vtok.data.sources.shapes.scene import Scene, is_unusual, sample_scene
from vtok.data.video.write import write_video

FRAMES_FPS = 15.0
# Streams of random numbers.
STREAMS: dict[str, int] = {"train": 0, "test": 1, "validation": 2}


def scene_of(split: str, number: int, *, level: str, families: Collection[str], seed: int, unseen: bool) -> Scene:
    """The scene of a clip."""
    rng = np.random.default_rng([seed, STREAMS[split], number])
    while True:
        scene = sample_scene(rng, level, families)
        if split == "test" or not (unseen and is_unusual(scene)):
            return scene


def render_file(
    path: Path, *, level: str, families: Collection[str], seed: int, unseen: bool, num_frames: int, pixels: int
) -> None:
    """Render the clip with this file name."""
    split, number = path.stem.split("-")
    scene = scene_of(split, int(number), level=level, families=families, seed=seed, unseen=unseen)
    frames = render(scene, num_frames=num_frames, size=pixels)
    write_video(path, frames.transpose(0, 3, 1, 2), fps=FRAMES_FPS)
