"""A data set on disk: video files or frame folders with annotations beside them, or a manifest."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vtok.common.errors import UserError
from vtok.common.foreign_files import printable, reason_of
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, Positive
from vtok.data.augmentation import Augmentation
from vtok.data.clip import Clip, Question
from vtok.data.clip_settings import ClipSettings
from vtok.data.sources.annotations import clip_of, parse_caption, parse_record
from vtok.data.sources.base import SPLITS, DataSource, Split
from vtok.data.sources.manifest import completed, read_manifest
from vtok.data.sources.splits import NOT_GIVEN, SplitFraction, assign_splits, check_fractions, rank_of
from vtok.data.video.container import VIDEO_SUFFIXES
from vtok.data.video.image_folder import IMAGE_SUFFIXES, image_files

log = logging.getLogger(__name__)

TEXT_SUFFIXES = (".txt", ".json")
MANIFEST_SUFFIXES = (".jsonl", ".csv", ".parquet")
LONGEST_NOTED = 500  # characters of a path in `bad`
LAYOUTS = (
    "sample/frames/*.jpg with sample/caption.txt, "
    f"video files ({' '.join(suffix[1:] for suffix in VIDEO_SUFFIXES)}) with a .txt or .json beside them, "
    "or a manifest.jsonl, manifest.csv or manifest.parquet"
)


class FolderData(DataSource):
    """A folder of clips in one of three layouts, which is detected.

    - A manifest: `manifest.jsonl`, `.csv` or `.parquet` in the root (in any case), or the file `manifest`. A row
      is a video (relative to the root) with a caption, a question, or both. A row that only adds questions to the video
      and range of an earlier row belongs to the same clip.
    - Video files at any depth, with `NAME.txt` (the caption) or `NAME.json` (caption, questions, start, end) beside
      them.
    - Frame folders at any depth: `sample/frames/*.jpg` with `sample/caption.txt`.

    Clips without a valid caption or question, or with an impossible file name, are left out and listed in `bad`. A
    damaged manifest is refused, see `vtok.data.sources.manifest`. Validation and test clips are chosen by a hash of
    their `group`, such as a scene or a lab, or of their file's path if they have none. A `split` in the manifest takes
    precedence, and applies to all rows of the group. See `vtok.data.sources.splits`.

    Args:
        root: folder of the clips.
        validation_fraction, test_fraction: share of the groups in the validation and in the test split, of the clips
            whose split is not given.
        manifest: jsonl, csv or parquet file, relative to the root or else to the working directory; its videos are
            relative to the root in any case. None: look for one in the root.
        needs_text: whether clips without a caption or a question are left out; data=twins asks questions of its own.
        (for the others see `DataSource`)

    Raises:
        UserError: the root is missing or holds no clip, or the manifest cannot be read.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        clip: ClipSettings,
        frames_fps: Positive = 24.0,
        validation_fraction: SplitFraction = 0.05,
        test_fraction: SplitFraction = 0.1,
        manifest: str | Path | None = None,
        needs_text: bool = True,
        limit: Count | None = None,
        cache: str | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(clip=clip, limit=limit, cache=cache, augmentation=augmentation)
        check_fractions(validation_fraction, test_fraction)
        self.root = user_path(root)
        self.frames_fps = frames_fps
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.manifest = manifest
        self.needs_text = needs_text
        self._found: list[tuple[Clip, Split]] | None = None
        self._ranks: dict[str, float] = {}

    def prepare(self) -> None:
        if self._found is not None:
            return
        # os.path: pathlib raises if a name is too long.
        if not os.path.isdir(self.root):
            problem = "is not a folder" if os.path.exists(self.root) else "does not exist"
            raise UserError(f"data.root={self.root} {problem}. Give a folder with {LAYOUTS}.")
        manifest = self._find_manifest()
        clips = list(self._scan() if manifest is None else self._listed(manifest))
        if not clips:
            why = "; ".join(f"{path}: {reason}" for path, reason in list(self.bad.items())[:5])
            raise UserError(f"data.root={self.root} has no usable clip ({why or 'none found'}). Give {LAYOUTS}.")
        self._found = self._split(clips)

    def all_clips(self, split: Split) -> list[Clip]:
        self.prepare()
        assert self._found is not None
        return [clip for clip, where in self._found if where == split]

    def split_rank(self, clip: Clip) -> float | None:
        return self._ranks.get(clip.id)

    def _find_manifest(self) -> Path | None:
        if self.manifest is not None:
            given = user_path(self.manifest)
            named = next((path for path in (self.root / given, given) if os.path.isfile(path)), None)
            if named is None or named.suffix.lower() not in MANIFEST_SUFFIXES:
                kinds = " or ".join(MANIFEST_SUFFIXES)
                raise UserError(
                    f"data.manifest={self.manifest}: neither data.root={self.root} nor the working directory has such "
                    f"a file. Give the path of a {kinds} file."
                )
            return named
        names = [f"manifest{suffix}" for suffix in MANIFEST_SUFFIXES]
        try:
            found = sorted(file for file in self.root.iterdir() if file.name.lower() in names)
        except OSError as error:
            raise UserError(
                f"data.root={self.root} cannot be read ({error.strerror}). Check its permissions."
            ) from error
        if len(found) > 1:
            listed = ", ".join(file.name for file in found)
            raise UserError(f"data.root={self.root} has several manifests ({listed}). Choose one: data.manifest=NAME.")
        return found[0] if found else None

    def _listed(self, manifest: Path) -> Iterator[tuple[Clip, Split | None]]:
        listed: list[_Listed] = []
        # The last clip of a file and range, by caption and split; None stands for any caption or split.
        before: dict[tuple[str, float, float | None, str | None, Split | None], _Listed] = {}
        copies = Counter[str]()
        names: set[str] = set()
        for row in completed(list(read_manifest(manifest)), manifest):
            path = self.root / row.video
            try:
                clip = clip_of(Path(row.video).as_posix(), path, row.fields, needs_text=self.needs_text)
            except ValueError as error:
                self._note(path, str(error))
                continue
            place = (row.video, clip.start, clip.end)
            if (same := before.get((*place, clip.caption, row.split))) is not None:
                same.questions.extend(clip.questions)
                continue
            name = clip.id
            while name in names:
                copies[clip.id] += 1
                name = f"{clip.id}#{copies[clip.id] + 1}"
            names.add(name)
            listed.append(_Listed(replace(clip, id=name), row.split, list(clip.questions)))
            for caption, split in product({clip.caption, None}, {row.split, None}):
                before[(*place, caption, split)] = listed[-1]
        yield from ((replace(one.clip, questions=tuple(one.questions)), one.split) for one in listed)

    def _scan(self) -> Iterator[tuple[Clip, Split | None]]:
        seen: set[str] = set()
        unread: list[Path] = []
        for folder, below, names in os.walk(self.root, onerror=self._note_folder, followlinks=True):
            # A symbolic link may form a cycle.
            if os.path.realpath(folder) in seen:
                below.clear()
                continue
            seen.add(os.path.realpath(folder))
            below[:] = sorted(name for name in below if not name.startswith("."))
            here = Path(folder)
            if "frames" in below and self._has_images(here / "frames"):
                below.remove("frames")
                yield from self._annotated(here / "frames", here / "caption.txt", None)
            unread += [here / name for name in sorted(_unread(names))]
            for name in sorted(names):
                file = here / name
                if file.suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                    yield from self._annotated(file, file.with_suffix(".txt"), file.with_suffix(".json"))
        if unread:
            log.warning(
                "data.root=%s: %d files with a .txt or .json beside them are not read, because their suffixes are not "
                "those of videos (%s). Examples: %s.",
                *(
                    printable(str(self.root)),
                    len(unread),
                    " ".join(VIDEO_SUFFIXES),
                    ", ".join(printable(str(path)) for path in unread[:5]),
                ),
            )

    def _annotated(self, path: Path, text: Path, record: Path | None) -> Iterator[tuple[Clip, Split | None]]:
        beside = [file for file in (record, text) if file is not None]
        try:
            fields: dict[str, Any] = {}
            # os.path: pathlib raises if the name with the other suffix is too long.
            if record is not None and os.path.isfile(record):
                fields = parse_record(record.read_bytes(), record.name)
            if "caption" not in fields and os.path.isfile(text):
                fields["caption"] = parse_caption(text.read_bytes(), text.name)
            if not fields and self.needs_text:
                raise ValueError(f"there is no {' or '.join(file.name for file in beside)} beside it")
            name = path.relative_to(self.root).as_posix()
            yield clip_of(name, path, fields, needs_text=self.needs_text), None
        except (OSError, ValueError) as error:
            self._note(path, reason_of(error))

    def _has_images(self, folder: Path) -> bool:
        try:
            return bool(image_files(folder))
        except OSError as error:
            self._note_folder(error)
            return False

    def _note_folder(self, error: OSError) -> None:
        self._note(Path(error.filename), f"the folder cannot be read ({error.strerror})")

    def _note(self, path: Path, reason: str) -> None:
        name = printable(str(path))
        self.bad.setdefault(name if len(name) <= LONGEST_NOTED else f"{name[:LONGEST_NOTED]}...", printable(reason))

    def _split(self, clips: list[tuple[Clip, Split | None]]) -> list[tuple[Clip, Split]]:
        # If all clips are of one file, split by clip instead of by file.
        several = len({clip.path for clip, _ in clips}) > 1
        ranks = [
            rank_of(clip.group or (clip.path.relative_to(self.root).as_posix() if several else clip.id))
            for clip, _ in clips
        ]
        found = assign_splits(
            np.array([NOT_GIVEN if split is None else SPLITS.index(split) for _, split in clips]),
            np.array(ranks),
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
        )
        self._ranks = {clip.id: rank for (clip, split), rank in zip(clips, ranks, strict=True) if split is None}
        return [(clip, SPLITS[split]) for (clip, _), split in zip(clips, found.tolist(), strict=True)]


def _unread(names: Sequence[str]) -> list[str]:
    """Files with an annotation beside them that are not a video, image or manifest, and have no video beside them."""
    parts = [os.path.splitext(name) for name in names if not name.startswith(".")]
    with_text = {stem for stem, suffix in parts if suffix.lower() in TEXT_SUFFIXES}
    with_video = {stem for stem, suffix in parts if suffix.lower() in VIDEO_SUFFIXES}
    known = (*TEXT_SUFFIXES, *IMAGE_SUFFIXES, *MANIFEST_SUFFIXES)
    return [stem + suffix for stem, suffix in parts if stem in with_text - with_video and suffix.lower() not in known]


@dataclass
class _Listed:
    """A clip of a manifest; later rows can add questions."""

    clip: Clip
    split: Split | None
    questions: list[Question]
