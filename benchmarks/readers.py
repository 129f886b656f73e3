"""Readers that decode the same frames of a file with one thread: vtok's and those it is compared with."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vtok.data import read_video
from vtok.data.video.common import cover
from vtok.data.video.container import open_container
from vtok.data.video.orientation import Orientation

# Takes a path, ascending frame numbers at equal distances from 0 on, the (height, width) of an upright frame, and the
# side in pixels of the squares to return. Returns the centre of each frame, uint8 (K, 3, size, size).
Reader = Callable[[Path, Sequence[int], tuple[int, int], int], Tensor]


def installed_readers() -> tuple[dict[str, Reader], dict[str, str]]:
    """The installed readers by name, vtok's first, and the reason why others are missing."""
    found: dict[str, Reader] = {"vtok": read_vtok, "naive": read_naive}
    missing: dict[str, str] = {}
    if shutil.which("ffmpeg"):
        found["ffmpeg"] = read_ffmpeg
    else:
        missing["ffmpeg"] = "the command was not found"
    for name, module, reader in (
        ("torchcodec", "torchcodec.decoders", read_torchcodec),
        ("decord", "decord", read_decord),
    ):
        try:
            import_module(module)
        # An installed library may lack FFmpeg's libraries; each raises an error of its own.
        except (ImportError, OSError, RuntimeError) as error:
            missing[name] = str(error).strip().split("\n")[0]
        else:
            found[name] = reader
    return found, missing


def read_vtok(path: Path, indices: Sequence[int], shape: tuple[int, int], size: int) -> Tensor:
    return read_video(path, indices=indices, size=size)[0]


def read_naive(path: Path, indices: Sequence[int], shape: tuple[int, int], size: int) -> Tensor:
    """PyAV as most people write it first: every frame is converted to RGB, the wanted ones are resized by PIL."""
    wanted, frames = set(indices), []
    box, _ = cover(*shape, size)
    corners = box.left, box.top, box.left + box.width, box.top + box.height
    with open_container(path) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        stream.thread_type = "NONE"
        for number, frame in enumerate(container.decode(stream)):
            picture = Orientation.of(frame).apply(frame.to_ndarray(format="rgb24"))
            if number in wanted:
                resized = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR, box=corners)
                frames.append(torch.from_numpy(np.array(resized)))
            if number == indices[-1]:
                break
    return torch.stack(frames).permute(0, 3, 1, 2).contiguous()


def read_torchcodec(path: Path, indices: Sequence[int], shape: tuple[int, int], size: int) -> Tensor:
    """torchcodec without a scan of the file; it crops and scales while it decodes."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import CenterCrop, Resize

    box, scaled = cover(*shape, size)
    transforms = [CenterCrop((box.height, box.width)), Resize(scaled)]
    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate", transforms=transforms)
    return decoder.get_frames_at(list(indices)).data


def read_decord(path: Path, indices: Sequence[int], shape: tuple[int, int], size: int) -> Tensor:
    """decord scales while it decodes; it cannot crop."""
    from decord import VideoReader

    height, width = (round(side * size / min(shape)) for side in shape)
    reader = VideoReader(str(path), width=width, height=height, num_threads=1)
    frames = torch.from_numpy(reader.get_batch(list(indices)).asnumpy())
    top, left = (height - size) // 2, (width - size) // 2
    return frames[:, top : top + size, left : left + size].permute(0, 3, 1, 2).contiguous()


def read_ffmpeg(path: Path, indices: Sequence[int], shape: tuple[int, int], size: int) -> Tensor:
    """The command ffmpeg, whose raw frames are read from a pipe."""
    stride = indices[1] - indices[0] if len(indices) > 1 else 1
    box, _ = cover(*shape, size)
    crop = f"crop={box.width}:{box.height}:{box.left}:{box.top}:exact=1"
    graph = rf"select=not(mod(n\,{stride})),{crop},scale={size}:{size}:flags=bilinear"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-filter_threads", "1", "-i", str(path)]
    output = ["-an", "-vf", graph, "-fps_mode", "passthrough", "-frames:v", str(len(indices))]
    raw = subprocess.run([*command, *output, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True)
    if raw.returncode:
        raise RuntimeError(raw.stderr.decode(errors="replace").strip())
    return torch.frombuffer(bytearray(raw.stdout), dtype=torch.uint8).view(-1, size, size, 3).permute(0, 3, 1, 2)
