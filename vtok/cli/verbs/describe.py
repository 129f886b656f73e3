"""vtok describe: asks a run's model about a video."""

from collections.abc import Sequence

from vtok.common.files import check_writable
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, NotNegative
from vtok.common.style import LIGHT
from vtok.inference.answer import answer, check_text, check_understands
from vtok.inference.explain import write_explanation
from vtok.inference.load import load_run


def describe(
    *,
    video: str,
    prompt: str = "describe the video.",
    run: str = "latest",
    start: NotNegative = 0.0,
    max_new_tokens: Count = 64,
    explain: str | None = None,
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
        explain: output file of a picture of which tokens the answer used, FILE.png: how much its log-likelihood falls
            without each of them; null: no picture.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.

    Raises:
        UserError: if the video cannot be read, there is no such run, it was not trained to answer questions, or the
            picture cannot be written.
    """
    check_text("prompt", prompt)
    target = None if explain is None else user_path(explain)
    if target is not None:
        check_writable(target, suffix=".png")
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    check_understands(run_dir, model)
    text = answer(config, model, video, prompt=prompt, start=start, max_new_tokens=max_new_tokens)
    if target is not None:
        write_explanation(config, model, video, prompt=prompt, answer=text, path=target, theme=LIGHT, start=start)
    return text
