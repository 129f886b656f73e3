"""Opens video files safely: only containers that hold the video themselves."""

from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vtok.data.video.common import BadVideoError
from vtok.data.video.image_folder import NamedBytes

# FFmpeg detects the format from the content: a playlist, an SDP or a concat script would open other files and URLs.
# These containers refer to no other file (ffmpeg -formats).
FORMATS = (
    *("asf", "avi", "dv", "flv", "gif", "mov", "matroska", "mpeg", "mpegts", "mxf", "nut", "ogg", "rm", "wtv"),
    *("apng", "h263", "h264", "hevc", "ivf", "m4v", "mjpeg", "mpegvideo", "obu", "vc1", "yuv4mpegpipe"),
)
# Suffixes of such containers, which are looked for in folders and shards.
VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".wmv"),
    *(".asf", ".flv", ".f4v", ".3gp", ".ogv", ".gif"),
)
# Their timestamps start anywhere; seconds in the file are counted from the first one.
ANY_CLOCK = frozenset({"mpeg", "mpegts"})


def open_container(path: Path, *, content: bytes | None = None, timeout: float | None = None) -> InputContainer:
    """Open the container at `path`, or in the bytes `content`; then `path` is only its name.

    No other file, URL or device is opened, whatever the name and the content are.

    Raises:
        BadVideoError: the content is not a video container of `FORMATS`.
        av.FFmpegError, OSError: the file cannot be opened.
    """
    # Without the prefix, FFmpeg would read a name with a colon as a protocol. Bytes need no protocol.
    file, protocol = (f"file:{path}", "file") if content is None else (NamedBytes(content, name=path.name), "none")
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": protocol}
    try:
        # The timeout restarts with every packet: it is for files in which FFmpeg searches forever for the next one.
        return av.open(file, "r", options=options, metadata_errors="replace", timeout=timeout)
    except av.error.ArgumentError as error:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise BadVideoError(path, f"its content is not in a video format that VTok reads (of {kinds} files)") from error


def clock_start(container: InputContainer) -> float:
    """The first timestamp in seconds of a container whose timestamps start anywhere (MPEG streams); else 0."""
    if container.format.name not in ANY_CLOCK:
        return 0.0
    streams = [*container.streams.video, *container.streams.audio]
    known = [(stream.start_time, stream.time_base) for stream in streams]
    return min((float(start * tick) for start, tick in known if start is not None and tick), default=0.0)


def may_reorder(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the decoder may return frames in another order than that of its packets.

    FFmpeg estimates this from the stream's header and the first frames. AVI stores no presentation times, so a wrong
    estimate would give a wrong order; for AVI the answer is whether the codec allows reordering.
    """
    context = stream.codec_context
    return bool(context.has_b_frames) or (container.format.name == "avi" and context.codec.reorder)
