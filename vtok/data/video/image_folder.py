"""Reads folders of JPEG and PNG frames, on disk or in a tar archive."""

import struct
import tarfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from vtok.common.paths import natural_key
from vtok.data.tar_members import tar_members
from vtok.data.video.common import BadVideoError, Deadline, Size, check_indices, cover

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# Accepted contents, whatever the file's name: Pillow would run Ghostscript to read an EPS file.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")
# Errors of Pillow on damaged files.
IMAGE_ERRORS = (
    *(OSError, SyntaxError, ValueError, OverflowError, EOFError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
# Transposition that makes an image upright, by EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height


class NamedBytes(BytesIO):
    """Bytes as a file with a name; FFmpeg uses its suffix if the content does not identify the format."""

    def __init__(self, content: bytes, *, name: str) -> None:
        super().__init__(content)
        self.name = name


def image_files(folder: Path) -> list[Path]:
    """The JPEG and PNG files in `folder`, in natural order: frame_2 before frame_10."""
    found = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
    return sorted(found, key=lambda file: natural_key(file.name))


def images_in(path: Path, archive: bytes) -> list[NamedBytes]:
    """The JPEG and PNG files in a tar archive, in natural order.

    Args:
        path: name of the archive, for the message.
        archive: bytes of the archive.

    Raises:
        BadVideoError: the bytes are not a tar archive, or it is damaged.
    """
    try:
        found = {
            member.name: archive[member.offset_data : member.offset_data + member.size]
            for member in tar_members(BytesIO(archive))
            if member.isreg() and not member.issparse() and member.name.lower().endswith(IMAGE_SUFFIXES)
        }
    except tarfile.TarError as error:
        raise BadVideoError(path, f"its frames cannot be read from the shard ({error})") from error
    return [NamedBytes(found[name], name=name) for name in sorted(found, key=natural_key)]


class FrameFolder:
    """A folder of JPEG or PNG frames, in natural order of their names.

    Args:
        path: the folder.
        fps: frames a second.
        timeout: seconds from now after which reading fails; None: no limit.
        files: frames in order if they are not files in a folder; then `path` is only a name.

    Attributes:
        timestamps: float64 (frames,), frame number / fps, in seconds.
        missing: 0, because a folder does not declare its number of frames.
    """

    codec = "images"

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float,
        timeout: float | None = None,
        files: Sequence[NamedBytes] | None = None,
    ) -> None:
        self.path = Path(path)
        self._deadline = Deadline(self.path, timeout)
        self.missing = 0.0
        try:
            self._files: Sequence[Path | NamedBytes] = image_files(self.path) if files is None else files
        except OSError as error:
            raise BadVideoError(self.path, f"the folder cannot be read ({error.strerror or error})") from error
        if not self._files:
            raise BadVideoError(self.path, f"the folder holds no frames ({', '.join(IMAGE_SUFFIXES)})")
        self.timestamps = np.arange(len(self._files)) / fps

    def read(self, indices: Sequence[int], size: Size = None) -> Tensor:
        """The frames with these numbers, in this order: uint8 (len(indices), 3, H, W).

        With `size=None` all have the size of the first one.

        Raises:
            BadVideoError: an image cannot be read, or the deadline has passed.
            UserError: a number is out of range.
        """
        check_indices(self.path, indices, len(self._files), truncated=False)
        read: dict[int, Tensor] = {}
        for index in indices:
            if index not in read:
                self._deadline.check()
                read[index] = torch.from_numpy(self._picture(self._files[index], size)).permute(2, 0, 1)
                size = (read[index].shape[1], read[index].shape[2])
        return torch.stack([read[index] for index in indices])

    def _picture(self, file: Path | NamedBytes, size: Size) -> np.ndarray:
        try:
            with Image.open(file, formats=IMAGE_FORMATS) as image:
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                turn, is_sideways = UPRIGHT.get(orientation), orientation in SIDEWAYS
                height, width = (image.width, image.height) if is_sideways else (image.height, image.width)
                box, (to_height, to_width) = cover(height, width, size)
                # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size. From three times the wanted size up, the result
                # is within 1 grey level of scaling the full image; below, within 3.
                least = 3 * width * to_width // box.width, 3 * height * to_height // box.height
                image.draft("RGB", least[::-1] if is_sideways else least)
                rgb = as_rgb(image) if turn is None else as_rgb(image).transpose(turn)
                across, down = rgb.width / width, rgb.height / height
                edges = (
                    box.left * across,
                    box.top * down,
                    (box.left + box.width) * across,
                    (box.top + box.height) * down,
                )
                return np.array(rgb.resize((to_width, to_height), Image.Resampling.BILINEAR, box=edges))
        except IMAGE_ERRORS as error:
            raise BadVideoError(self.path, f"frame {file.name} cannot be read ({error})") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """An image in 8-bit RGB. 16-bit grey is scaled from 0..65535; Pillow alone would clip it at 255."""
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
