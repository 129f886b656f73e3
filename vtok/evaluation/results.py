"""Evaluating both branches of a model, and writing the results as metrics, tables, contact sheets and videos."""

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
from vtok.evaluation.answers import Answer
from vtok.model import VideoLanguageModel
from vtok.runs.samples import CAPTIONS, GENERATED_SHEET, HELD_OUT_SHEET

NUM_SAMPLES = 4
MIN_SIDE = 128


@dataclass(frozen=True)
class Results:
    """The results of both branches.

    Attributes:
        alignment: result of the understanding branch; None if the model does not have it.
        generation: result of the generation branch; None if the model does not have it.
    """

    alignment: Evaluation | None
    generation: GenerationResult | None

    @property
    def bad(self) -> list[tuple[str, str]]:
        """(label, reason) of each clip that could not be read, without repetitions."""
        return list(dict.fromkeys(bad for result in self._results() for bad in result.bad))

    @property
    def scores_nothing(self) -> bool:
        """Whether there are no answers, because no clip has questions or attributes."""
        return not any(result.answers for result in self._results())

    @property
    def answers(self) -> list[Answer]:
        """The answers of both branches, each in the order of the clips."""
        return [answer for result in self._results() for answer in result.answers]

    @property
    def has_videos(self) -> bool:
        return self.generation is not None and bool(self.generation.examples)

    def metrics(self) -> dict[str, float]:
        """Metrics of both branches by name."""
        return {name: value for result in self._results() for name, value in result.metrics().items()}

    def table(self) -> str:
        """The tables of both branches."""
        return "\n\n".join(result.table() for result in self._results())

    def write_sheets(self, folder: Path) -> list[Path]:
        """Write the contact sheets of the branches that have examples; returns all contact sheets in the folder."""
        if self.alignment is not None and self.alignment.examples:
            write_alignment_sheet(self.alignment, folder / HELD_OUT_SHEET)
        if self.generation is not None:
            write_generation_sheet(self.generation, folder / GENERATED_SHEET)
        return [folder / name for name in (HELD_OUT_SHEET, GENERATED_SHEET) if (folder / name).is_file()]

    def write_samples(self, folder: Path, *, fps: float) -> None:
        """Write the contact sheets, the videos of the first clips, and their captions as a list in captions.json.

        The videos are 0_truth.mp4, 0_reconstructed.mp4, 0_generated.mp4, 1_truth.mp4, ...

        Args:
            folder: folder of the files, created if it is missing; files of the same names are replaced.
            fps: frames per second of the videos.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.write_sheets(folder)
        examples = self.generation.examples[:NUM_SAMPLES] if self.generation else []
        if examples:
            write_text(folder / CAPTIONS, json.dumps([made.caption for made in examples]))
        for number, made in enumerate(examples):
            scale = -(-MIN_SIDE // made.truth.shape[-1])
            videos = {"truth": made.truth, "reconstructed": made.reconstructed, "generated": made.generated}
            for name, video in videos.items():
                if video is not None:
                    write_video(folder / f"{number}_{name}.mp4", video, fps=fps, scale=scale)

    def _results(self) -> list[Evaluation | GenerationResult]:
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
    examples: int = 0,
) -> Results:
    """Evaluate the branches that the model has, on held-out clips.

    Args:
        alignment: the benchmark of understanding.
        generation: the evaluation of generated videos.
        model: the model, with averaged weights already in place if they are to be evaluated.
        source: data source of the clips.
        clips: the held-out clips.
        loader: settings of the data loader.
        precision: factory of the context of the forward passes, as in training.
        examples: number of clips whose frames, answers and videos are saved.

    Raises:
        UserError: none of the clips can be read, or the judge cannot be used.
    """
    understood = generated = None
    if model.objective.understands:
        understood = evaluate_heldout(
            alignment, model, source, clips, loader=loader, precision=precision(), examples=examples
        )
    if model.decodes or model.predicts_tokens:
        generated = evaluate_generation_heldout(
            generation, model, source, clips, loader=loader, precision=precision(), examples=examples
        )
    return Results(understood, generated)


def write_alignment_sheet(result: Evaluation, path: Path) -> None:
    """Write a contact sheet of the sampled frames, with questions, answers and truths."""
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
