"""vtok generate: videos out of texts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from vtok.build import build
from vtok.commands.making import check_numbers, check_text, enlargement, sampling_of, trained_decoder, write_sheet
from vtok.commands.prepare import load_run
from vtok.commands.prompts import wanted_videos
from vtok.data import DataSource
from vtok.data.write import check_writable, whole, write_video
from vtok.errors import UserError
from vtok.model import VideoLanguageModel
from vtok.paths import user_path

SHEET_VIDEOS = 100


@dataclass(frozen=True)
class Files:
    """What is written: the videos, their contact sheet, and for a file of prompts a manifest in their folder."""

    videos: list[Path]
    sheet: Path
    manifest: Path | None


def generate(
    *,
    prompt: str | None = None,
    prompts: str | None = None,
    samples: int | None = None,
    run: str = "latest",
    out: str | None = None,
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    fps: float | None = None,
    scale: int | None = None,
    batch_size: int = 1,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> Files:
    """Write the video of a prompt and a contact sheet beside it, or a folder of the videos of a file of prompts.

    The arguments are those of `vtok.commands.Generate`.

    Raises:
        UserError: there is no such run, it makes no videos, the prompts cannot be read, or a file cannot be written.
    """
    if (prompt is None) == (prompts is None):
        raise UserError("vtok generate needs one of prompt=TEXT and prompts=FILE.")
    check_numbers(
        {
            "seed": seed,
            "steps": steps,
            "guidance": guidance,
            "temperature": temperature,
            "scale": scale,
            "samples": samples,
            "batch_size": batch_size,
        },
        fps=fps,
    )
    if prompts is None and samples is not None:
        raise UserError(f"samples={samples}: it goes with prompts=FILE.json; a prompt makes one video, of seed=NUMBER.")
    if prompts is None:
        check_text("prompt", prompt)
        texts, files = [prompt or ""], beside(user_path(out or "clip.mp4"))
    else:
        wanted = wanted_videos(user_path(prompts), samples)
        texts = [text for _, text in wanted]
        files = within(user_path(out or "generated"), [name for name, _ in wanted])
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    decoder = trained_decoder(run_dir, model)
    check_imagines(run_dir, model)
    source: DataSource = build(config.data)
    scale = enlargement(decoder, scale)
    # The rate of a source whose files bring their own is not known; it has one for folders of frames.
    rate = fps or decoder.num_frames * (source.fps or source.frames_fps) / source.num_frames
    sampling = sampling_of(config, steps=steps, guidance=guidance, temperature=temperature)
    first = config.generation.seed if seed is None else seed
    seeds = list(range(first, first + len(texts)))
    num_planned = len(model.tokeniser.plan(source.num_frames).indices)
    made: list[Tensor] = []
    for start in tqdm(range(0, len(texts), batch_size), desc="making videos", unit="batch", leave=False, disable=None):
        rows = slice(start, start + batch_size)
        videos = model.generate(texts[rows], num_planned=num_planned, seeds=seeds[rows], sampling=sampling).cpu()
        if files.manifest is not None and start == 0:
            begin(files.manifest)
        for file, video in zip(files.videos[rows], videos, strict=True):
            write_video(file, video, fps=rate, scale=scale)
        made += list(videos[: max(0, SHEET_VIDEOS - len(made))])
    write_sheet(files.sheet, made, texts[: len(made)], columns=2)
    if files.manifest is not None:
        write_manifest(files.manifest, files.videos, texts, seeds)
    return files


def beside(video: Path) -> Files:
    """One video with its contact sheet.

    Raises:
        UserError: they cannot be written there.
    """
    check_writable(video, suffix=".mp4")
    sheet = video.with_suffix(".png")
    check_writable(sheet, suffix=".png")
    return Files([video], sheet, None)


def within(folder: Path, names: Sequence[str]) -> Files:
    """A folder of videos of these names.

    Raises:
        UserError: they cannot be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out={folder}: this is a file; a file of prompts makes a folder of videos, out=FOLDER.")
    if not folder.parent.is_dir():
        raise UserError(f"out={folder}: there is no folder {folder.parent} to make it in; make that first.")
    return Files([folder / name for name in names], folder / "sheet.png", folder / "manifest.jsonl")


def begin(manifest: Path) -> None:
    """Make the folder; from here on until it is written again there is no manifest, which would tell of other videos.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        manifest.parent.mkdir(exist_ok=True)
        manifest.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"out={manifest.parent}: it cannot be written to ({error.strerror}).") from error


def write_manifest(path: Path, videos: Sequence[Path], texts: Sequence[str], seeds: Sequence[int]) -> None:
    """A line of JSON a video, as data=folder reads them, with the seed that makes it again."""
    lines = [
        json.dumps({"video": video.name, "caption": text, "seed": seed}, ensure_ascii=False)
        for video, text, seed in zip(videos, texts, seeds, strict=True)
    ]
    with whole(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_imagines(run_dir: Path, model: VideoLanguageModel) -> None:
    """Refuse a run whose model did not learn to make video tokens."""
    if not model.predicts_tokens:
        raise UserError(
            f"run={run_dir}: its objective.lambda_visLM is 0, so that it did not learn to make video tokens out of "
            "text; vtok reconstruct makes videos out of videos with it."
        )
