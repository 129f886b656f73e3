"""Contact sheets: clips as strips of frames with what was asked, answered and true below them, in one picture."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Tone = Literal["plain", "muted", "right", "wrong"]

# Right and wrong differ by their mark too, for readers who do not tell green from red.
TONES: dict[Tone, tuple[str, str]] = {
    "plain": ("#1b1f24", ""),
    "muted": ("#6a737d", ""),
    "right": ("#137333", "✓ "),
    "wrong": ("#c5221f", "✗ "),
}
BACKGROUND = "#ffffff"
CARD = "#f4f5f7"
FONT_SIZE = 17
LINE_HEIGHT = 24
STRIP_WIDTH = 900
LEAST_WIDTH = 360
GAP = 4
PAD = 14


class Text(NamedTuple):
    """A line of text with its colour; a plain str is a line in the "plain" tone."""

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

    frames: per clip uint8 (K, 3, H, W) in 0..255, or several of one clip by their names, to stand one below the other;
    K, H and W may differ between clips. lines: per clip the lines below its frames, wrapped to the width. scale: factor
    on the frames (enlarged with hard pixels, reduced smoothly). Long strips go on in a new line of frames.
    """
    if len(frames) != len(lines) or not frames:
        raise ValueError(f"one list of lines a clip, and a clip at least: {len(frames)} clips, {len(lines)} lists")
    strips = [_named(clip, scale) if isinstance(clip, Mapping) else _strip(clip, scale) for clip in frames]
    width = max(LEAST_WIDTH, *(strip.width for strip in strips))
    cards = [_card(strip, texts, width) for strip, texts in zip(strips, lines, strict=True)]
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(card.height for card in row) for row in rows]
    cell = width + 2 * PAD
    across = min(columns, len(cards))
    sheet = Image.new("RGB", (across * cell + (across + 1) * PAD, sum(heights) + (len(rows) + 1) * PAD), BACKGROUND)
    top = PAD
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            _place(sheet, card, left=PAD + column * (cell + PAD), top=top, width=cell, height=height)
        top += height + PAD
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _named(clips: Mapping[str, Tensor], scale: float) -> Image.Image:
    """Strips one below the other, each after its name."""
    strips = {name: _strip(clip, scale) for name, clip in clips.items()}
    left = PAD + round(max(_font().getlength(name) for name in strips))
    width, height = max(strip.width for strip in strips.values()), sum(strip.height + GAP for strip in strips.values())
    picture = Image.new("RGB", (left + width, height - GAP), CARD)
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
    strip = Image.new("RGB", (across * (size[0] + GAP) - GAP, down * (size[1] + GAP) - GAP), CARD)
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
    draw.rounded_rectangle((left, top, left + width, top + height), radius=8, fill=CARD)
    sheet.paste(card.strip, (left + PAD, top + PAD))
    y = top + PAD + card.strip.height + PAD // 2
    for line in card.lines:
        draw.text((left + PAD, y), line.text, font=_font(), fill=TONES[line.tone][0])
        y += LINE_HEIGHT


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken at spaces, and within a word that is wider than a line."""
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
    # matplotlib carries it, so text looks the same on machines without fonts, and it has the marks.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), FONT_SIZE)
