"""A model's evaluations, and what they found as figures, as text, as pictures and as videos."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from vtok.common.contact_sheet import Text, contact_sheet
from vtok.common.files import write_text
from vtok.data import Clip, DataSource, LoaderSettings
from vtok.data.video.write import write_video
from vtok.evaluation import (
    Alignment,
    Evaluation,
    Generation,
    GenerationResult,
    evaluate_generation_heldout,
    evaluate_heldout,
    write_generation_sheet,
)
from vtok.model import VideoLanguageModel
from vtok.runs.samples import CAPTIONS

HELD_OUT, GENERATED = "held_out.png", "generated.png"
SAMPLES = 4
LEAST_SIDE = 128


@dataclass(frozen=True)
class Results:
    """What was evaluated of the two branches; None of one that the objective leaves out."""

    alignment: Evaluation | None
    generation: GenerationResult | None

    @property
    def bad(self) -> list[tuple[str, str]]:
        """(path, reason) of clips that could not be read, each once."""
        return list(dict.fromkeys(bad for result in self._both() for bad in result.bad))

    @property
    def scores_nothing(self) -> bool:
        """Whether no clip had anything to score, so that there are no figures."""
        return not any(result.tallies for result in self._both())

    @property
    def has_videos(self) -> bool:
        return self.generation is not None and bool(self.generation.examples)

    def metrics(self) -> dict[str, float]:
        """Flat figures by name, of both branches."""
        return {name: value for result in self._both() for name, value in result.metrics().items()}

    def table(self) -> str:
        """The figures for a person."""
        return "\n\n".join(result.table() for result in self._both())

    def write_sheets(self, folder: Path) -> list[Path]:
        """The contact sheets of what there is, under names that do not change; returns their files."""
        if self.alignment is not None and self.alignment.examples:
            write_alignment_sheet(self.alignment, folder / HELD_OUT)
        if self.generation is not None:
            write_generation_sheet(self.generation, folder / GENERATED)
        return [folder / name for name in (HELD_OUT, GENERATED) if (folder / name).is_file()]

    def write_samples(self, folder: Path, *, fps: float) -> None:
        """The contact sheets, and of the first clips the videos: 0_truth.mp4, 0_reconstructed.mp4, 0_generated.mp4, ...

        Their captions are a list in captions.json.

        Args:
            folder: made where it is missing; files of the same names are replaced.
            fps: frames a second of the videos.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.write_sheets(folder)
        examples = self.generation.examples[:SAMPLES] if self.generation else []
        if examples:
            write_text(folder / CAPTIONS, json.dumps([made.caption for made in examples]))
        for number, made in enumerate(examples):
            scale = -(-LEAST_SIDE // made.truth.shape[-1])
            videos = {"truth": made.truth, "reconstructed": made.reconstructed, "generated": made.generated}
            for name, video in videos.items():
                if video is not None:
                    write_video(folder / f"{number}_{name}.mp4", video, fps=fps, scale=scale)

    def _both(self) -> list[Evaluation | GenerationResult]:
        return [result for result in (self.alignment, self.generation) if result is not None]


def evaluate_model(
    alignment: Alignment,
    generation: Generation,
    model: VideoLanguageModel,
    source: DataSource,
    clips: Sequence[Clip],
    *,
    loader: LoaderSettings,
    precision: Callable[[], AbstractContextManager[None]],
    whole: bool = True,
    examples: int = 0,
) -> Results:
    """The benchmarks of the branches that the model has, on held-out clips.

    Args:
        alignment: the benchmark of understanding.
        generation: the benchmark of generation.
        model: as it is, so that averaged weights are to be in their places.
        source: says how clips are read.
        clips: the held-out clips.
        loader: says how many processes decode.
        precision: makes the context that training runs its forward passes in.
        whole: make videos of generation.max_clips, instead of generation.clips_while_training.
        examples: of so many clips the frames, answers and videos are kept.

    Raises:
        UserError: not one of the clips can be read, or the judge's own.
    """
    understood = generated = None
    if model.objective.understands:
        understood = evaluate_heldout(
            alignment, model, source, clips, loader=loader, precision=precision(), examples=examples
        )
    if model.decodes or model.predicts_tokens:
        generated = evaluate_generation_heldout(
            generation if whole else generation.while_training(),
            model,
            source,
            clips,
            loader=loader,
            precision=precision(),
            examples=examples,
        )
    return Results(understood, generated)


def write_alignment_sheet(result: Evaluation, path: Path) -> None:
    """Held-out clips as the tokeniser saw them, with question, answer and truth."""
    lines = [
        [
            Text(f"{question} {answer}", "right")
            if answer == truth
            else Text(f"{question} {answer} (truth: {truth})", "wrong")
            for question, answer, truth in example.answers
        ]
        for example in result.examples
    ]
    contact_sheet([example.frames for example in result.examples], lines, path)
