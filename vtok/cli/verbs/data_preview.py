"""vtok data preview: a contact sheet of a data set's clips as the tokeniser sees them, training clips augmented."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vtok.common.contact_sheet import Text, contact_sheet
from vtok.common.errors import UserError
from vtok.common.files import atomic_file, check_writable
from vtok.common.hashing import stable_hash
from vtok.common.setting_types import Count
from vtok.config import check, compose
from vtok.config.nodes import planner_of
from vtok.data import BadVideoError, DataSource, SampleKey
from vtok.feature_cache import without_cache
from vtok.model.build import build

FRAME_SIDE = 96  # pixels of a frame, about
MAX_CAPTION = 300  # characters of a caption


def data_preview(
    *,
    out: str = "preview.png",
    clips: Count = 12,
    split: Literal["train", "validation", "test"] = "train",
    overrides: Sequence[str] = (),
) -> str:
    """Draw a contact sheet of clips with their captions, as the tokeniser sees them.

    Takes train's overrides.

    Args:
        out: output file.
        clips: number of clips; the same seed shows the same clips, and of twins the first ones.
        split: split of the clips.
        overrides: overrides of the configuration.

    Raises:
        UserError: if the configuration does not fit, or there is no clip.
    """
    check_writable(Path(out), suffix=".png")
    config = compose(overrides)
    check(config)
    # A feature cache holds no frames.
    without_cache(config)
    planner = planner_of(config)
    if planner is None:
        raise UserError(
            f"tokeniser={config.tokeniser._target_}: this class has no frame plan before it is built, and its frames "
            "cannot be previewed. Use another tokeniser."
        )
    source: DataSource = build(config.data)
    source.prepare()
    found = source.clips(split)
    if not found:
        raise UserError(f"split={split}: the data set has no clips in this split. Use another split.")
    order = list(range(len(found)))
    # Twins are shown side by side, in their own order.
    if not source.wraps_source:
        order.sort(key=lambda index: stable_hash("preview", config.seed, index))
    order = order[:clips]
    reader, frames = source.reader(planner, seed=config.seed if split == "train" else None), []
    lines: list[list[str | Text]] = []
    for index in sorted(order):
        clip = found[index]
        try:
            sample = reader.read(clip, SampleKey(0, index))
        except BadVideoError as error:
            raise UserError(f"{error} Repair or remove it, or list all broken clips with vtok data check.") from error
        assert sample.frames is not None
        frames.append(sample.frames)
        asked = [f"{question.text} {question.answer}" for question in clip.questions[:3]]
        lines.append([Text(clip.id, "muted"), (clip.caption or "(no caption)")[:MAX_CAPTION], *asked])
    size = source.clip.size
    scale = max(1, FRAME_SIDE // size) if size <= FRAME_SIDE else FRAME_SIDE / size
    with atomic_file(Path(out)) as partial:
        contact_sheet(frames, lines, partial, scale=scale)
    return out
