"""Checks that a tokeniser's frame plan shows the difference between twins."""

from dataclasses import replace

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.config.nodes import are_twins, planner_of
from vtok.data.sources.twins.versions import CATEGORIES, look_alike


def check_twins(config: DictConfig) -> None:
    """Refuse data=twins with a tokeniser to which twins with different answers look alike.

    A tokeniser that keeps one of several planned frames, such as key_frame, is at chance, and is not refused.

    Raises:
        UserError: the tokeniser reads motion vectors, or plans too few frames.
    """
    if not are_twins(config) or (planner := planner_of(config)) is None:
        return
    num_frames = int(config.clip.num_frames)
    if planner.plan(num_frames).vector_grid is not None:
        raise UserError(
            "tokeniser=codec_motion: the motion vectors in a file are those of the video as it was filmed, and "
            "data=twins plays it in other ways. Use another tokeniser."
        )
    read = planner.for_training()
    categories, window = config.data.categories or CATEGORIES, float(config.data.window)

    def alike(indices: list[int]) -> list[str]:
        return [one for one in categories if look_alike(one, indices, num_frames, window=window)]

    indices = read.indices(num_frames)
    if not (wrong := alike(indices)):
        return
    without = f"or data.categories without {', '.join(wrong)}"
    instead, key = f"a tokeniser that plans more frames, {without}", "data=twins"
    if "stride" in config.tokeniser:
        key = f"tokeniser.stride={config.tokeniser.stride}"
        smaller = range(int(config.tokeniser.stride) - 1, 0, -1)
        fitting = next((one for one in smaller if not alike(replace(read, stride=one).indices(num_frames))), None)
        instead = f"more clip.num_frames, {without}" if fitting is None else f"{fitting} or less, {without}"
    raise UserError(
        f"{key}: {len(indices)} planned frames are too few for twins, of which some with different answers look alike. "
        f"Use {instead}."
    )
