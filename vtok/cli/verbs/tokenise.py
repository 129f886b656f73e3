"""vtok tokenise: a video's tokens in a file."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save

from vtok import __version__
from vtok.common.files import check_writable, whole
from vtok.common.paths import user_path
from vtok.common.setting_types import NotNegative
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
    """The tokens of a video as a safetensors file.

    It holds tokens, kind, timestamps and frames, and how they were made as metadata.

    Args:
        video: a video file or a folder of frames.
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        out: the file; one that is there is replaced once the new one is whole.
        start: time in the video at which the clip starts, in seconds.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components are built, [A,B]; no folder has a say in it.

    Raises:
        UserError: the video cannot be read, there is no such run, or the file cannot be written.
    """
    target = user_path(out)
    check_writable(target, suffix=".safetensors")
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    sample, seconds = read_clip(config, model.tokeniser.planner, video, start=start)
    with torch.no_grad():
        tokens = model.tokeniser.encode_planned(stack_frames([sample]).to(next(model.parameters()).device))
    tensors = {
        "tokens": tokens.tokens[0].cpu().contiguous(),
        "kind": tokens.kind.cpu(),
        "timestamps": tokens.timestamps[0].cpu().contiguous(),
        "frames": torch.tensor(model.tokeniser.plan(len(seconds)).indices),
    }
    made = {
        **settings(config),
        "run": str(run_dir.absolute()),
        "video": str(user_path(video).absolute()),
        "start": f"{start:g}",
        "num_frames": str(len(seconds)),
        "version": __version__,
    }
    with whole(target) as partial:
        partial.write_bytes(save(tensors, metadata=made))
    return target


def settings(config: DictConfig) -> dict[str, str]:
    """`tokeniser`, the class, and its settings by their names; numbers, null and components as JSON."""
    given = OmegaConf.to_container(config.tokeniser, resolve=True)
    assert isinstance(given, dict)
    target = str(given.pop("_target_"))
    texts = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    return {"tokeniser": target, **texts}
