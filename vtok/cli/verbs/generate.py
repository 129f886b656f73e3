"""vtok generate: generates videos from prompts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from vtok.cli.prompts import requested_videos
from vtok.common.errors import UserError
from vtok.common.files import atomic_file, check_writable
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, NotNegative, Positive, VideoSeed
from vtok.data import DataSource
from vtok.data.video.write import check_rate, write_video
from vtok.inference.answer import check_text
from vtok.inference.load import load_run
from vtok.inference.video_outputs import pixel_scale, sampling_of, trained_decoder, write_sheet
from vtok.model import VideoLanguageModel
from vtok.model.build import build

SHEET_VIDEOS = 100


@dataclass(frozen=True)
class OutputFiles:
    """The files to write: videos, their contact sheet, and for a file of prompts a manifest in their folder."""

    videos: list[Path]
    sheet: Path
    manifest: Path | None


def generate(
    *,
    prompt: str | None = None,
    prompts: str | None = None,
    samples: Count | None = None,
    run: str = "latest",
    out: str | None = None,
    seed: VideoSeed | None = None,
    steps: Count | None = None,
    guidance: NotNegative | None = None,
    temperature: NotNegative | None = None,
    fps: Positive | None = None,
    scale: Count | None = None,
    batch_size: Count = 1,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> list[Path]:
    """Generate videos from prompts, as mp4.

    One prompt makes a video and a contact sheet with the same name and .png.

    A file of prompts makes a folder: 000.mp4, 001.mp4, ... in the order of its lines, sheet.png, and manifest.jsonl,
    with which data=folder reads the videos. For a .json file such as VBench_full_info.json they are PROMPT-0.mp4 to
    PROMPT-4.mp4, the names that VBench expects. Existing files are replaced, each when its new one is complete.

    Args:
        prompt: text that the video shows.
        prompts: a text file, one prompt on each line (blank and # lines are skipped), or VBench's .json.
        samples: number of videos for each prompt of a .json file, PROMPT-0.mp4, PROMPT-1.mp4, ...; null: VBench's 5.
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        out: output file, null: clip.mp4; with prompts the output folder, null: generated.
        seed: random seed; video i of a file, counted from 0, has seed + i; null: the run's generation.*.
        steps: sampling steps of the decoder, from noise to video; null: the run's generation.*.
        guidance: scale of the decoder's guidance by the prompt; 1: no guidance; null: the run's generation.*.
        temperature: sampling temperature of the visual head; 0: the likeliest tokens; null: the run's generation.*.
        fps: frames per second; null: the video lasts as long as a training clip.
        scale: each pixel becomes scale x scale pixels; null: enough for a side of 256 or more.
        batch_size: number of videos generated at once; changes the results by rounding errors.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.

    Returns:
        The videos and their contact sheet.

    Raises:
        UserError: if there is no such run, it cannot generate videos, the prompts cannot be read, or a file cannot be
            written.
    """
    if (prompt is None) == (prompts is None):
        raise UserError("vtok generate takes either prompt or prompts. Set one of prompt=TEXT and prompts=FILE.")
    if fps is not None:
        check_rate(fps)
    if prompts is None and samples is not None:
        raise UserError(
            f"samples={samples}: one prompt makes one video. Use samples with prompts=FILE.json, or seed=NUMBER for "
            "another video."
        )
    if prompts is None:
        check_text("prompt", prompt)
        texts, files = [prompt or ""], single_video(user_path(out or "clip.mp4"))
    else:
        wanted = requested_videos(user_path(prompts), samples)
        texts = [text for _, text in wanted]
        files = video_folder(user_path(out or "generated"), [name for name, _ in wanted])
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    decoder = trained_decoder(run_dir, model)
    check_generates(run_dir, model)
    source: DataSource = build(config.data)
    scale = pixel_scale(decoder, scale)
    # If the files of a source have their own rates, source.rate is the one for folders of frames.
    rate = fps or decoder.num_frames * source.rate / source.clip.num_frames
    sampling = sampling_of(config, steps=steps, guidance=guidance, temperature=temperature)
    first = config.generation.seed if seed is None else seed
    seeds = list(range(first, first + len(texts)))
    num_planned = len(model.tokeniser.plan(source.clip.num_frames).indices)
    shown: list[Tensor] = []
    for start in tqdm(range(0, len(texts), batch_size), desc="generating", unit="batch", leave=False, disable=None):
        rows = slice(start, start + batch_size)
        videos = model.generate(texts[rows], num_planned=num_planned, seeds=seeds[rows], sampling=sampling).cpu()
        if files.manifest is not None and start == 0:
            start_folder(files.manifest)
        for file, video in zip(files.videos[rows], videos, strict=True):
            write_video(file, video, fps=rate, scale=scale)
        shown += list(videos[: max(0, SHEET_VIDEOS - len(shown))])
    write_sheet(files.sheet, shown, texts[: len(shown)], columns=2)
    if files.manifest is not None:
        write_manifest(files.manifest, files.videos, texts, seeds)
    return [*files.videos, files.sheet]


def single_video(video: Path) -> OutputFiles:
    """The files for one video.

    Raises:
        UserError: if they cannot be written.
    """
    check_writable(video, suffix=".mp4")
    sheet = video.with_suffix(".png")
    check_writable(sheet, suffix=".png")
    return OutputFiles([video], sheet, None)


def video_folder(folder: Path, names: Sequence[str]) -> OutputFiles:
    """The files for a folder of videos with these names.

    Raises:
        UserError: if the folder is a file, or its parent folder does not exist.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"out={folder}: this is a file, and a file of prompts makes a folder of videos. Use out=FOLDER."
        )
    if not folder.parent.is_dir():
        raise UserError(f"out={folder}: the folder {folder.parent} does not exist. Create it first.")
    return OutputFiles([folder / name for name in names], folder / "sheet.png", folder / "manifest.jsonl")


def start_folder(manifest: Path) -> None:
    """Create the folder and delete its old manifest, which no longer matches the videos.

    Raises:
        UserError: if the folder cannot be written.
    """
    try:
        manifest.parent.mkdir(exist_ok=True)
        manifest.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"out={manifest.parent}: the folder cannot be written ({error.strerror}). Use another folder."
        ) from error


def write_manifest(path: Path, videos: Sequence[Path], texts: Sequence[str], seeds: Sequence[int]) -> None:
    """Write a line of JSON for each video, in the format of data=folder, with the seed that reproduces it."""
    lines = [
        json.dumps({"video": video.name, "caption": text, "seed": seed}, ensure_ascii=False)
        for video, text, seed in zip(videos, texts, seeds, strict=True)
    ]
    with atomic_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_generates(run_dir: Path, model: VideoLanguageModel) -> None:
    """Raise UserError if the run's model was not trained to generate video tokens."""
    if not model.predicts_tokens:
        raise UserError(
            f"run={run_dir}: its objective.lambda_visLM is 0, and it was not trained to generate video from text. "
            "Use a run with objective=joint, or use vtok reconstruct with this one."
        )
