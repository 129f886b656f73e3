"""The contact sheet of generated videos."""

from pathlib import Path

from vtok.common.contact_sheet import Text, contact_sheet
from vtok.evaluation.generation_result import GeneratedClip, GenerationResult
from vtok.evaluation.judge import Verdict

SIDE = 72  # approximate side of a frame in pixels


def write_generation_sheet(result: GenerationResult, path: Path) -> None:
    """Write the true, reconstructed and generated frames of each example, with its caption and verdicts below.

    No file is written if there are no examples.
    """
    if not result.examples:
        return
    side = result.examples[0].truth.shape[-1]
    scale = max(1, round(SIDE / side)) if side <= SIDE else SIDE / side
    strips = [
        {"truth": made.truth, "reconstructed": made.reconstructed}
        | ({} if made.generated is None else {"generated": made.generated})
        for made in result.examples
    ]
    contact_sheet(strips, [text_lines(made) for made in result.examples], path, scale=scale)


def text_lines(made: GeneratedClip) -> list[str | Text]:
    return [made.caption, *(verdict_line(category, verdict) for category, verdict in made.verdicts.items())]


def verdict_line(category: str, verdict: Verdict) -> Text:
    """A verdict as a line of text, such as "colour: red (truth: blue)"."""
    seen = verdict.seen or "not visible"
    name = category.replace("_", " ")
    if verdict.right:
        return Text(f"{name}: {seen}", "right")
    return Text(f"{name}: {seen} (truth: {verdict.truth})", "wrong")
