"""vtok data check: every frame of a data set decoded, and what is broken."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.files import check_writable, write_text
from vtok.common.setting_types import Count
from vtok.common.tables import named_values
from vtok.config import check, compose
from vtok.data import DataSource, LoaderSettings
from vtok.data.broken_clips import list_bad
from vtok.data.check import check_clips, summary
from vtok.model.build import build

LISTED = 6


def data_check(
    *,
    out: str | None = None,
    processes: Count | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """Every frame of a data set decoded: counts, codecs, sizes, lengths, and what is broken and why.

    Takes train's overrides, data=... above all. More broken clips than loader.max_bad_fraction are an error.

    Args:
        out: a json file for the report, with a line for each clip.
        processes: number of processes that decode; null: one a core.
        overrides: of the configuration.

    Raises:
        UserError: the configuration does not fit, or more than loader.max_bad_fraction of the clips are broken.
    """
    if out is not None:
        check_writable(Path(out), suffix=".json")
    config = compose(overrides)
    check(config)
    source: DataSource = build(config.data)
    loader: LoaderSettings = build(config.loader)
    source.prepare()
    splits = {split: source.clips(split) for split in ("train", "heldout")}
    clips = [clip for found in splits.values() for clip in found]
    each = check_clips(
        clips,
        [source.part_of(clip).frames_fps for clip in clips],
        timeout=source.clip.decode_timeout,
        processes=min(processes or os.cpu_count() or 1, max(1, len(clips) // 8)),
    )
    report = summary(tqdm(each, total=len(clips), desc="checking", unit="clip", leave=False, disable=None))
    # Those that were left out for what is known without reading them: a caption that is missing, a bad row.
    report["broken"] = dict(source.bad) | report["broken"]
    report["splits"] = {split: len(found) for split, found in splits.items()}
    if out is not None:
        write_text(Path(out), json.dumps(report, indent=1))
    total = len(clips) + len(source.bad)
    told = report_text(report)
    if len(report["broken"]) > loader.max_bad_fraction * total:
        raise UserError(
            f"{len(report['broken'])} of {total} clips are broken, more than loader.max_bad_fraction="
            f"{loader.max_bad_fraction} allows.\n{told}"
        )
    return told


def report_text(report: dict) -> str:
    """The report for a person."""
    seconds, splits = report["seconds"], report["splits"]
    rows = [
        ("clips", f"{report['clips']}: {splits['train']} to train, {splits['heldout']} held out"),
        ("frames", f"{report['frames']}, {seconds['all'] / 3600:.3g} hours"),
        ("seconds", f"{seconds['least']:.2f} to {seconds['most']:.2f}, median {seconds['median']:.2f}"),
    ]
    for name in ("codecs", "sizes"):
        counts = list(report[name].items())
        more = f", and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
        rows.append((name, ", ".join(f"{kind} {count}" for kind, count in counts[:LISTED]) + more))
    shown = named_values([*rows, ("broken", str(len(report["broken"])))])
    return f"{shown}\n{list_bad(report['broken'])}" if report["broken"] else shown
