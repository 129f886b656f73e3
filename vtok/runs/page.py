"""Pages that open without a server or a network: an interactive plot, and a report of runs."""

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
from vtok.runs.samples import Clip, clips_of, sheets_of
from vtok.runs.seeds import seed_table

TYPES = {".png": "image/png", ".mp4": "video/mp4"}
MEGABYTE = 2**20


@dataclass
class Files:
    """Pictures and videos of a page: within it as long as there is room, then beside it in `NAME_files/`.

    page: the page's file. room: bytes that may still go into it. beside: how many files lie beside it.
    """

    page: Path
    room: int
    beside: int = 0

    @property
    def folder(self) -> Path:
        return self.page.with_name(f"{self.page.stem}_files")

    def clear(self) -> None:
        """Removes what an older page of the name had beside it."""
        for file in self.folder.glob("*"):
            if re.fullmatch(r"\d+\.(png|mp4)", file.name):
                file.unlink()

    def source(self, file: Path) -> str:
        """What `src` is to say."""
        size = file.stat().st_size
        if size <= self.room:
            self.room -= size
            return f"data:{TYPES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
        self.folder.mkdir(exist_ok=True)
        name = f"{self.beside}{file.suffix}"
        shutil.copyfile(file, self.folder / name)
        self.beside += 1
        return f"{quote(self.folder.name)}/{name}"


def write_plot_page(comparison: Comparison, path: Path, *, title: str) -> None:
    """The comparison's plot with its figures under the mouse, and its table.

    Raises UserError where no metric is a number.
    """
    values = {"comparison": comparison, "seeds": seed_table(comparison), "chart": comparison_chart(comparison)}
    write_text(path, render("comparison.html", title, values))


def write_report_page(comparison: Comparison, path: Path, *, title: str, embed_mb: float) -> int:
    """What there is of the runs: results, plot, curves, videos, contact sheets, commands and commits.

    Args:
        comparison: of the runs.
        path: the page; what is there is replaced.
        title: of the page.
        embed_mb: megabytes of pictures and videos within the page, at most; the others are copied beside it.

    Returns:
        The number of files in `NAME_files/` beside the page, which belong to it.
    """
    files = Files(path, room=int(embed_mb * MEGABYTE))
    files.clear()
    curves = read_curves(comparison)
    drawn = any(numeric(run.summary.get(name)) for run in comparison.runs for name in comparison.metrics)
    values = {
        "comparison": comparison,
        "seeds": seed_table(comparison),
        "chart": comparison_chart(comparison) if drawn and len(comparison.runs) > 1 else None,
        "curves": curves,
        "curves_chart": curves_chart(comparison, curves) if curves.figures else None,
        "clips": [_clip(clip, files) for clip in clips_of(comparison)],
        "sheets": [(name, files.source(file)) for name, file in sheets_of(comparison)],
        "runs": [_told(comparison, index) for index in range(len(comparison.runs))],
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
    }
    write_text(path, render("report.html", title, values))
    return files.beside


def render(template: str, title: str, values: dict[str, Any]) -> str:
    """A template of `pages/` with its values, which are escaped: they come from configs and captions."""
    # Everything is escaped, whatever a file is called.
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
    """A name that a narrow column may break after its slashes, dots and underscores."""
    return Markup(re.sub(r"([/._])", r"\1<wbr>", str(escape(name))))


def _clip(clip: Clip, files: Files) -> dict[str, Any]:
    cards = [
        {"name": name, "videos": [(kind, files.source(file)) for kind, file in videos]} for name, videos in clip.cards
    ]
    return {"name": clip.name, "cards": cards}


def _told(comparison: Comparison, index: int) -> dict[str, str]:
    run = comparison.runs[index]
    return {
        "name": f"{run.path.name}: {comparison.label(index)}",
        "command": command("python", "train.py", *run.overrides),
        "status": run.status,
        "commit": str(run.summary.get("commit", "not known")),
        "path": str(run.path),
    }
