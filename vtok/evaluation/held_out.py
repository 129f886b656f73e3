"""Running the evaluations on the held-out clips of a data source."""

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
from vtok.evaluation.clips import ReaderWithFrames, heldout_loader
from vtok.evaluation.generation import Generation
from vtok.evaluation.generation_result import GenerationResult
from vtok.evaluation.length_check import ClipTextCheck, clip_text_check
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
    """Evaluate understanding on at most `alignment.max_clips` of `clips`.

    Clips that are broken, or whose text is too long for the model, are left out and listed in the result. Several
    processes share the clips, and each of them returns the full result.

    Args:
        alignment: the benchmark.
        model: the model.
        source: data source of the clips.
        clips: the held-out clips.
        loader: settings of the data loader.
        precision: context of the forward passes, as in training.
        examples: number of clips whose frames and answers are saved.

    Raises:
        UserError: there are no clips, or none of them can be read.
    """
    chosen = clips[: alignment.max_clips]
    if not chosen:
        raise UserError(
            "data: the data set has no clips to evaluate on, and evaluation needs at least one. Set split=test for "
            "some clips in its manifest."
        )
    own = chosen[rank() :: world_size()]
    reader = heldout_reader(source, model.tokeniser.planner, None, own, shown=examples)
    fits = clip_text_check(model)
    dataset = ClipDataset(own, reader, seed=0, replace_bad=False, reject_reason=fits)
    batches = heldout_loader(dataset, batch_size=alignment.batch_size, num_workers=loader.num_workers)
    captions = captions_that_fit(clips, fits, num_frames=source.clip.num_frames)
    with precision:
        part = alignment(
            model, batches, captions=captions, values=values_of(clips), examples=examples, progress=rank() == 0
        )
    result = Evaluation.merged(gathered(part), chosen, examples=examples)
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
    """Evaluate generated videos on at most `generation.max_clips` of the `clips` that the judge can evaluate.

    A clip without a choice question gets the question which of four captions belongs to it, as in `evaluate_heldout`.
    Broken clips are left out and listed in the result.

    Args:
        generation: the evaluation.
        model: a model that generates videos, or only video tokens.
        source: data source of the clips.
        clips: the held-out clips.
        loader: settings of the data loader.
        precision: context of the forward passes, as in training.
        examples: number of clips whose videos are saved.

    Raises:
        UserError: none of the clips can be read, or the judge cannot be used.
        ValueError: the model generates neither videos nor video tokens.
    """
    if not (model.decodes or model.predicts_tokens):
        raise ValueError("the model generates neither videos nor video tokens.")
    fits = clip_text_check(model, generated_frames=source.clip.num_frames)
    captions = captions_that_fit(clips, fits, num_frames=source.clip.num_frames)
    # Lazily, because drawing the wrong captions of a clip takes time proportional to the number of captions.
    asked = (with_choices(clip, captions[clip.source]) for clip in clips)
    taken = (clip for clip in asked if generation.evaluates(clip, judged=model.decodes))
    chosen = list(islice(taken, generation.max_clips))
    if not chosen:
        log.warning(
            "none of the %d held-out clips has a caption and can be judged by generation/judge=%s. "
            "Generated videos are not evaluated.",
            len(clips), type(generation.judge).__name__.removesuffix("Judge").lower(),
        )  # fmt: skip
        return GenerationResult()
    target = model.decoder.target if model.decodes else None
    own = chosen[rank() :: world_size()]
    reader = heldout_reader(source, model.tokeniser.planner, target, own, shown=examples)
    dataset = ClipDataset(own, reader, seed=0, replace_bad=False, reject_reason=fits)
    batches = heldout_loader(dataset, batch_size=generation.batch_size, num_workers=loader.num_workers)
    try:
        with precision:
            part = generation(
                model,
                batches,
                num_frames=source.clip.num_frames,
                all_clips=[clip for clip in chosen if fits.prompt_fits(clip.caption or "")],
                examples=examples,
                progress=rank() == 0,
            )
    finally:
        generation.judge.release()
    result = GenerationResult.merged(gathered(part), chosen, examples=examples)
    if result.clips == 0:
        raise unreadable(len(chosen), result.bad)
    return result


def heldout_reader(
    source: DataSource, planner: Planner, target: TargetPlan | None, clips: Sequence[Clip], *, shown: int
) -> ClipReader:
    """The reader of held-out clips. From a feature cache, it adds the frames of the first `shown` clips.

    Raises:
        UserError: a file has changed since its features were computed; raised here, before worker processes read it.
    """
    reader = source.reader(planner, target)
    if not isinstance(reader, CachedReader):
        return reader
    reader.check(clips, files=True)
    return ReaderWithFrames(reader, source.frame_reader(planner, target), frozenset(clip.id for clip in clips[:shown]))


def captions_that_fit(clips: Sequence[Clip], fits: ClipTextCheck, *, num_frames: int) -> dict[str, list[str]]:
    """The captions from which wrong choices are drawn, by source of the clips in a mixture of data sets.

    Captions that are too long are left out, because they would exclude other clips. Sources are kept apart, because a
    caption of another data set would be recognised by its style.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        if clip.caption and fits.caption_fits(clip.caption, num_frames):
            captions[clip.source].append(clip.caption)
    return captions


def values_of(clips: Sequence[Clip]) -> dict[str, dict[str, frozenset[str]]]:
    """The possible values of each attribute by source and category: all true values and all choices."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for clip in clips:
        own = values[clip.source]
        for category, truth in clip.attributes.items():
            own[category].add(truth)
        for question in clip.questions:
            # Only choices of questions about the attribute itself: other questions may have values of another kind.
            if question.kind == "choice" and question.answer == clip.attributes.get(question.category):
                own[question.category].update(question.choices)
    return {source: {name: frozenset(each) for name, each in own.items()} for source, own in values.items()}


def with_choices(clip: Clip, captions: Sequence[str]) -> Clip:
    """The clip with a choice question: its own, or else the question which of four captions belongs to it."""
    if any(question.kind == "choice" for question in clip.questions):
        return clip
    return replace(clip, questions=tuple(questions_of(replace(clip, questions=()), captions)))


def missing_files(source: DataSource, clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """(label, reason) of each clip whose file does not exist; no file is opened.

    Clips in shards, at URLs, and in a feature cache are not checked.
    """
    if source.cache is not None:
        return []
    local = [clip for clip in clips if clip.span is None and not ADDRESS.match(str(clip.path))]
    # Several clips can share a file.
    gone = {path for path in {clip.path for clip in local} if not path.exists()}
    return [(clip.label, "the file does not exist") for clip in local if clip.path in gone]


def check_files(source: DataSource, clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """`missing_files`, checked before training.

    Raises:
        UserError: all files are missing.
    """
    missing = missing_files(source, clips)
    if missing and len(missing) == len(clips):
        raise unreadable(len(clips), missing)
    return missing


def unreadable(number: int, bad: Sequence[tuple[str, str]]) -> UserError:
    """The error for clips of which none can be read."""
    label, reason = bad[0]
    return UserError(
        f"None of the {number} held-out clips can be read (the first is {printable(label)}: {reason}). "
        "Check data.root and its files."
    )
