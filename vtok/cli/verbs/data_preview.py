"""vtok data preview: a contact sheet of a data set, as the tokeniser is given it, training clips augmented."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vtok.common.contact_sheet import Text, contact_sheet
from vtok.common.errors import UserError
from vtok.common.files import check_writable, whole
from vtok.common.hashing import stable_hash
from vtok.common.setting_types import Count
from vtok.config import check, compose
from vtok.config.nodes import planner_of
from vtok.data import BadVideoError, DataSource, SampleKey
from vtok.feature_cache import without_cache
from vtok.model.build import build

SIDE = 96  # pixels of a frame, about
LONGEST = 300  # characters of a caption


def data_preview(
    *,
    out: str = "preview.png",
    clips: Count = 12,
    split: Literal["train", "heldout"] = "train",
    overrides: Sequence[str] = (),
) -> str:
    """A contact sheet of clips with their captions, as the tokeniser is given them.

    Takes train's overrides.

    Args:
        out: output file.
        clips: number of clips; the same seed shows the same ones.
        split: split that the clips are from.
        overrides: of the configuration.

    Raises:
        UserError: the configuration does not fit, or there is no clip.
    """
    check_writable(Path(out), suffix=".png")
    config = compose(overrides)
    check(config)
    # A feature cache holds no pictures.
    without_cache(config)
    planner = planner_of(config)
    if planner is None:
        raise UserError("tokeniser: this one says no plan before it is built, so that there is nothing to preview.")
    source: DataSource = build(config.data)
    source.prepare()
    found = source.clips(split)
    if not found:
        raise UserError(f"split={split}: the data set has no such clip.")
    order = sorted(range(len(found)), key=lambda index: stable_hash("preview", config.seed, index))[:clips]
    reader, frames = source.reader(planner, seed=config.seed if split == "train" else None), []
    lines: list[list[str | Text]] = []
    for index in sorted(order):
        clip = found[index]
        try:
            sample = reader.read(clip, SampleKey(0, index))
        except BadVideoError as error:
            raise UserError(f"{error} Mend it or leave it out; vtok data check lists all that are broken.") from error
        assert sample.frames is not None
        frames.append(sample.frames)
        asked = [f"{question.text} {question.answer}" for question in clip.questions[:3]]
        lines.append([Text(clip.id, "muted"), (clip.caption or "(no caption)")[:LONGEST], *asked])
    size = source.clip.size
    scale = max(1, SIDE // size) if size <= SIDE else SIDE / size
    with whole(Path(out)) as partial:
        contact_sheet(frames, lines, partial, scale=scale)
    return out
