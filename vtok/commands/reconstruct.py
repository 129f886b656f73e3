"""vtok reconstruct: a video to tokens, and back."""

from collections.abc import Sequence
from pathlib import Path

from vtok.batch import stack_frames, stack_targets
from vtok.commands.clip import length, read_clip
from vtok.commands.making import check_numbers, check_text, enlargement, sampling_of, trained_decoder, write_sheet
from vtok.commands.prepare import load_run
from vtok.data.write import check_writable, write_video
from vtok.errors import UserError
from vtok.paths import user_path


def reconstruct(
    *,
    video: str,
    caption: str | None = None,
    run: str = "latest",
    out: str = "reconstruction.mp4",
    start: float = 0.0,
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    fps: float | None = None,
    scale: int | None = None,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> list[Path]:
    """Write the video that a run makes of the tokens of one, and a contact sheet of both.

    The arguments are those of `vtok.commands.Reconstruct`.

    Returns:
        The video and the sheet.

    Raises:
        UserError: there is no such run, it makes no videos, the video cannot be read, or a file cannot be written.
    """
    check_numbers({"seed": seed, "steps": steps, "guidance": guidance, "scale": scale}, fps=fps)
    check_text("caption", caption)
    target = user_path(out)
    check_writable(target, suffix=".mp4")
    sheet = target.with_suffix(".png")
    check_writable(sheet, suffix=".png")
    if target.resolve() == user_path(video).resolve():
        raise UserError(f"out={out}: this is the video itself; say another name.")
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    decoder = trained_decoder(run_dir, model)
    scale = enlargement(decoder, scale)
    sample, seconds = read_clip(config, model.tokeniser.planner, video, start=start, target=decoder.target)
    made = model.reconstruct(
        stack_frames([sample]).to(next(model.parameters()).device),
        captions=None if caption is None else [caption],
        seeds=[config.generation.seed if seed is None else seed],
        sampling=sampling_of(config, steps=steps, guidance=guidance, temperature=None),
    ).cpu()
    # A single frame is shown for a second.
    write_video(target, made[0], fps=fps or decoder.num_frames / (length(seconds) or 1.0), scale=scale)
    truth = stack_targets([sample])
    assert truth is not None
    write_sheet(sheet, [truth[0], made[0]], [video, f"out of its tokens, by {run_dir}"], columns=1)
    return [target, sheet]
