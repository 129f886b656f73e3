from pathlib import Path

import pytest
import torch
from PIL import Image

from vtok.common.contact_sheet import FONT_SIZE, GAP, PAD, TONES, Text, contact_sheet, wrap
from vtok.common.style import LIGHT


def clip(count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def test_frames_are_shown_pixel_by_pixel(tmp_path: Path) -> None:
    frames = clip(2, 64, 64)
    contact_sheet([frames], [["a question"]], tmp_path / "sheet.png", scale=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        for x, y in [(0, 0), (63, 63), (10, 50)]:
            pixel = sheet.getpixel((2 * PAD + 3 * x + 1, 2 * PAD + 3 * y + 1))
            assert pixel == tuple(frames[0, :, y, x].tolist())


def test_strips_of_one_clip_stand_below_each_other(tmp_path: Path) -> None:
    upper, lower = clip(3, 32, 32), clip(2, 32, 32)
    contact_sheet([{"truth": upper, "generated": lower}], [["a caption"]], tmp_path / "sheet.png", scale=2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = sheet.convert("RGB").load()
        first = [upper[0, :, 5, y].tolist() for y in range(32)]
        # Where the strips begin: after the longer of the two names.
        left = next(
            x for x in range(sheet.width - 64) if [list(pixels[x + 2 * y, 2 * PAD + 10]) for y in range(32)] == first
        )
        assert left > 2 * PAD + 50
        assert pixels[left + 7, 2 * PAD + 64 + GAP + 9] == tuple(lower[0, :, 4, 3].tolist())
        # Something is written beside each.
        for top in (2 * PAD, 2 * PAD + 64 + GAP):
            shades = {pixels[x, y] for x in range(2 * PAD, left - PAD) for y in range(top, top + 64)}
            assert tuple(bytes.fromhex(TONES["muted"][0][1:])) in shades


def test_clips_of_all_sizes_in_one_sheet(tmp_path: Path) -> None:
    frames = [clip(6, 64, 64), clip(1, 90, 160), clip(40, 32, 32)]
    contact_sheet(frames, [["one"], [], ["two", "three"]], tmp_path / "new" / "sheet.png", columns=2)
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.width < 2 * 1000
        assert sheet.height > 3 * 64


def test_right_is_green_and_wrong_is_red(tmp_path: Path) -> None:
    contact_sheet([clip(1, 32, 32)], [[Text("yes", "right"), Text("no", "wrong")]], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(maxcolors=1 << 20)}
    for tone in ("right", "wrong"):
        assert tuple(bytes.fromhex(TONES[tone][0][1:])) in colours


def test_no_text_is_cut_off(tmp_path: Path) -> None:
    lines = ["a long question " * 20, "w" * 300, "last line, with descenders: gjpqy"]
    contact_sheet([clip(1, 32, 32)], [lines], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        card = tuple(bytes.fromhex(LIGHT.panel[1:]))
        inner = [sheet.getpixel((x, y)) for x in range(2 * PAD, sheet.width - 2 * PAD) for y in (sheet.height - 18,)]
        edge = [sheet.getpixel((sheet.width - PAD - 5, y)) for y in range(40, sheet.height - 40)]
    assert set(inner) == {card}
    assert set(edge) == {card}


def test_wrap_keeps_every_word_within_the_width() -> None:
    text = "one two three four five six seven " * 5 + "x" * 200
    lines = wrap(text, 200)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(len(line) * FONT_SIZE * 0.3 < 200 for line in lines)
    assert wrap("short\nlines", 200) == ["short", "lines"]
    assert wrap("", 200) == [""]


def test_lines_and_clips_must_match(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 lists"):
        contact_sheet([clip(1, 8, 8)], [[], []], tmp_path / "sheet.png")
