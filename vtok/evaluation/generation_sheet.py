"""The contact sheet of made videos."""

from pathlib import Path

from vtok.common.contact_sheet import Text, contact_sheet
from vtok.evaluation.generation import GenerationResult, Made
from vtok.evaluation.judge import Verdict

SIDE = 72  # pixels of a frame, about


def write_generation_sheet(result: GenerationResult, path: Path) -> None:
    """Per kept clip its frames, those reconstructed and those generated, and below them the caption and what is seen.

    Nothing is written where no clip was kept.
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
    contact_sheet(strips, [lines(made) for made in result.examples], path, scale=scale)


def lines(made: Made) -> list[str | Text]:
    return [made.caption, *(told(category, verdict) for category, verdict in made.verdicts.items())]


def told(category: str, verdict: Verdict) -> Text:
    """One verdict for a person."""
    seen = verdict.seen or "not to be seen"
    name = category.replace("_", " ")
    if verdict.right:
        return Text(f"{name}: {seen}", "right")
    return Text(f"{name}: {seen} (truth: {verdict.truth})", "wrong")
