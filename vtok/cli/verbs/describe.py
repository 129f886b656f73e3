"""vtok describe: asks a run's model about a video."""

from collections.abc import Sequence

from vtok.common.setting_types import Count, NotNegative
from vtok.inference.answer import answer, check_text, check_understands
from vtok.inference.load import load_run


def describe(
    *,
    video: str,
    prompt: str = "describe the video.",
    run: str = "latest",
    start: NotNegative = 0.0,
    max_new_tokens: Count = 64,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> str:
    """Ask a run's model about a video file or a folder of frames.

    Args:
        video: a video file or a folder of frames.
        prompt: question or request to the model.
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        start: time in the video at which the clip starts, in seconds.
        max_new_tokens: longest answer, in tokens.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.

    Raises:
        UserError: if the video cannot be read, there is no such run, or it was not trained to answer questions.
    """
    check_text("prompt", prompt)
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    check_understands(run_dir, model)
    return answer(config, model, video, prompt=prompt, start=start, max_new_tokens=max_new_tokens)
