"""vtok reconstruct: encodes a video to tokens and decodes them."""

from collections.abc import Sequence
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.files import check_writable
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, NotNegative, Positive, VideoSeed
from vtok.data.video.write import check_rate, write_video
from vtok.inference.answer import check_text
from vtok.inference.clip import duration, read_clip
from vtok.inference.load import load_run
from vtok.inference.video_outputs import pixel_scale, sampling_of, trained_decoder, write_sheet
from vtok.model.batch import stack_frames, stack_targets


def reconstruct(
    *,
    video: str,
    caption: str | None = None,
    run: str = "latest",
    out: str = "reconstruction.mp4",
    start: NotNegative = 0.0,
    seed: VideoSeed | None = None,
    steps: Count | None = None,
    guidance: NotNegative | None = None,
    fps: Positive | None = None,
    scale: Count | None = None,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> list[Path]:
    """Reconstruct a video from a run's tokens: an mp4, and a contact sheet with the same name and .png.

    The sheet shows the true frames above the reconstructed ones. Existing files are replaced, each when its new one is
    complete.

    Args:
        video: a video file or a folder of frames.
        caption: caption of the video, used together with the tokens; null: the tokens alone.
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        out: output file.
        start: time in the video at which the clip starts, in seconds.
        seed: random seed; null: the run's generation.*.
        steps: sampling steps of the decoder, from noise to video; null: the run's generation.*.
        guidance: scale of the decoder's guidance by the tokens; 1: no guidance; null: the run's generation.*.
        fps: frames per second; null: the video lasts as long as the clip.
        scale: each pixel becomes scale x scale pixels; null: enough for a side of 256 or more.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.

    Returns:
        The video and the sheet.

    Raises:
        UserError: if there is no such run, it cannot generate videos, the video cannot be read, or a file cannot be
            written.
    """
    if fps is not None:
        check_rate(fps)
    check_text("caption", caption)
    target = user_path(out)
    check_writable(target, suffix=".mp4")
    sheet = target.with_suffix(".png")
    check_writable(sheet, suffix=".png")
    if target.resolve() == user_path(video).resolve():
        raise UserError(f"out={out}: this is the input video. Use another file name.")
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    decoder = trained_decoder(run_dir, model)
    scale = pixel_scale(decoder, scale)
    sample, seconds = read_clip(config, model.tokeniser.planner, video, start=start, target=decoder.target)
    reconstructed = model.reconstruct(
        stack_frames([sample]).to(next(model.parameters()).device),
        captions=None if caption is None else [caption],
        seeds=[config.generation.seed if seed is None else seed],
        sampling=sampling_of(config, steps=steps, guidance=guidance, temperature=None),
    ).cpu()
    # A single frame is shown for a second.
    rate = fps or decoder.num_frames / (duration(seconds) or 1.0)
    write_video(target, reconstructed[0], fps=rate, scale=scale)
    truth = stack_targets([sample])
    assert truth is not None
    write_sheet(sheet, [truth[0], reconstructed[0]], [video, f"reconstructed from its tokens by {run_dir}"], columns=1)
    return [target, sheet]
