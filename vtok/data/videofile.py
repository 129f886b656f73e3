"""Frames out of a video file with PyAV, decoding no more than is asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice, pairwise
from pathlib import Path

import av
import numpy as np
import torch
from av.codec.context import Flags2
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from vtok.data.frames import BadVideoError, Deadline, NamedBytes, Size, check_indices
from vtok.data.part import SEEKABLE, SLACK, Enough, Part
from vtok.data.presentation import is_hidden, missing, presentation, stretches
from vtok.data.scaler import Scaler

# Compressed bytes of one file kept in memory; a longer file is read a second time instead.
HELD_BYTES = 128 * 2**20
# How far a key frame that is decoded in time may still be shown too late, in seconds.
STEPS_BACK = (0.0, 1.0, 4.0, 16.0)


class VideoFile:
    """The best video stream of a file, its rotation tag applied. Open it in the process that reads, and close it there.

    Opening reads the packets without decoding them: their timestamps give the presentation order. Reading decodes only
    the groups of pictures that hold wanted frames, and in those skips unwanted frames that nothing refers to. Where the
    packets do not tell the order, everything is decoded. Of a long file of which a `part` is wanted, the packets from
    the key frame before it to its end are read and no others; frames are then counted from there.

    Args:
        path: the file.
        content: the file's bytes where they do not lie at `path`, which then only names them.
        timeout: seconds from now on after which reading is given up; None is never.
        part: what of the file is wanted; None is all of it.

    Attributes:
        timestamps: seconds in the file, float64 (frames,), ascending; where a part is wanted, at least of that.
        missing: seconds of video that the header promises and the file does not hold; above 0 the file is truncated.
            0 where the file was not read to its end.

    Raises:
        BadVideoError: the file cannot be read, or not in time.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        content: bytes | None = None,
        timeout: float | None = None,
        part: Part | None = None,
    ) -> None:
        self.path = Path(path)
        self._part = part
        self._content = content
        self._deadline = Deadline(self.path, timeout)
        self.missing = 0.0
        self._scaler = Scaler()
        self._opened: list[InputContainer] = []
        try:
            with self._failures():
                if (self.path.stat().st_size if content is None else len(content)) == 0:
                    raise BadVideoError(self.path, "the file is empty (0 bytes)")
                self._index()
        except BaseException:
            self.close()
            raise

    @property
    def codec(self) -> str:
        """FFmpeg's name of the stream's codec."""
        return self._stream.codec_context.codec.canonical_name

    def close(self) -> None:
        """Give back the file and its decoders."""
        while self._opened:
            self._opened.pop().close()

    def read(self, indices: Sequence[int], size: Size = None) -> Tensor:
        """The frames of these numbers in this order, uint8 (len(indices), 3, H, W).

        Raises:
            BadVideoError: a wanted frame cannot be decoded, or not in time, or was cut off with the end of the file.
            UserError: a number outside of the video.
        """
        check_indices(self.path, indices, len(self.timestamps), truncated=self.missing > 0)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        frames: Tensor | None = None
        # Decoding everything is for frames that groups do not bring, as where a "key" frame is none (intra refresh).
        for decode in (self._decode_groups, self._decode_all) if self._numbers else (self._decode_all,):
            with self._failures():
                for index, frame in decode(set(places)):
                    if frames is None:
                        size = self._scaler.shape(frame, size)
                        frames = torch.empty((len(indices), 3, *size), dtype=torch.uint8)
                    first, *repeats = places.pop(index)
                    self._scaler.scale(frame, size, frames[first].numpy())
                    for place in repeats:
                        frames[place] = frames[first]
                    if not places:
                        return frames
        raise BadVideoError(self.path, f"frame {min(places)} of {len(self.timestamps)} cannot be decoded")

    def anchors(self, first: int, last: int) -> Iterator[tuple[int, VideoFrame]]:
        """I- and P-frames by number, with motion vectors, from a key frame at or before `first` on until beyond `last`.

        Raises:
            BadVideoError: one cannot be decoded, or not in time.
        """
        with self._failures():
            container, stream = self._open()
            decoder = stream.codec_context
            decoder.flags2 |= Flags2.export_mvs
            begin = 0
            if self._numbers:
                wanted = {pts for pts, number in self._numbers.items() if first <= number <= last}
                begin = stretches(self._pts, self._starts, wanted)[0][0]
                decoder.skip_frame = "NONREF"
            packets = self._demux(container, stream) if self._packets is None else self._packets
            sent = chain(islice(packets, begin, None), [None])
            for count, frame in enumerate(frame for packet in sent for frame in decoder.decode(packet)):
                self._deadline.check()
                number = self._numbers.get(frame.pts) if self._numbers else count
                if number is not None and frame.pict_type in (PictureType.I, PictureType.P):
                    yield number, frame
                    if number >= last:
                        return

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise BadVideoError(self.path, "there is no such file or folder") from None
        except av.error.ExitError:
            raise self._deadline.error() from None
        except (av.FFmpegError, OSError) as error:
            raise BadVideoError(self.path, f"it cannot be decoded ({error.strerror or error})") from error

    def _open(self) -> tuple[InputContainer, VideoStream]:
        file = str(self.path) if self._content is None else NamedBytes(self._content, name=self.path.name)
        # Its own clock begins anew with every packet: it is for files that are searched without end for the next one.
        container = av.open(file, "r", metadata_errors="replace", timeout=self._deadline.seconds)
        self._opened.append(container)
        # FFmpeg takes any text for a teletype's screen, and the cover of an album for a video.
        if container.format.name == "tty":
            raise BadVideoError(self.path, "it is text, not a video")
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            raise BadVideoError(self.path, "it holds no video stream")
        # Not what PyAV's types say: there is none where no decoder of this FFmpeg fits.
        if stream.codec_context is None:  # type: ignore[unreachable, unused-ignore]
            raise BadVideoError(self.path, "there is no decoder for its video stream")
        # More threads cost more in all and hide the errors of damaged files.
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        return container, stream

    def _index(self) -> None:
        container, self._stream = self._open()
        part = self._part_worth_it(container)
        enough = None if part is None else Enough(part)
        self._origin = None if part is None else self._before(container, part.start)
        if part is not None and self._origin is None:
            container, self._stream = self._open()
        tick = float(self._stream.time_base or 1)
        self._packets: list[Packet] | None = []
        times: list[int | None] = []
        keys: list[bool] = []
        shown: list[bool] = []
        ends: dict[int, int] = {}
        held, is_vp8, is_read_whole = 0, self._stream.codec_context.name == "vp8", True
        # A header without the duration of each stream gives that of the longest, whichever it is.
        for packet in self._demux(container, self._stream, others=not self._stream.duration):
            self._deadline.check()
            if packet.pts is not None:
                ends[packet.stream_index] = max(ends.get(packet.stream_index, 0), packet.pts + (packet.duration or 0))
            if packet.stream_index != self._stream.index:
                continue
            times.append(packet.pts)
            keys.append(packet.is_keyframe)
            shown.append(not packet.is_discard and not (is_vp8 and is_hidden(packet)))
            held += packet.size
            if held > HELD_BYTES:
                self._packets = None
            if self._packets is not None:
                self._packets.append(packet)
            if enough and shown[-1] and packet.pts is not None and enough.add(packet.pts * tick):
                is_read_whole = False
                break
        self.missing = missing(container, self._stream, ends) if is_read_whole else 0.0
        self._numbers = presentation(times, keys, shown)
        if part is not None and not self._numbers:
            self._part = None
            self.close()
            self._index()
            return
        if self._numbers:
            self._pts = [pts for pts in times if pts is not None]
            self._starts = [number for number, key in enumerate(keys) if key]
            ticks = np.array(list(self._numbers), dtype=np.float64)
            self.timestamps = ticks * tick
        else:
            self.timestamps = self._scan()
        if not len(self.timestamps):
            raise BadVideoError(self.path, "its video stream holds no frame")

    def _part_worth_it(self, container: InputContainer) -> Part | None:
        """The part, where it is worth looking for and can be found exactly."""
        if self._part is None or not container.duration or SEEKABLE.isdisjoint(container.format.name.split(",")):
            return None
        duration, rate = container.duration / av.time_base, float(self._stream.average_rate or 24)
        return self._part if self._part.is_worth_it(duration, rate) else None

    def _before(self, container: InputContainer, start: float) -> int | None:
        """The time to seek to for a key frame that is shown at `start` seconds or before; None is the file's beginning.

        An index tells when frames are decoded, which may be earlier.
        """
        tick = float(self._stream.time_base or 1)
        latest, first = (start - SLACK) / tick, self._stream.start_time or 0
        for seconds in STEPS_BACK:
            origin = int(latest - seconds / tick)
            if origin <= first:
                return None
            try:
                container.seek(origin, stream=self._stream)
                packet = next(container.demux(self._stream))
            except av.FFmpegError:
                return None
            if packet.is_keyframe and packet.pts is not None and packet.pts <= latest:
                return origin
        return None

    def _demux(self, container: InputContainer, stream: VideoStream, *, others: bool = False) -> Iterator[Packet]:
        """The packets of the part or the file, those of `others` among them or not."""
        if self._origin is not None:
            container.seek(self._origin, stream=stream)
        first: int | None = None
        for packet in container.demux() if others else container.demux(stream):
            if packet.size == 0:
                continue
            if self._origin is not None and packet.stream_index == stream.index and packet.pts is not None:
                first = packet.pts if first is None else first
                # It refers to frames before the first, a key frame.
                if packet.pts < first:
                    continue
            yield packet

    def _scan(self) -> np.ndarray:
        container, stream = self._open()
        times: list[int | None] = []
        for frame in container.decode(stream):
            self._deadline.check()
            times.append(frame.pts)
        known = [pts for pts in times if pts is not None]
        if len(known) == len(times) and all(before < after for before, after in pairwise(known)):
            return np.array(known, dtype=np.float64) * float(stream.time_base or 1)
        return np.arange(len(times)) / float(stream.average_rate or 24)

    def _decode_all(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        container, stream = self._open()
        for count, frame in enumerate(container.decode(stream)):
            self._deadline.check()
            index = self._numbers.get(frame.pts) if self._numbers else count
            if index in wanted:
                yield index, frame

    def _decode_groups(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        pts_wanted = {pts for pts, index in self._numbers.items() if index in wanted}
        runs = stretches(self._pts, self._starts, pts_wanted)
        decoder = self._stream.codec_context
        decoder.open(strict=False)
        decoder.flush_buffers()
        for number, packet in enumerate(self._demux(*self._open()) if self._packets is None else self._packets):
            self._deadline.check()
            first, last = runs[0]
            if number < first:
                continue
            decoder.skip_frame = "DEFAULT" if self._pts[number] in pts_wanted else "NONREF"
            frames = decoder.decode(packet)
            if number == last:
                frames = frames + decoder.decode(None)
                decoder.flush_buffers()
                runs.pop(0)
            for frame in frames:
                if frame.pts in pts_wanted:
                    yield self._numbers[frame.pts], frame
            if not runs:
                return
