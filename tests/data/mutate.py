"""Files broken at random, read in a process of its own: `python mutate.py SEED COUNT FOLDER FILE ...`.

Prints a line of json before each file that it reads and one after, so that what ends or hangs the process is known,
and at the end how memory and open files grew.
"""

import json
import os
import random
import resource
import sys
from pathlib import Path

from vtok.data import ClipSettings
from vtok.data.clip import Clip
from vtok.data.clip_reader import FrameReader
from vtok.data.dataset import ClipDataset
from vtok.data.plan import StridePlanner
from vtok.data.sampler import SampleKey
from vtok.data.video.common import BadVideoError
from vtok.data.video.image_folder import IMAGE_SUFFIXES

READER = FrameReader(StridePlanner(6), ClipSettings(size=48, decode_timeout=20.0))
WARM_UP = 0.25  # of the files: what is loaded once is no leak


def mutate(content: bytes, others: list[bytes], chooser: random.Random) -> bytes:
    """One to three of: cut at the end, flip bytes, cut a piece out, put a piece of another file in."""
    broken = bytearray(content)
    for _ in range(chooser.randint(1, 3)):
        at = chooser.randrange(len(broken) + 1)
        length = min(len(broken), 2 ** chooser.randint(0, 12))
        match chooser.choice(("truncate", "flip", "flip", "header", "remove", "splice")):
            case "truncate":
                del broken[at:]
            case "flip" if broken:
                for _ in range(chooser.choice((1, 10, 100))):
                    broken[chooser.randrange(len(broken))] = chooser.randrange(256)
            case "header" if broken:
                for _ in range(chooser.choice((1, 5))):
                    broken[chooser.randrange(min(len(broken), 1024))] = chooser.randrange(256)
            case "remove":
                del broken[at : at + length]
            case "splice":
                other = chooser.choice(others)
                begin = chooser.randrange(len(other))
                broken[at:at] = other[begin : begin + length]
    return bytes(broken)


def alone(path: Path) -> str | None:
    """Why the file is bad; None if its planned frames can be read."""
    try:
        sample = READER.read(Clip(path.name, path), SampleKey(0, 0))
    except BadVideoError as error:
        return error.reason
    assert sample.frames.shape[1:] == (3, 48, 48)
    assert len(sample.frames) == len(sample.timestamps) > 0
    return None


def usage() -> tuple[int, int]:
    """The highest memory so far in KiB, and how many files are open."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(os.listdir("/dev/fd"))


def main(seed: int, count: int, folder: Path, files: list[Path]) -> None:
    whole = [file.read_bytes() for file in files]
    before = usage()
    for number in range(seed, seed + count):
        if number - seed == round(WARM_UP * count):
            before = usage()
        chooser = random.Random(number)
        source = chooser.randrange(len(files))
        file = folder / f"{number}{files[source].suffix}"
        path = file
        if file.suffix in IMAGE_SUFFIXES:
            path = folder / str(number)
            path.mkdir()
            file = path / file.name
        file.write_bytes(mutate(whole[source], whole, chooser))
        print(json.dumps({"seed": number, "file": files[source].name}), flush=True)
        reason = alone(path)
        # In a data set with a good clip beside it, which takes its place where it is bad.
        broken = Clip("broken", path)
        sample = ClipDataset([broken, Clip("good", files[0])], READER, seed=0, replace_bad=True)[SampleKey(0, 0)]
        assert sample.bad == (() if reason is None else ((broken.label, reason),)), (reason, sample.bad)
        assert sample.clip.id == ("broken" if reason is None else "good")
        print(json.dumps({"seed": number, "bad": reason}), flush=True)
        file.unlink()
        if path.is_dir():
            path.rmdir()
    after = usage()
    print(json.dumps({"kib": after[0] - before[0], "open": after[1] - before[1]}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), [Path(name) for name in sys.argv[4:]])
