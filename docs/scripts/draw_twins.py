"""Draw docs/images/twins.png: a video as `data=twins` shows it, in all versions of every category.

The picture in the documentation shows flower.mp4 of https://github.com/mdn/interactive-examples (CC0):
`python docs/scripts/draw_twins.py video=flower.mp4` from the repository's root.
"""

import sys
from pathlib import Path

from PIL import Image

from vtok.cli.main import run_script
from vtok.common.contact_sheet import contact_sheet
from vtok.common.setting_types import NotNegative, Positive
from vtok.data import Clip, ClipSettings, FrameReader, SampleKey
from vtok.data.plan import StridePlanner
from vtok.data.sources.twins.language import WORDINGS
from vtok.data.sources.twins.versions import PLAIN, versions_of

IMAGES = Path(__file__).parents[1] / "images"


def draw_twins(
    *, video: str, out: str = str(IMAGES / "twins.png"), start: NotNegative = 0.0, fps: Positive = 6.0
) -> str:
    """Draw the planned frames of all versions of a video.

    Args:
        video: a video file.
        out: the PNG file.
        start: beginning of the clip in seconds.
        fps: frames a second of the clip.
    """
    reader = FrameReader(StridePlanner(5), ClipSettings(size=48, num_frames=30, fps=fps))
    pictures, lines = [], []
    for category in PLAIN:
        shown = {}
        for version in versions_of(category, window=0.6):
            in_reverse = version.playback.backwards and category != "arrow"
            name = f"{version.answer}, in reverse" if in_reverse else version.answer
            clip = Clip(name, Path(video), start=start, playback=version.playback)
            shown[name] = reader.read(clip, SampleKey(0, 0)).frames
        pictures.append(shown)
        lines.append([f"{category}: {WORDINGS[category][0].choice}"])
    contact_sheet(pictures, lines, Path(out), scale=1.0)
    with Image.open(out) as sheet:
        small = sheet.quantize(256)
    small.save(out, optimize=True)
    return out


if __name__ == "__main__":
    sys.exit(run_script(draw_twins))
