"""vtok data flow: writes statistics of the optical flow of a folder's videos."""

import os
from importlib.util import find_spec
from typing import get_args

from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.files import check_writable
from vtok.common.overrides import command, override
from vtok.common.paths import user_path
from vtok.common.setting_types import Count, Positive
from vtok.data import ClipSettings, FolderData
from vtok.data.broken_clips import list_bad
from vtok.data.flow import FLOW_FILE, write_flow
from vtok.data.sources.base import Split


def data_flow(
    *,
    root: str,
    out: str | None = None,
    manifest: str | None = None,
    step: Count = 4,
    width: Count = 160,
    frames_fps: Positive = 24.0,
    processes: Count | None = None,
) -> str:
    """Write statistics of the optical flow of a folder's videos, for the directions of data=twins.

    For each video, between every `step`-th frame: the mean flow of what moves, and its share of the picture (OpenCV's
    DIS). The same command resumes after an interruption, and adds new videos later. Needs vtok[flow].

    Args:
        root: folder of clips, as in data=folder.
        out: JSON file for the statistics; null: flow.json in the root.
        manifest: manifest of the folder, as in data=folder.
        step: frames of a video between two that are compared.
        width: width in pixels of the pictures that are compared.
        frames_fps: frames a second of clips that are folders of images.
        processes: number of processes that decode; null: one for each core.

    Raises:
        UserError: if OpenCV is not installed, there are no clips, no video can be read, or the file cannot be written.
    """
    if find_spec("cv2") is None:
        raise UserError("vtok data flow: OpenCV is not installed. Install it with pip install 'vtok[flow]'.")
    file = user_path(root) / FLOW_FILE if out is None else user_path(out)
    clip = ClipSettings(size=width)
    source = FolderData(root=root, manifest=manifest, clip=clip, frames_fps=frames_fps, needs_text=False)
    source.prepare()
    check_writable(file, suffix=".json")
    paths = list(dict.fromkeys(clip.path for split in get_args(Split) for clip in source.all_clips(split)))
    each = write_flow(
        paths, file, step=step, width=width, frames_fps=frames_fps, processes=processes or os.cpu_count() or 1
    )
    bad = {
        str(path): reason
        for path, reason in tqdm(each, total=len(paths), desc="optical flow", unit="video", leave=False, disable=None)
        if reason is not None
    }
    if len(bad) == len(paths):
        raise UserError(f"root={root}: none of the {len(paths)} videos can be read. Repair them.\n{list_bad(bad)}")
    lines = [f"the flow of {len(paths) - len(bad)} videos is in {file}"]
    if bad:
        lines.append(f"{len(bad)} videos cannot be read:\n{list_bad(bad)}")
    places = [override("data.source.root", root), override("data.flow", str(file))]
    return "\n".join([*lines, command("vtok", "data", "check", "data=twins", *places)])
