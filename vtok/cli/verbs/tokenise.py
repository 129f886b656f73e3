"""vtok tokenise: writes a video's tokens to a file."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save

from vtok import __version__
from vtok.common.files import atomic_file, check_writable
from vtok.common.paths import user_path
from vtok.common.setting_types import NotNegative
from vtok.config.cross_checks import check_unasked
from vtok.inference.clip import read_clip
from vtok.inference.load import load_run
from vtok.model.batch import stack_frames


def tokenise(
    *,
    video: str,
    run: str = "latest",
    out: str = "tokens.safetensors",
    start: NotNegative = 0.0,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> Path:
    """Write the tokens of a video to a safetensors file.

    The file holds tokens, kind, timestamps, places, weights and frames; its metadata holds the tokeniser's
    settings, the run and the clip.

    Args:
        video: a video file or a folder of frames.
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        out: output file; an existing one is replaced when the new one is complete.
        start: time in the video at which the clip starts, in seconds.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.

    Raises:
        UserError: if the video cannot be read, there is no such run, its tokeniser reads the question, or the file
            cannot be written.
    """
    target = user_path(out)
    check_writable(target, suffix=".safetensors")
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    check_unasked(config, override=f"run={run_dir}", instead="Use a run with another tokeniser, or vtok describe.")
    sample, seconds = read_clip(config, model.tokeniser.planner, video, start=start)
    with torch.no_grad():
        tokens = model.tokeniser.encode_planned(stack_frames([sample]).to(next(model.parameters()).device))
    tensors = {
        "tokens": tokens.tokens[0].cpu().contiguous(),
        "kind": tokens.kind.cpu(),
        "timestamps": tokens.timestamps[0].cpu().contiguous(),
        "places": tokens.places[0].cpu().contiguous(),
        "weights": tokens.weights[0].cpu().contiguous(),
        "frames": torch.tensor(sample.indices),
    }
    metadata = {
        **settings(config),
        "run": str(run_dir.absolute()),
        "video": str(user_path(video).absolute()),
        "start": f"{start:g}",
        "num_frames": str(len(seconds)),
        "version": __version__,
    }
    with atomic_file(target) as partial:
        partial.write_bytes(save(tensors, metadata=metadata))
    return target


def settings(config: DictConfig) -> dict[str, str]:
    """The class as `tokeniser`, and its settings by name; values that are not strings as JSON."""
    given = OmegaConf.to_container(config.tokeniser, resolve=True)
    assert isinstance(given, dict)
    target = str(given.pop("_target_"))
    texts = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    return {"tokeniser": target, **texts}
