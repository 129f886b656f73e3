"""The evaluations on the held-out clips of a data source."""

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice

from vtok.common.distributed import gathered, rank, world_size
from vtok.common.errors import UserError
from vtok.common.foreign_files import printable
from vtok.data import CachedReader, Clip, ClipDataset, ClipReader, DataSource, LoaderSettings
from vtok.data.clip_reader import Planner
from vtok.data.plan import TargetPlan
from vtok.evaluation.alignment import Alignment, Evaluation
from vtok.evaluation.choice import questions_of
from vtok.evaluation.clips import Shown, heldout_loader
from vtok.evaluation.generation import Generation, GenerationResult
from vtok.evaluation.length_check import Fits, fits_of
from vtok.model import VideoLanguageModel

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")


def evaluate_heldout(
    alignment: Alignment,
    model: VideoLanguageModel,
    source: DataSource,
    clips: Sequence[Clip],
    *,
    loader: LoaderSettings,
    precision: AbstractContextManager[None],
    examples: int = 0,
) -> Evaluation:
    """Evaluate on `clips`, at most `alignment.max_clips` of them.

    Broken ones, and those whose text is too long for the model, are left out and told in the result.

    Of several processes each takes its share, and all have the whole result.

    Args:
        alignment: the benchmark.
        model: the model.
        source: says how clips are read.
        clips: the held-out clips.
        loader: says how many processes decode.
        precision: the context that training runs its forward passes in.
        examples: of so many clips the frames and answers are kept.

    Raises:
        UserError: there are no clips, or not one of them can be read.
    """
    chosen = clips[: alignment.max_clips]
    if not chosen:
        raise UserError(
            "data: the data set has no held-out clips. Evaluation needs at least one. Set split=val of some clips in "
            "its manifest."
        )
    own = chosen[rank() :: world_size()]
    reader = heldout_reader(source, model.tokeniser.planner, None, own, shown=examples)
    fits = fits_of(model)
    dataset = ClipDataset(own, reader, seed=0, replace_bad=False, fits=fits)
    batches = heldout_loader(dataset, batch_size=alignment.batch_size, num_workers=loader.num_workers)
    captions = captions_that_fit(clips, fits, num_frames=source.clip.num_frames)
    with precision:
        part = alignment(
            model, batches, captions=captions, values=values_of(clips), examples=examples, progress=rank() == 0
        )
    result = Evaluation.joined(gathered(part), examples=examples)
    unscored = sum(not question.choices for clip in chosen for question in clip.questions)
    if unscored and rank() == 0:
        log.warning(
            "%d questions about the %d held-out clips have no choices and are not scored.", unscored, len(chosen)
        )
    if result.clips == 0:
        raise unreadable(len(chosen), result.bad)
    return result


def evaluate_generation_heldout(
    generation: Generation,
    model: VideoLanguageModel,
    source: DataSource,
    clips: Sequence[Clip],
    *,
    loader: LoaderSettings,
    precision: AbstractContextManager[None],
    examples: int = 0,
) -> GenerationResult:
    """Make and judge the videos of `clips`, at most `generation.max_clips` of those that can be judged.

    A clip without a choice question is asked which of four captions is its own, as in `evaluate_heldout`. Broken clips
    are left out and told in the result.

    Args:
        generation: the evaluation.
        model: a model that makes videos, or video tokens alone.
        source: says how clips are read.
        clips: the held-out clips.
        loader: says how many processes decode.
        precision: the context that training runs its forward passes in.
        examples: of so many clips the videos are kept.

    Raises:
        UserError: not one of the clips that can be judged can be read, or the judge's own.
        ValueError: the model makes neither videos nor their tokens.
    """
    if not (model.decodes or model.predicts_tokens):
        raise ValueError("the model makes neither videos nor their tokens.")
    fits = fits_of(model, made_frames=source.clip.num_frames)
    captions = captions_that_fit(clips, fits, num_frames=source.clip.num_frames)
    # No further than is needed: to find a clip's other captions takes as long as there are captions.
    asked = (with_choices(clip, captions[clip.source]) for clip in clips)
    taken = (clip for clip in asked if generation.takes(clip, judged=model.decodes))
    chosen = list(islice(taken, generation.max_clips))
    if not chosen:
        log.warning(
            "none of the %d held-out clips has a caption and can be judged by generation/judge=%s: "
            "the videos that the model makes are not evaluated.",
            len(clips), type(generation.judge).__name__.removesuffix("Judge").lower(),
        )  # fmt: skip
        return GenerationResult()
    target = model.decoder.target if model.decodes else None
    own = chosen[rank() :: world_size()]
    reader = heldout_reader(source, model.tokeniser.planner, target, own, shown=examples)
    dataset = ClipDataset(own, reader, seed=0, replace_bad=False, fits=fits)
    batches = heldout_loader(dataset, batch_size=generation.batch_size, num_workers=loader.num_workers)
    try:
        with precision:
            part = generation(
                model,
                batches,
                num_frames=source.clip.num_frames,
                everyone=[clip for clip in chosen if fits.prompt(clip.caption or "")],
                examples=examples,
                progress=rank() == 0,
            )
    finally:
        generation.judge.release()
    result = GenerationResult.joined(gathered(part), examples=examples)
    if result.clips == 0:
        raise unreadable(len(chosen), result.bad)
    return result


def heldout_reader(
    source: DataSource, planner: Planner, target: TargetPlan | None, clips: Sequence[Clip], *, shown: int
) -> ClipReader:
    """What reads held-out clips; out of a cache, with the frames of the first `shown` beside their features.

    Raises:
        UserError: a file has changed since its features were computed, told before it is read by another process.
    """
    reader = source.reader(planner, target)
    if not isinstance(reader, CachedReader):
        return reader
    reader.check(clips, files=True)
    return Shown(reader, source.frame_reader(planner, target), frozenset(clip.id for clip in clips[:shown]))


def captions_that_fit(clips: Sequence[Clip], fits: Fits, *, num_frames: int) -> dict[str, list[str]]:
    """The captions of which wrong choices are made, by the source of their clips in a mixture of data sets.

    One that is too long is the fault of its own clip alone, and one of another data set would be told by its manner.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        if clip.caption and fits.caption(clip.caption, num_frames):
            captions[clip.source].append(clip.caption)
    return captions


def values_of(clips: Sequence[Clip]) -> dict[str, dict[str, frozenset[str]]]:
    """What each attribute may be, by source and category: all that is true of a clip or offered as an answer."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for clip in clips:
        own = values[clip.source]
        for category, truth in clip.attributes.items():
            own[category].add(truth)
        for question in clip.questions:
            # Of the same values as the attribute: which move comes first is a question of another kind than all moves.
            if question.kind == "choice" and question.answer == clip.attributes.get(question.category):
                own[question.category].update(question.choices)
    return {source: {name: frozenset(each) for name, each in own.items()} for source, own in values.items()}


def with_choices(clip: Clip, captions: Sequence[str]) -> Clip:
    """A clip with a question that has choices other than yes and no: its own, or which of four captions is its own."""
    if any(question.kind == "choice" for question in clip.questions):
        return clip
    return replace(clip, questions=tuple(questions_of(replace(clip, questions=()), captions)))


def missing_files(source: DataSource, clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """(path, reason) of clips whose files are not there, without opening any.

    Clips within larger files, those at addresses, and those that are read out of a cache are not looked for.
    """
    if source.cache is not None:
        return []
    paths = dict.fromkeys(clip.path for clip in clips if clip.span is None and not ADDRESS.match(str(clip.path)))
    return [(str(path), "the file does not exist") for path in paths if not path.exists()]


def check_files(source: DataSource, clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """`missing_files`; raises UserError where all are missing, so that it is reported before training."""
    missing = missing_files(source, clips)
    if missing and len(missing) == len({clip.path for clip in clips}):
        raise unreadable(len(clips), missing)
    return missing


def unreadable(number: int, bad: Sequence[tuple[str, str]]) -> UserError:
    path, reason = bad[0]
    return UserError(f"none of the {number} held-out clips can be read; the first: {printable(path)}: {reason}")
