"""vtok calibrate: finds tokeniser.change for a wanted mean number of tokens."""

import logging
from collections.abc import Sequence
from statistics import fmean

from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.setting_types import Count, Positive
from vtok.common.tables import table
from vtok.config import check, compose
from vtok.config.nodes import planner_of
from vtok.data import ClipDataset, DataSource, LoaderSettings
from vtok.data.change import change_for, frame_changes, kept_frames
from vtok.data.plan import ChangePlanner, StridePlanner
from vtok.data.sources.base import SPLITS, Split
from vtok.evaluation.clips import heldout_loader
from vtok.feature_cache import without_cache
from vtok.model.build import build

log = logging.getLogger("vtok")


def calibrate(*, tokens: Positive = 20.0, clips: Count = 2000, overrides: Sequence[str] = ()) -> str:
    """Find the `tokeniser.change` of tokeniser=adaptive with which training clips have a wanted mean number of tokens.

    The mean is exact on the training clips that are read, and the table shows what it is on the other splits. Broken
    clips are left out and logged. Takes train's overrides; settings of data, clip and tokeniser.stride change the
    result.

    Args:
        tokens: wanted mean number of tokens of a clip.
        clips: largest number of clips that are read of each split.
        overrides: overrides of the configuration.

    Raises:
        UserError: if the tokeniser keeps all frames, the mean cannot be had, or no training clip can be read.
    """
    config = compose(["tokeniser=adaptive", *overrides])
    without_cache(config)
    check(config)
    planner = planner_of(config)
    if not isinstance(planner, ChangePlanner):
        raise UserError(
            f"tokeniser: {config.tokeniser._target_} keeps all of its frames and has no tokeniser.change. "
            "Use tokeniser=adaptive."
        )
    source: DataSource = build(config.data)
    source.prepare()
    loader: LoaderSettings = build(config.loader)
    changes = {split: changes_of(source, split, planner.stride, clips, loader) for split in SPLITS}
    if not changes["train"]:
        raise UserError("data: none of the training clips can be read. Repair them, or use another data set.")
    change = change_for(tokens - planner.key_tokens, changes["train"])
    rows = [("split", "clips", "mean tokens", "fewest", "most")]
    for split, each in changes.items():
        counts = [planner.num_tokens(len(kept_frames(one, change))) for one in each]
        if counts:
            rows.append((split, str(len(counts)), f"{fmean(counts):.3f}", str(min(counts)), str(max(counts))))
    return f"{table(rows)}\ntokeniser.change={change:g}"


def changes_of(source: DataSource, split: Split, stride: int, number: int, loader: LoaderSettings) -> list[list[float]]:
    """The changes of the frames of up to `number` clips of a split, without augmentation."""
    dataset = ClipDataset(
        source.clips(split)[:number], source.frame_reader(StridePlanner(stride)), seed=0, replace_bad=False
    )
    batches = heldout_loader(dataset, batch_size=loader.batch_size, num_workers=loader.num_workers)
    found = []
    for batch in tqdm(batches, desc=split, unit="batch", leave=False, disable=None):
        found += [frame_changes(sample.frames) for sample in batch.samples if sample.frames is not None]
        for path, reason in batch.bad:
            log.warning("left out: %s: %s", path, reason)
    return found
