"""The synthetic data set of moving shapes."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, MinLen, MultipleOf
from filelock import FileLock
from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, Seed
from vtok.data.augmentation import Augmentation
from vtok.data.clip import Clip
from vtok.data.clip_settings import ClipSettings
from vtok.data.sources.base import SPLITS, DataSource, Split
from vtok.data.sources.shapes.clip_file import FRAMES_FPS, render_file, scene_of
from vtok.data.sources.shapes.language import attributes, caption, questions
from vtok.data.sources.shapes.scene import FAMILIES, LEVELS, is_unusual

# A claim is learnt sooner beside the others about the same clip. Held-out clips have as many true as false ones.
FALSE_CLAIMS: dict[Split, int] = {"train": 3, "validation": 1, "test": 1}
# Increase it when scenes or pixels change, so that files of an older version are not reused.
VERSION = 3


class ShapesData(DataSource):
    """Synthetic clips of moving shapes: h264 files with captions and questions.

    A clip is a pure function of (seed, split, number).

    Args:
        root: folder of the files, which are rendered once; each combination of settings has its own subfolder.
        level: "easy" or "hard", see `sample_scene`.
        train_clips, validation_clips, test_clips: number of clips in the split.
        seed: random seed of the clips, independent of the run's seed.
        pixels: side of the files' frames in pixels, even for h264.
        families: skills that the clips test; None: all.
        unseen: whether a quarter of the combinations of colour and action (direction, number of objects, or what the
            camera does) is in test clips alone. Videos generated from captions with them are scored separately, as
            `unseen/...`.
        make_workers: number of processes that render the files; None: one per core.

    The other arguments are those of `DataSource`.
    """

    synthetic = True
    frames_fps = FRAMES_FPS
    dataset = "shapes"

    def __init__(
        self,
        *,
        root: str,
        clip: ClipSettings,
        level: Literal["easy", "hard"] = "easy",
        train_clips: Count = 2400,
        validation_clips: Count = 200,
        test_clips: Count = 400,
        seed: Seed = 0,
        pixels: Annotated[int, Ge(16), MultipleOf(2)] = 64,
        families: Annotated[Sequence[Literal["motion", "order", "count", "camera"]], MinLen(1)] | None = None,
        unseen: bool = False,
        make_workers: Count | None = None,
        limit: Count | None = None,
        cache: str | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(clip=clip, limit=limit, cache=cache, augmentation=augmentation)
        if level not in LEVELS:
            raise UserError(f"data.level={level}: unknown level. Use {' or '.join(LEVELS)}.")
        chosen = tuple(FAMILIES) if families is None else tuple(families)
        if not chosen or not set(chosen) <= FAMILIES.keys():
            raise UserError(
                f"data.families=[{','.join(chosen)}]: unknown or empty. Use one or more of {', '.join(FAMILIES)}, or "
                "null for all."
            )
        self.level = level
        # In a fixed order, so that the same families give the same clips.
        self.families = tuple(family for family in FAMILIES if family in chosen)
        self.numbers = {"train": train_clips, "validation": validation_clips, "test": test_clips}
        self.seed = seed
        self.pixels = pixels
        self.unseen = unseen
        self.make_workers = make_workers or os.cpu_count() or 1
        self._clips: dict[Split, list[Clip]] = {}
        only = "" if len(self.families) == len(FAMILIES) else f"-{'+'.join(self.families)}"
        self.folder = (
            user_path(root)
            / f"v{VERSION}-{level}{only}{'-unseen' if unseen else ''}-seed{seed}-{clip.num_frames}x{pixels}"
        )

    def prepare(self) -> None:
        """Render missing files, with a progress bar, and write a manifest that `data=folder` can read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "making.lock"):
            clips = [clip for split in SPLITS for clip in self.clips(split)]
            missing = [clip.path for clip in clips if not clip.path.exists()]
            manifest = self.folder / "manifest.jsonl"
            if not missing and manifest.exists():
                return
            render_one = partial(
                render_file,
                level=self.level,
                families=self.families,
                seed=self.seed,
                unseen=self.unseen,
                num_frames=self.clip.num_frames,
                pixels=self.pixels,
            )
            bar = partial(tqdm, total=len(missing), desc="rendering clips", unit="clip", leave=False, disable=None)
            if len(missing) < 64 or self.make_workers == 1:
                for path in bar(missing):
                    render_one(path)
            else:
                with ProcessPoolExecutor(self.make_workers, mp_context=get_context("spawn")) as pool:
                    for _ in bar(pool.map(render_one, missing, chunksize=16)):
                        pass
            lines = [
                json.dumps({"file": clip.path.name, "caption": clip.caption, "split": clip.id.split("-")[0]})
                for clip in clips
            ]
            write_text(manifest, "\n".join(lines) + "\n")

    def all_clips(self, split: Split) -> list[Clip]:
        # Texts of thousands of clips take half a second, and a run asks for them many times.
        if split not in self._clips:
            self._clips[split] = [self._clip(split, number) for number in range(self.numbers[split])]
        return self._clips[split]

    def _clip(self, split: Split, number: int) -> Clip:
        scene = scene_of(split, number, level=self.level, families=self.families, seed=self.seed, unseen=self.unseen)
        asking = np.random.default_rng([scene.seed, 1])
        name = f"{split}-{number:06d}"
        return Clip(
            id=name,
            path=self.folder / f"{name}.mp4",
            caption=caption(scene),
            questions=questions(scene, asking, false_claims=FALSE_CLAIMS[split]),
            attributes=attributes(scene),
            unseen=self.unseen and is_unusual(scene),
        )
