"""Reads frames of a video file with PyAV, and decodes as few others as possible."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
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

from vtok.data.video.common import BadVideoError, Deadline, Size, check_indices
from vtok.data.video.container import clock_start, may_reorder, open_container
from vtok.data.video.frame_order import PacketTimes, decode_ranges, missing_seconds
from vtok.data.video.packet_range import Part, PartTracker, seek_position, seekable_part
from vtok.data.video.scale import Scaler

# Compressed bytes of a file kept in memory; a longer file is read twice.
HELD_BYTES = 128 * 2**20


class VideoFile:
    """The best video stream of a file, upright by its display matrix.

    Open and close it in the process that reads. Opening reads the packets without decoding them: their timestamps give
    the presentation order. Reading decodes only the groups of pictures with wanted frames, and skips unwanted frames
    that no other frame refers to. If the packets do not give the order, all frames are decoded, in the decoder's order.
    A damaged frame that a wanted one depends on makes the file a broken one.

    If a `part` of a long file is wanted, only the packets from the key frame before it to its end are read, and frames
    are numbered from there.

    Args:
        path: the file.
        content: bytes of the file; then `path` is only its name.
        timeout: seconds from now after which reading fails; None: no limit.
        part: part of the file that is needed; None: the entire file.

    Attributes:
        timestamps: float64 (frames,), seconds in the file, ascending; with `part`, at least those of the part. They are
            the container's own, counted from the first one if they start anywhere (MPEG-TS and -PS).
        missing: seconds of video that the header declares but the file does not hold; above 0 the file is truncated. 0
            if the file was not read to its end.

    Raises:
        BadVideoError: the file cannot be read, or reading takes too long.
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
        """Close the file and its decoders."""
        while self._opened:
            self._opened.pop().close()

    def read(self, indices: Sequence[int], size: Size = None) -> Tensor:
        """The frames with these numbers, in this order: uint8 (len(indices), 3, H, W).

        Raises:
            BadVideoError: a wanted frame is damaged, missing or cannot be decoded, or reading takes too long.
            UserError: a number is out of range.
        """
        check_indices(self.path, indices, len(self.timestamps), truncated=self.missing > 0)
        # Decode everything if groups alone give damaged frames, as when "key" frames depend on others (intra refresh).
        for decode in (self._decode_groups, self._decode_all) if self._numbers else (self._decode_all,):
            places: dict[int, list[int]] = {}
            for place, index in enumerate(indices):
                places.setdefault(index, []).append(place)
            frames: Tensor | None = None
            with self._failures(), suppress(_GroupsFailed):
                for index, frame in decode(set(places)):
                    # A damaged file may give a frame twice.
                    if index not in places:
                        continue
                    if frames is None:
                        size = self._scaler.shape(frame, size)
                        frames = torch.empty((len(indices), 3, *size), dtype=torch.uint8)
                    first, *repeats = places.pop(index)
                    self._scaler.scale(frame, size, frames[first].numpy())
                    for place in repeats:
                        frames[place] = frames[first]
                if frames is not None and not places:
                    return frames
        raise BadVideoError(self.path, f"frame {min(places)} of {len(self.timestamps)} cannot be decoded")

    def reference_frames(self, first: int, last: int) -> Iterator[tuple[int, VideoFrame]]:
        """I- and P-frames with motion vectors, by number, from a key frame at or before `first` to `last` or beyond.

        Raises:
            BadVideoError: a frame cannot be decoded, or reading takes too long.
        """
        with self._failures():
            container, stream = self._open()
            decoder = stream.codec_context
            decoder.flags2 |= Flags2.export_mvs
            begin = 0
            if self._numbers:
                wanted = {pts for pts, number in self._numbers.items() if first <= number <= last}
                begin = decode_ranges(self._pts, self._starts, wanted)[0][0]
                decoder.skip_frame = "NONREF"
            packets = self._demux(container, stream) if self._packets is None else self._packets
            for count, frame in enumerate(self._decode(islice(packets, begin, None), stream)):
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
        container = open_container(self.path, content=self._content, timeout=self._deadline.seconds)
        self._opened.append(container)
        stream = container.streams.best("video")
        # FFmpeg reports album art as a video stream.
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            raise BadVideoError(self.path, "it has no video stream")
        # Contrary to PyAV's types it is None if this FFmpeg has no decoder for the stream.
        if stream.codec_context is None:  # type: ignore[unreachable, unused-ignore]
            raise BadVideoError(self.path, "there is no decoder for its video stream")
        # More threads cost more CPU time in total, and hide the errors of damaged files.
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        return container, stream

    def _index(self) -> None:
        container, self._stream = self._open()
        part = seekable_part(self._part, container, self._stream)
        enough = None if part is None else PartTracker(part)
        self._origin = None if part is None else seek_position(container, self._stream, part.start)
        if part is not None and self._origin is None:
            container, self._stream = self._open()
        tick = float(self._stream.time_base or 1)
        self._packets: list[Packet] | None = []
        packets = PacketTimes(self.codec)
        ends: dict[int, int] = {}
        held, is_read_to_end = 0, True
        # If the header has no duration per stream, its duration is that of the longest stream: read them all.
        for packet in self._demux(container, self._stream, others=not self._stream.duration):
            self._deadline.check()
            if packet.pts is not None:
                end = packet.pts + (packet.duration or 0)
                ends[packet.stream_index] = max(ends.get(packet.stream_index, end), end)
            if packet.stream_index != self._stream.index:
                continue
            packets.add(packet)
            held += packet.size
            if held > HELD_BYTES:
                self._packets = None
            if self._packets is not None:
                self._packets.append(packet)
            if enough and packets.shown[-1] and packet.pts is not None and enough.add(packet.pts * tick):
                is_read_to_end = False
                break
        clock = clock_start(container)
        self.missing = missing_seconds(container, self._stream, ends, clock) if is_read_to_end else 0.0
        self._numbers = packets.numbers()
        frames: list[int | None] = []
        if not self._numbers or packets.is_doubtful(may_reorder=may_reorder(container, self._stream)):
            frames = self._scan(len(packets.pts))
            if frames != list(self._numbers):
                self._numbers = {}
        if part is not None and not self._numbers:
            self._part = None
            self.close()
            return self._index()
        if self._numbers:
            self._pts = [pts for pts in packets.pts if pts is not None]
            self._starts = [number for number, key in enumerate(packets.keys) if key]
            times = np.array(list(self._numbers), dtype=np.float64) * tick
        else:
            times = packets.times_of(frames, tick=tick, rate=float(self._stream.average_rate or 24))
        self.timestamps = times - clock
        if not len(self.timestamps):
            raise BadVideoError(self.path, "its video stream holds no frame")

    def _demux(self, container: InputContainer, stream: VideoStream, *, others: bool = False) -> Iterator[Packet]:
        """The packets of the part or the file; with `others`, those of all streams."""
        if self._origin is not None:
            container.seek(self._origin, stream=stream)
        first: int | None = None
        for packet in container.demux() if others else container.demux(stream):
            if packet.size == 0:
                continue
            if self._origin is not None and packet.stream_index == stream.index and packet.pts is not None:
                first = packet.pts if first is None else first
                # A frame shown before the first key frame refers to frames before the part.
                if packet.pts < first:
                    continue
            yield packet

    def _scan(self, count: int) -> list[int | None]:
        """The timestamps of the frames in the first `count` packets of the part or file, in the decoder's order."""
        container, stream = self._open()
        packets = islice(self._demux(container, stream), count)
        return [frame.pts for frame in self._decode(packets, stream)]

    def _decode(self, packets: Iterable[Packet], stream: VideoStream) -> Iterator[VideoFrame]:
        for packet in chain(packets, [None]):
            self._deadline.check()
            yield from stream.codec_context.decode(packet)

    def _decode_all(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        container, stream = self._open()
        left, has_begun = set(wanted), False
        packets = (packet for packet in container.demux(stream) if packet.size)
        for count, frame in enumerate(self._decode(packets, stream)):
            index = self._numbers.get(frame.pts) if self._numbers else count
            # A file may begin within a group; frames before its first key frame cannot be decoded.
            has_begun = has_begun or frame.key_frame
            if frame.is_corrupt and (has_begun or index in wanted):
                raise BadVideoError(self.path, f"frame {count} is damaged")
            if index in wanted:
                left.discard(index)
                yield index, frame
            # A B-frame may refer to a frame that is shown after it.
            if not left and frame.pict_type != PictureType.B:
                return

    def _decode_groups(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        pts_wanted = {pts for pts, index in self._numbers.items() if index in wanted}
        ranges = decode_ranges(self._pts, self._starts, pts_wanted)
        decoder = self._stream.codec_context
        decoder.open(strict=False)
        decoder.flush_buffers()
        latest: int | None = None
        for number, packet in enumerate(self._demux(*self._open()) if self._packets is None else self._packets):
            self._deadline.check()
            first, last = ranges[0]
            if number < first:
                continue
            decoder.skip_frame = "DEFAULT" if self._pts[number] in pts_wanted else "NONREF"
            frames = decoder.decode(packet)
            if number == last:
                frames = frames + decoder.decode(None)
                decoder.flush_buffers()
                ranges.pop(0)
            for frame in frames:
                # In an open group, frames shown before the key frame need the previous group.
                if frame.pts is None or frame.pts < self._pts[first]:
                    continue
                if latest is not None and frame.pts <= latest:
                    if self._origin is not None:
                        raise BadVideoError(self.path, "its timestamps contradict the order of its frames")
                    self._numbers = {}
                    raise _GroupsFailed
                if frame.is_corrupt:
                    raise _GroupsFailed
                latest = frame.pts
                if frame.pts in pts_wanted:
                    yield self._numbers[frame.pts], frame
            if not ranges:
                return


class _GroupsFailed(Exception):
    """Decoding groups of pictures did not give the wanted frames undamaged and in order."""
