"""vtok describe: a run's model on a video."""

from pathlib import Path

from vtok.batch import stack_frames
from vtok.build import build, build_dataset
from vtok.commands.prepare import load_run
from vtok.data import Clip, DataSource, SampleKey
from vtok.model import DESCRIBE


def describe(
    *,
    video: str,
    prompt: str = DESCRIBE,
    run: str = "latest",
    start: float = 0.0,
    max_new_tokens: int = 64,
    outputs: str = "outputs",
) -> str:
    """The answer to `prompt` about the clip that begins `start` seconds into a video file or a folder of frames.

    Raises:
        UserError: the video cannot be read, or there is no such run.
    """
    _, config, model = load_run(run, outputs=outputs)
    source: DataSource = build(config.data)
    clip = Clip(id=video, path=Path(video).expanduser(), start=start)
    dataset = build_dataset(source, [clip], model.tokeniser.planner, seed=config.seed, replace_bad=False)
    frames = stack_frames([dataset[SampleKey(0, 0)]]).to(next(model.parameters()).device)
    return model.describe(frames, [prompt], max_new_tokens=max_new_tokens)[0]
