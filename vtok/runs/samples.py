"""Contact sheets, explained answers and videos in run folders."""

import re
from dataclasses import dataclass
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_json
from vtok.runs.comparison import Comparison
from vtok.runs.saved_run import SavedRun

HELD_OUT_SHEET, GENERATED_SHEET = "held_out.png", "generated.png"
KINDS = ("truth", "reconstructed", "generated")
CAPTIONS = "captions.json"


@dataclass(frozen=True)
class ClipVideos:
    """The videos of one held-out clip.

    Attributes:
        name: number and caption of the clip.
        cards: name and videos of each card; a video is (kind, file).
    """

    name: str
    cards: list[tuple[str, list[tuple[str, Path]]]]


def contact_sheets(comparison: Comparison) -> list[tuple[str, Path]]:
    """The contact sheets of all runs, each as (name, file)."""
    return [
        (f"{comparison.label(index)}: {name}", run.path / name)
        for name in (HELD_OUT_SHEET, GENERATED_SHEET)
        for index, run in enumerate(comparison.runs)
        if (run.path / name).is_file()
    ]


def explanation_file(run_dir: Path, number: int) -> Path:
    """The picture of which tokens one of a run's answers used."""
    return run_dir / f"explained_{number:02d}.png"


def explanation_files(run_dir: Path) -> list[Path]:
    """The pictures that a run folder has, in the order of their numbers."""
    return sorted(run_dir.glob("explained_*.png"))


def explanations(comparison: Comparison) -> list[tuple[str, Path]]:
    """The explained answers of all runs, each as (name of the run, file); those to the same question together."""
    files = [
        (number, index, file)
        for index, run in enumerate(comparison.runs)
        for number, file in enumerate(explanation_files(run.path))
    ]
    return [(comparison.label(index), file) for _, index, file in sorted(files)]


def clip_videos(comparison: Comparison) -> list[ClipVideos]:
    """The videos of the last evaluations, clip by clip, with one card for each run.

    If the true video is the same in all runs, it has a card of its own. Clips with the same number and caption in
    several runs are the same clip.
    """
    folders = {index: folder for index, run in enumerate(comparison.runs) if (folder := newest_samples(run))}
    captions = {index: read_captions(folder) for index, folder in folders.items()}
    clips: dict[tuple[int, str], list[int]] = {}
    for index, folder in folders.items():
        for number in sorted({int(file.name.partition("_")[0]) for file in videos_in(folder)}):
            clips.setdefault((number, captions[index].get(number, "")), []).append(index)
    found = []
    for (number, caption), indices in sorted(clips.items()):
        cards = [(comparison.label(index), videos_of(folders[index], number)) for index in indices]
        truths = [file.read_bytes() for _, videos in cards for kind, file in videos if kind == "truth"]
        if len(truths) > 1 and all(one == truths[0] for one in truths):
            shared = [("the clip", [one for one in cards[0][1] if one[0] == "truth"])]
            cards = shared + [(name, [one for one in videos if one[0] != "truth"]) for name, videos in cards]
        found.append(ClipVideos(f"Clip {number}: {caption}" if caption else f"Clip {number}", cards))
    return found


def newest_samples(run: SavedRun) -> Path | None:
    """`samples/last` from the end of a run, or the newest evaluation during training; None if there are no videos."""
    folders = [run.path / "samples" / "last", *sorted((run.path / "samples").glob("step-*"), reverse=True)]
    return next((folder for folder in folders if videos_in(folder)), None)


def videos_in(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*.mp4") if re.fullmatch(rf"\d+_({'|'.join(KINDS)})\.mp4", file.name)]


def videos_of(folder: Path, number: int) -> list[tuple[str, Path]]:
    files = [(kind, folder / f"{number}_{kind}.mp4") for kind in KINDS]
    return [(kind, file) for kind, file in files if file.is_file()]


def read_captions(folder: Path) -> dict[int, str]:
    """The captions by number of the clip; empty if the samples have none.

    Raises:
        UserError: the file cannot be read.
    """
    file = folder / CAPTIONS
    captions = read_json(file) if file.exists() else []
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise UserError(f"{file} must be a list of strings. Delete the file, or correct it.")
    return dict(enumerate(captions))
