"""HTML pages that need no server and no network: an interactive plot, and a report of runs."""

import base64
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from vtok.common.files import write_text
from vtok.common.overrides import command
from vtok.runs.chart import comparison_chart, curves_chart
from vtok.runs.comparison import Comparison, numeric
from vtok.runs.curves import read_curves
from vtok.runs.learning import Learning, read_learning
from vtok.runs.pairs import Pairs, compare_pairs, find_baseline
from vtok.runs.samples import ClipVideos, clip_videos, contact_sheets, explanations
from vtok.runs.seeds import seed_table

TYPES = {".png": "image/png", ".mp4": "video/mp4"}
MEGABYTE = 2**20


@dataclass
class PageFiles:
    """Pictures and videos of a page: embedded up to a number of bytes, then copied to `NAME_files/` beside the page.

    Attributes:
        page: file of the page.
        embed_bytes: bytes that may still be embedded.
        copied: number of files copied beside the page.
    """

    page: Path
    embed_bytes: int
    copied: int = 0

    @property
    def folder(self) -> Path:
        return self.page.with_name(f"{self.page.stem}_files")

    def clear(self) -> None:
        """Delete the files of an older page of the same name."""
        for file in self.folder.glob("*"):
            if re.fullmatch(r"\d+\.(png|mp4)", file.name):
                file.unlink()

    def source(self, file: Path) -> str:
        """The `src` attribute of a picture or video."""
        size = file.stat().st_size
        if size <= self.embed_bytes:
            self.embed_bytes -= size
            return f"data:{TYPES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
        self.folder.mkdir(exist_ok=True)
        name = f"{self.copied}{file.suffix}"
        shutil.copyfile(file, self.folder / name)
        self.copied += 1
        return f"{quote(self.folder.name)}/{name}"


def write_plot_page(
    comparison: Comparison, path: Path, *, title: str, pairs: Pairs, learning: Learning, base: int | None
) -> None:
    """Write a page with the comparison's plot, its tooltips, and its tables.

    Args:
        comparison: the runs.
        path: file of the page; an existing one is replaced.
        title: title of the page.
        pairs: their differences.
        learning: their times to learn.
        base: index of the group that the others are compared with; None: all pairs.

    Raises:
        UserError: no metric is a number.
    """
    values = {
        "comparison": comparison,
        "seeds": seed_table(comparison),
        "pairs": pairs,
        "learning": learning,
        "base": base,
        "chart": comparison_chart(comparison),
    }
    write_text(path, render("comparison.html", title, values))


def write_report_page(comparison: Comparison, path: Path, *, title: str, embed_mb: float) -> int:
    """Write a report of runs: results, plot, curves, videos, contact sheets, explained answers, commands and commits.

    Args:
        comparison: the runs.
        path: file of the page; an existing one is replaced.
        title: title of the page.
        embed_mb: largest size in megabytes of embedded pictures and videos; the others are copied beside the page.

    Returns:
        The number of files that the page needs in `NAME_files/` beside it.
    """
    files = PageFiles(path, embed_bytes=int(embed_mb * MEGABYTE))
    files.clear()
    curves = read_curves(comparison)
    base = find_baseline(comparison, None)
    drawn = any(numeric(run.summary.get(name)) for run in comparison.runs for name in comparison.metrics)
    values = {
        "comparison": comparison,
        "seeds": seed_table(comparison),
        "pairs": compare_pairs(comparison, base),
        "learning": read_learning(comparison),
        "base": base,
        "chart": comparison_chart(comparison) if drawn and len(comparison.runs) > 1 else None,
        "curves": curves,
        "curves_chart": curves_chart(comparison, curves) if curves.metrics else None,
        "clips": [_clip(clip, files) for clip in clip_videos(comparison)],
        "sheets": [(name, files.source(file)) for name, file in contact_sheets(comparison)],
        "explanations": [(name, files.source(file)) for name, file in explanations(comparison)],
        "runs": [_run_entry(comparison, index) for index in range(len(comparison.runs))],
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
    }
    write_text(path, render("report.html", title, values))
    return files.copied


def render(template: str, title: str, values: dict[str, Any]) -> str:
    """A template of `pages/`, filled with escaped values: configs and captions may hold any text."""
    # By default Jinja2 escapes only in templates with certain file names.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment.get_template(template).render({"title": title, **values})


def breakable(name: str) -> Markup:
    """A name that may be broken after slashes, dots and underscores in a narrow column."""
    return Markup(re.sub(r"([/._])", r"\1<wbr>", str(escape(name))))


def _clip(clip: ClipVideos, files: PageFiles) -> dict[str, Any]:
    cards = [
        {"name": name, "videos": [(kind, files.source(file)) for kind, file in videos]} for name, videos in clip.cards
    ]
    return {"name": clip.name, "cards": cards}


def _run_entry(comparison: Comparison, index: int) -> dict[str, str]:
    run = comparison.runs[index]
    return {
        "name": f"{comparison.names[index]}: {comparison.label(index)}",
        "command": command("python", "train.py", *run.overrides),
        "status": run.status,
        "commit": str(run.summary.get("commit", "not known")),
        "path": str(run.path),
    }
