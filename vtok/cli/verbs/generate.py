"""vtok generate: videos out of texts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from vtok.cli.prompts import wanted_videos
from vtok.cli.video_outputs import enlargement, sampling_of, trained_decoder, write_sheet
from vtok.common.errors import UserError
from vtok.common.files import check_writable, whole
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, NotNegative, Positive, VideoSeed
from vtok.data import DataSource
from vtok.data.video.write import check_rate, write_video
from vtok.inference.answer import check_text
from vtok.inference.load import load_run
from vtok.model import VideoLanguageModel
from vtok.model.build import build

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
    """Videos out of texts, as mp4.

    One prompt makes a video and a contact sheet beside it, of the same name with .png.

    A file of prompts makes a folder: 000.mp4, 001.mp4, ... in the order of its lines, sheet.png, and manifest.jsonl,
    with which data=folder reads the videos. Of a .json file such as VBench_full_info.json they are PROMPT-0.mp4 to
    PROMPT-4.mp4, as VBench looks for them. What is there already is replaced, each file once the new one is whole.

    Args:
        prompt: what the video shows.
        prompts: a text file, one prompt a line (blank and # lines are skipped), or VBench's .json.
        samples: videos of each prompt of a .json file, from PROMPT-0.mp4 on; null: VBench's 5.
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        out: the file, clip.mp4 where null; for prompts the folder, generated where null.
        seed: the same seed makes the same video; video i of a file, from 0 on: seed + i; null: the run's generation.*.
        steps: sampling steps of the decoder, from noise to video; null: the run's generation.*.
        guidance: scale of the decoder's guidance by the prompt; 1: no guidance; null: the run's generation.*.
        temperature: sampling temperature of the visual head; 0: the likeliest tokens; null: the run's generation.*.
        fps: frames a second; null: the video lasts as long as a training clip.
        scale: each pixel becomes scale x scale pixels; null: enough for a side of 256 or more.
        batch_size: videos generated at once; another number rounds slightly differently.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components are built, [A,B]; no folder has a say in it.

    Returns:
        The videos and their contact sheet.

    Raises:
        UserError: there is no such run, it makes no videos, the prompts cannot be read, or a file cannot be written.
    """
    if (prompt is None) == (prompts is None):
        raise UserError("vtok generate needs one of prompt=TEXT and prompts=FILE.")
    if fps is not None:
        check_rate(fps)
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
    rate = fps or decoder.num_frames * source.rate / source.clip.num_frames
    sampling = sampling_of(config, steps=steps, guidance=guidance, temperature=temperature)
    first = config.generation.seed if seed is None else seed
    seeds = list(range(first, first + len(texts)))
    num_planned = len(model.tokeniser.plan(source.clip.num_frames).indices)
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
    return [*files.videos, files.sheet]


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
