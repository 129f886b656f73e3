"""Crops, scales and rotates decoded frames, and converts them to RGB."""

import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vtok.data.video.common import Box, Size, cover
from vtok.data.video.orientation import Orientation

# Full chroma interpolation is within 0.45 grey levels of a float reference, swscale's default off by 0.75 to 1.2.
INTERPOLATION = int(Interpolation.BILINEAR) | int(Interpolation.FULL_CHR_H_INT)


class Scaler:
    """Crops frames and scales the crop, as defined by `cover`, with FFmpeg's swscale.

    Use one scaler for the frames of a file: frames with the same properties share swscale's tables.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._crop: _Crop | None = None

    def shape(self, frame: VideoFrame, size: Size) -> tuple[int, int]:
        """The (height, width) of the result of `scale`."""
        return cover(*Orientation.of(frame).shape(frame.height, frame.width), size)[1]

    def scale(self, frame: VideoFrame, size: Size, out: np.ndarray) -> None:
        """Write the upright frame to `out`, uint8 (3, *shape(frame, size))."""
        tag = Orientation.of(frame)
        box, shape = cover(*tag.shape(frame.height, frame.width), size)
        # A transposition is its own inverse.
        height, width = tag.shape(*shape)
        part = self._cropped(frame, tag.box_before(box, frame.height, frame.width))
        if (part.height, part.width) == (height, width):
            # Without scaling, swscale 9 omits the last columns of planes of some widths: convert to packed pixels.
            packed = self._reformat(part, height, width, "rgb24").to_ndarray()
            out[:] = tag.apply(packed).transpose(2, 0, 1)
            return
        # Planes cost a third of packed pixels, because swscale vectorises them, and a tensor holds planes.
        planes = self._reformat(part, height, width, "gbrp").planes
        for channel, plane in zip((1, 2, 0), planes, strict=True):
            pixels = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)[:, :width]
            out[channel] = tag.apply(pixels)

    def _reformat(self, frame: VideoFrame, height: int, width: int, pix_fmt: str) -> VideoFrame:
        # By default PyAV starts a thread per core, which costs more than scaling a small frame.
        return self._reformatter.reformat(frame, width, height, pix_fmt, interpolation=INTERPOLATION, threads=1)

    def _cropped(self, frame: VideoFrame, box: Box) -> VideoFrame:
        if (box.height, box.width) == (frame.height, frame.width):
            return frame
        if self._crop is None or not self._crop.fits(frame, box):
            self._crop = _Crop(frame, box)
        return self._crop(frame)


class _Crop:
    """FFmpeg's crop filter for frames with the properties of `frame`; it copies no pixels."""

    def __init__(self, frame: VideoFrame, box: Box) -> None:
        self._kind = _kind(frame, box)
        self._graph = Graph()
        self._graph.threads = 1
        self._source = self._graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
            time_base="1/1",
        )
        # Without exact=1 the filter silently rounds the position to the chroma grid.
        places = {"x": str(box.left), "y": str(box.top), "out_w": str(box.width), "out_h": str(box.height)}
        crop = self._graph.add("crop", exact="1", **places)
        self._sink: FilterContext = self._graph.add("buffersink")
        self._graph.link_nodes(self._source, crop, self._sink).configure()

    def fits(self, frame: VideoFrame, box: Box) -> bool:
        return self._kind == _kind(frame, box)

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        self._source.push(frame)
        cropped = self._sink.pull()
        assert isinstance(cropped, VideoFrame)
        return cropped


def _kind(frame: VideoFrame, box: Box) -> tuple[object, ...]:
    return frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, box
