"""Contact sheets: one picture of several clips, each a strip of frames above its prompt, answer and truth."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vtok.common.style import LIGHT

Tone = Literal["plain", "muted", "right", "wrong"]

# The marks distinguish right from wrong for readers who cannot distinguish green from red.
TONES: dict[Tone, tuple[str, str]] = {
    "plain": (LIGHT.ink, ""),
    "muted": (LIGHT.muted, ""),
    "right": ("#137333", "✓ "),
    "wrong": ("#c5221f", "✗ "),
}
FONT_SIZE = 17
LINE_HEIGHT = 24
STRIP_WIDTH = 900
LEAST_WIDTH = 360
GAP = 4
PAD = 14


class Text(NamedTuple):
    """A line of text with its colour; a plain str has the tone "plain"."""

    text: str
    tone: Tone = "plain"


class _Card(NamedTuple):
    strip: Image.Image
    lines: list[Text]
    height: int


def contact_sheet(
    frames: Sequence[Tensor | Mapping[str, Tensor]],
    lines: Sequence[Sequence[str | Text]],
    path: Path,
    *,
    columns: int = 2,
    scale: float = 2.0,
) -> None:
    """Write a PNG of clips, `columns` side by side.

    A long strip continues in a new row of frames.

    Args:
        frames: for each clip uint8 (K, 3, H, W), or several such tensors by name, one strip below the other. K, H and W
            may differ between clips.
        lines: for each clip the lines of text below its frames, wrapped to the width.
        path: the PNG file; its folder is created.
        columns: number of clips side by side.
        scale: scale factor of the frames; nearest neighbour from 1 up, Lanczos below.
    """
    if len(frames) != len(lines) or not frames:
        raise ValueError(f"every clip needs one list of lines: {len(frames)} clips, {len(lines)} lists")
    strips = [_named(clip, scale) if isinstance(clip, Mapping) else _strip(clip, scale) for clip in frames]
    width = max(LEAST_WIDTH, *(strip.width for strip in strips))
    cards = [_card(strip, texts, width) for strip, texts in zip(strips, lines, strict=True)]
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(card.height for card in row) for row in rows]
    cell = width + 2 * PAD
    across = min(columns, len(cards))
    sheet = Image.new(
        "RGB", (across * cell + (across + 1) * PAD, sum(heights) + (len(rows) + 1) * PAD), LIGHT.background
    )
    top = PAD
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            _place(sheet, card, left=PAD + column * (cell + PAD), top=top, width=cell, height=height)
        top += height + PAD
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _named(clips: Mapping[str, Tensor], scale: float) -> Image.Image:
    """Strips one below the other, each with its name on the left."""
    strips = {name: _strip(clip, scale) for name, clip in clips.items()}
    left = PAD + round(max(_font().getlength(name) for name in strips))
    width, height = max(strip.width for strip in strips.values()), sum(strip.height + GAP for strip in strips.values())
    picture = Image.new("RGB", (left + width, height - GAP), LIGHT.panel)
    draw, top = ImageDraw.Draw(picture), 0
    for name, strip in strips.items():
        draw.text((0, top + strip.height / 2), name, font=_font(), fill=TONES["muted"][0], anchor="lm")
        picture.paste(strip, (left, top))
        top += strip.height + GAP
    return picture


def _strip(clip: Tensor, scale: float) -> Image.Image:
    count, _, height, width = clip.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    across = min(count, max(1, (STRIP_WIDTH + GAP) // (size[0] + GAP)))
    down = -(-count // across)
    strip = Image.new("RGB", (across * (size[0] + GAP) - GAP, down * (size[1] + GAP) - GAP), LIGHT.panel)
    for index, frame in enumerate(clip):
        picture = Image.fromarray(frame.permute(1, 2, 0).contiguous().cpu().numpy()).resize(size, method)
        strip.paste(picture, (index % across * (size[0] + GAP), index // across * (size[1] + GAP)))
    return strip


def _card(strip: Image.Image, texts: Sequence[str | Text], width: int) -> _Card:
    lines = []
    for item in texts:
        text, tone = item if isinstance(item, Text) else Text(item)
        lines += [Text(line, tone) for line in wrap(TONES[tone][1] + text, width)]
    return _Card(strip, lines, height=2 * PAD + strip.height + (PAD // 2 + LINE_HEIGHT * len(lines) if lines else 0))


def _place(sheet: Image.Image, card: _Card, *, left: int, top: int, width: int, height: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.rounded_rectangle((left, top, left + width, top + height), radius=8, fill=LIGHT.panel)
    sheet.paste(card.strip, (left + PAD, top + PAD))
    y = top + PAD + card.strip.height + PAD // 2
    for line in card.lines:
        draw.text((left + PAD, y), line.text, font=_font(), fill=TONES[line.tone][0])
        y += LINE_HEIGHT


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken at spaces; a word that is wider than a line is broken too."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if _font().getlength(longer) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            line = word
            while _font().getlength(line) > width:
                fits = max(1, max(n for n in range(len(line)) if _font().getlength(line[:n]) <= width))
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line)
    return lines


@cache
def _font() -> ImageFont.FreeTypeFont:
    # matplotlib ships this font: text looks the same on machines without fonts, and the font has both marks.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), FONT_SIZE)
