"""The data set that the project makes itself."""

import json
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import MinLen
from filelock import FileLock
from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.setting_types import Count, Seed
from vtok.data.augmentation import Augmentation
from vtok.data.clip import Clip
from vtok.data.clip_settings import ClipSettings
from vtok.data.sources.base import DataSource, Split
from vtok.data.sources.shapes.language import attributes, caption, questions
from vtok.data.sources.shapes.render import render
from vtok.data.sources.shapes.scene import FAMILIES, LEVELS, Scene, sample_scene
from vtok.data.video.write import write_video

SPLITS: tuple[Split, ...] = ("train", "heldout")
# Raised when scenes or pixels change, so that files made by an older version are not taken for new ones.
VERSION = 2


class ShapesData(DataSource):
    """Coloured shapes that move: h264 files with captions and questions, each a pure function of (seed, split, number).

    The yes/no questions of a category are true in turns, one of each two: of these the clips before a clip decide, too.

    Args:
        root: the folder the files are made in, once; each kind of clip has a folder of its own there.
        level: "easy" or "hard", see `sample_scene`.
        train_clips, heldout_clips: number of clips of this split; the splits share none.
        seed: random seed of the clips, apart from the run's.
        pixels: side of the files' frames.
        families: skills that the clips are about; None: all.
        make_workers: number of processes that make the files; None: one a core.
        limit: largest number of clips used of each split; None uses all.

    The other arguments are those of `DataSource`.
    """

    synthetic = True
    frames_fps = 15.0
    dataset = "shapes"

    def __init__(
        self,
        *,
        root: str,
        clip: ClipSettings,
        level: Literal["easy", "hard"] = "easy",
        train_clips: Count = 2400,
        heldout_clips: Count = 400,
        seed: Seed = 0,
        pixels: Count = 64,
        families: Annotated[Sequence[Literal["motion", "order", "count", "camera"]], MinLen(1)] | None = None,
        make_workers: Count | None = None,
        limit: Count | None = None,
        cache: str | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(clip=clip, limit=limit, cache=cache, augmentation=augmentation)
        if level not in LEVELS:
            raise UserError(f"data.level={level}: allowed are {', '.join(LEVELS)}.")
        if pixels % 2 or pixels < 16:
            raise UserError(f"data.pixels={pixels}: h264 wants an even number of pixels; 16 is the least.")
        chosen = tuple(FAMILIES) if families is None else tuple(families)
        if not chosen or not set(chosen) <= FAMILIES.keys():
            raise UserError(
                f"data.families=[{','.join(chosen)}]: say one or more of {', '.join(FAMILIES)}, or null for all."
            )
        self.level = level
        # In one order, so that the same families are the same clips.
        self.families = tuple(family for family in FAMILIES if family in chosen)
        self.numbers = {"train": train_clips, "heldout": heldout_clips}
        self.seed = seed
        self.pixels = pixels
        self.make_workers = make_workers or os.cpu_count() or 1
        only = "" if len(self.families) == len(FAMILIES) else f"-{'+'.join(self.families)}"
        self.folder = Path(root) / f"v{VERSION}-{level}{only}-seed{seed}-{clip.num_frames}x{pixels}"

    def prepare(self) -> None:
        """Make the files that are not there yet, with a progress bar, and a manifest that `data=folder` can read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "making.lock"):
            clips = [clip for split in SPLITS for clip in self.clips(split)]
            missing = [clip.path for clip in clips if not clip.path.exists()]
            if not missing:
                return
            make = partial(
                make_file,
                level=self.level,
                families=self.families,
                seed=self.seed,
                num_frames=self.clip.num_frames,
                pixels=self.pixels,
            )
            bar = partial(tqdm, total=len(missing), desc="making clips", unit="clip", leave=False, disable=None)
            if len(missing) < 64 or self.make_workers == 1:
                for path in bar(missing):
                    make(path)
            else:
                with ProcessPoolExecutor(self.make_workers, mp_context=get_context("spawn")) as pool:
                    for _ in bar(pool.map(make, missing, chunksize=16)):
                        pass
            lines = [
                json.dumps({"file": clip.path.name, "caption": clip.caption, "split": clip.id.split("-")[0]})
                for clip in clips
            ]
            (self.folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def all_clips(self, split: Split) -> list[Clip]:
        claimed: dict[str, bool] = {}
        return [self._clip(split, number, claimed) for number in range(self.numbers[split])]

    def _clip(self, split: Split, number: int, claimed: dict[str, bool]) -> Clip:
        scene = scene_of(split, number, level=self.level, families=self.families, seed=self.seed)
        asking = np.random.default_rng([scene.seed, 1])
        name = f"{split}-{number:06d}"
        return Clip(
            id=name,
            path=self.folder / f"{name}.mp4",
            caption=caption(scene),
            questions=questions(scene, asking, claimed),
            attributes=attributes(scene),
        )


def scene_of(split: str, number: int, *, level: str, families: Collection[str], seed: int) -> Scene:
    """The scene of a clip: the same whatever else is made."""
    return sample_scene(np.random.default_rng([seed, SPLITS.index(split), number]), level, families)


def make_file(path: Path, *, level: str, families: Collection[str], seed: int, num_frames: int, pixels: int) -> None:
    """Draw and write the clip that `path` names."""
    split, number = path.stem.split("-")
    scene = scene_of(split, int(number), level=level, families=families, seed=seed)
    frames = render(scene, num_frames=num_frames, size=pixels)
    write_video(path, frames.transpose(0, 3, 1, 2), fps=ShapesData.frames_fps)
