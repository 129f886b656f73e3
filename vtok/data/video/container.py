"""The one door through which video files are opened: containers that hold the video themselves, and nothing else."""

from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vtok.data.video.common import BadVideoError
from vtok.data.video.image_folder import NamedBytes

# FFmpeg opens by content: a playlist, an SDP or a concat script would open the addresses and files that it names.
# These are containers that name no other file (ffmpeg -formats).
FORMATS = (
    *("asf", "avi", "dv", "flv", "gif", "mov", "matroska", "mpeg", "mpegts", "mxf", "nut", "ogg", "rm", "wtv"),
    *("apng", "h263", "h264", "hevc", "ivf", "m4v", "mjpeg", "mpegvideo", "obu", "vc1", "yuv4mpegpipe"),
)
# Suffixes under which such containers are looked for in folders and shards.
VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".wmv"),
    *(".asf", ".flv", ".f4v", ".3gp", ".ogv", ".gif"),
)
# Their clocks start anywhere, so that seconds in the file count from its start.
ANY_CLOCK = frozenset({"mpeg", "mpegts"})


def open_container(path: Path, *, content: bytes | None = None, timeout: float | None = None) -> InputContainer:
    """The container at `path`, or in `content`, which `path` then only names.

    No other file, address or device is opened, whatever the name and the content are.

    Raises:
        BadVideoError: the content is not a video container of `FORMATS`.
        av.FFmpegError, OSError: it cannot be opened.
    """
    # The prefix keeps a name with a colon from being taken for a protocol. Bytes need no protocol at all.
    file, protocol = (f"file:{path}", "file") if content is None else (NamedBytes(content, name=path.name), "none")
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": protocol}
    try:
        # The timeout's clock begins anew with every packet: it is for files that are searched without end for the next.
        return av.open(file, "r", options=options, metadata_errors="replace", timeout=timeout)
    except av.error.ArgumentError as error:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise BadVideoError(path, f"its content is not in a video format that VTok reads (of {kinds} files)") from error


def clock_start(container: InputContainer) -> float:
    """Seconds that the container's clock shows at its start, where that says nothing (MPEG streams); else 0."""
    if container.format.name not in ANY_CLOCK:
        return 0.0
    streams = [*container.streams.video, *container.streams.audio]
    known = [(stream.start_time, stream.time_base) for stream in streams]
    return min((float(start * tick) for start, tick in known if start is not None and tick), default=0.0)


def may_reorder(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the decoder may return frames in another order than it takes them.

    FFmpeg finds that out from the stream's header and the first frames. In AVI, which stores no time of presentation,
    everything depends on it, so that there it is taken from what the codec allows.
    """
    context = stream.codec_context
    return bool(context.has_b_frames) or (container.format.name == "avi" and context.codec.reorder)
