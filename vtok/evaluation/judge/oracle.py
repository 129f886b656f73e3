"""A judge for data=shapes that reads pixels with image processing, without a learned model."""

from collections.abc import Sequence

from torch import Tensor

from vtok.data import Clip
from vtok.data.sources.shapes.scene import COLOURS, COUNTS, DIRECTIONS, OBJECTS, SPEEDS
from vtok.evaluation.judge.base import Judge, Verdict
from vtok.evaluation.shapes_oracle import read_clip, truth_of
from vtok.model import VideoLanguageModel

CHOICES = {
    "shape": tuple(OBJECTS),
    "colour": tuple(COLOURS),
    "motion_direction": tuple(DIRECTIONS),
    "speed": tuple(SPEEDS),
    "count": tuple(COUNTS),
}


class OracleJudge(Judge):
    """Judges by `read_clip`; only for clips of data=shapes."""

    synthetic_only = True

    def truths(self, clip: Clip) -> dict[str, str]:
        return truth_of(clip)

    def __call__(
        self,
        model: VideoLanguageModel,
        videos: Tensor,
        clips: Sequence[Clip],
        *,
        num_frames: int,
        intervals: Sequence[float],
    ) -> list[dict[str, Verdict]]:
        verdicts = []
        for video, clip in zip(videos.cpu(), clips, strict=True):
            reading = read_clip(video)
            verdicts.append(
                {
                    category: Verdict(getattr(reading, category), truth, CHOICES[category])
                    for category, truth in truth_of(clip).items()
                }
            )
        return verdicts
