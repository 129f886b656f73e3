"""vtok data check: decodes every frame of a data set and lists broken clips."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.files import check_writable, write_text
from vtok.common.foreign_files import printable
from vtok.common.setting_types import Count
from vtok.common.tables import named_values
from vtok.config import check, compose
from vtok.data import Clip, DataSource, LoaderSettings
from vtok.data.broken_clips import list_bad
from vtok.data.check import check_clips, summary
from vtok.data.sources.base import SPLITS, Split
from vtok.model.build import build

MAX_LISTED = 6


def data_check(
    *,
    out: str | None = None,
    processes: Count | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """Decode every frame of a data set: counts, codecs, sizes, lengths, and broken clips with the reason.

    Takes train's overrides, such as data=folder data.root=PATH. It is an error if more clips are broken than
    loader.max_bad_fraction allows.

    Args:
        out: a JSON file for the report, with an entry for each clip.
        processes: number of processes that decode; null: one for each core.
        overrides: overrides of the configuration.

    Raises:
        UserError: if the configuration does not fit, or more than loader.max_bad_fraction of the clips are broken.
    """
    if out is not None:
        check_writable(Path(out), suffix=".json")
    config = compose(overrides)
    check(config)
    source: DataSource = build(config.data)
    loader: LoaderSettings = build(config.loader)
    source.prepare()
    splits = {split: source.filmed(split) for split in SPLITS}
    clips = [clip for found in splits.values() for clip in found]
    each = check_clips(
        clips,
        [source.source_of(clip).frames_fps for clip in clips],
        timeout=source.clip.decode_timeout,
        processes=min(processes or os.cpu_count() or 1, max(1, len(clips) // 8)),
    )
    report = summary(tqdm(each, total=len(clips), desc="checking", unit="clip", leave=False, disable=None))
    # Clips that were left out before any frame was read, such as those without a caption.
    report["broken"] = dict(source.bad) | report["broken"]
    report["splits"] = {split: len(found) for split, found in splits.items()}
    report |= groups_of(splits)
    if source.wraps_source:
        twins = (clip for split in splits for clip in source.clips(split))
        report["twins"] = dict(Counter(clip.questions[0].category for clip in twins).most_common())
    if out is not None:
        write_text(Path(out), json.dumps(report, indent=1))
    total = len(clips) + len(source.bad)
    text = report_text(report)
    if len(report["broken"]) > loader.max_bad_fraction * total:
        raise UserError(
            f"{len(report['broken'])} of {total} clips are broken, more than loader.max_bad_fraction="
            f"{loader.max_bad_fraction} allows. Repair or remove them, or set a larger loader.max_bad_fraction.\n{text}"
        )
    return text


def groups_of(splits: Mapping[Split, Sequence[Clip]]) -> dict[str, Any]:
    """Numbers of groups of clips by split, and the groups that are in several splits, by name."""
    names = {split: {clip.cluster for clip in clips} for split, clips in splits.items()}
    counts = Counter(name for found in names.values() for name in found)
    return {
        "groups": {split: len(found) for split, found in names.items()},
        "groups_in_several_splits": sorted(name for name, number in counts.items() if number > 1),
    }


def by_split(counts: Mapping[str, int]) -> str:
    return f"{counts['train']} to train, {counts['validation']} to validate, {counts['test']} to test"


def report_text(report: dict) -> str:
    """The report as a table and a list of broken clips."""
    seconds = report["seconds"]
    rows = [
        ("clips", f"{report['clips']}: {by_split(report['splits'])}"),
        ("groups", f"{sum(report['groups'].values())}: {by_split(report['groups'])}"),
        ("frames", f"{report['frames']}, {seconds['all'] / 3600:.3g} hours"),
        ("seconds", f"{seconds['least']:.2f} to {seconds['most']:.2f}, median {seconds['median']:.2f}"),
    ]
    for name in ("codecs", "sizes"):
        counts = list(report[name].items())
        more = f", and {len(counts) - MAX_LISTED} more" if len(counts) > MAX_LISTED else ""
        rows.append((name, ", ".join(f"{kind} {count}" for kind, count in counts[:MAX_LISTED]) + more))
    if shared := report["groups_in_several_splits"]:
        more = f", and {len(shared) - MAX_LISTED} more" if len(shared) > MAX_LISTED else ""
        rows.append(("in several splits", ", ".join(printable(name) for name in shared[:MAX_LISTED]) + more))
    if "twins" in report:
        rows.append(("twins", ", ".join(f"{category} {count}" for category, count in report["twins"].items())))
    shown = named_values([*rows, ("broken", str(len(report["broken"])))])
    return f"{shown}\n{list_bad(report['broken'])}" if report["broken"] else shown
