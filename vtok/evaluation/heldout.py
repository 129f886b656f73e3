"""The benchmark on the held-out clips of a data source."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from vtok.build import build_dataset
from vtok.data import Clip, DataSource
from vtok.errors import UserError
from vtok.evaluation.alignment import Alignment, Evaluation
from vtok.evaluation.loading import heldout_loader
from vtok.model import VideoLanguageModel


def evaluate_heldout(
    alignment: Alignment,
    model: VideoLanguageModel,
    source: DataSource,
    clips: Sequence[Clip],
    *,
    precision: AbstractContextManager[None],
    examples: int = 0,
) -> Evaluation:
    """Evaluate on `clips`, at most `alignment.max_clips` of them; broken ones are left out and told in the result.

    Args:
        alignment: the benchmark.
        model: the model.
        source: says how clips are read.
        clips: the held-out clips.
        precision: the context that training runs its forward passes in.
        examples: of so many clips the frames and answers are kept.

    Raises:
        UserError: not one of the clips can be read.
    """
    chosen = list(clips)[: alignment.max_clips]
    dataset = build_dataset(source, chosen, model.tokeniser.planner, seed=0, replace_bad=False)
    loader = heldout_loader(dataset, batch_size=alignment.batch_size, num_workers=source.num_workers)
    captions = [clip.caption for clip in clips if clip.caption]
    with precision:
        result = alignment(model, loader, captions=captions, examples=examples)
    if result.clips == 0:
        path, reason = result.bad[0]
        raise UserError(f"none of the {len(chosen)} held-out clips can be read; the first: {path}: {reason}")
    return result
