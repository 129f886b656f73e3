"""The arguments of the verbs on data sets, and of benchmarks, with what `--help` says of them."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from vtok.commands.keys import key


@dataclass
class BenchmarkDecode:
    """CPU time of reading frames, of our reader and of others: PyAV used naively, ffmpeg, torchcodec, decord.

    Each takes every stride-th frame as a square of uint8 RGB, with one thread, in turns. What is not there is left out;
    the extra vtok[bench] installs torchcodec and decord.
    """

    video: list[str] = field(default_factory=list, metadata={"meaning": "files or folders, [A,B]; []: made clips"})
    stride: int = key(6, "frames from one that is taken to the next")
    frames: int = key(30, "taken of a clip, at most")
    size: int = key(336, "pixels a side of the frames")
    runs: int = key(9, "rounds in which each way reads each clip")
    out: str | None = key(None, "a json file for the figures")


@dataclass
class BenchmarkTrain:
    """Seconds a step of the trainer, with tracking, average and log, over those of a bare loop, in turns.

    Takes train's overrides. The batches lie in memory, so that decoding is no part of it.
    """

    steps: int = key(200, "optimiser steps of each loop, in turns of trainer.log_every")
    out: str | None = key(None, "a json file for the figures")


@dataclass
class BenchmarkCost:
    """What tokenisers cost over the length of the clip: tokens, operations, time and memory, one clip at a time.

    Takes train's overrides. Clips are noise in memory; models take turns in each round.
    """

    tokenisers: list[str] = field(
        default_factory=lambda: ["vtok", "frame_sampling", "key_frame"], metadata={"meaning": "options of the group"}
    )
    frames: list[str] = field(
        default_factory=lambda: ["30", "60", "121", "480", "1920"], metadata={"meaning": "of the clips"}
    )
    runs: int = key(5, "rounds")
    every_frame: int = key(30, "up to clips of so many frames all frames are encoded, too; 0: never")
    out: str | None = key(None, "a json file for the figures")
    plot: str | None = key(None, "a png file for the curves")


@dataclass
class DataPack:
    """A data set to tar shards with an index, which data=shards reads. Takes train's overrides, data=... above all.

    Files are copied as they are, with what is known of each beside it as JSON (WebDataset's layout). What was broken
    off goes on where it was by the same command.
    """

    out: str = key(MISSING, "the folder, a new or an empty one")
    shard_mb: int = key(1024, "megabytes of a shard, at most")


@dataclass
class DataCheck:
    """Every frame of a data set decoded: counts, codecs, sizes, lengths, and what is broken and why.

    Takes train's overrides, data=... above all. More broken clips than data.max_bad_fraction are an error.
    """

    out: str | None = key(None, "a json file for the report, with a line for each clip")
    processes: int | None = key(None, "that decode; null: one a core")


@dataclass
class DataPreview:
    """A contact sheet of clips with their captions, as the tokeniser is given them. Takes train's overrides."""

    out: str = key("preview.png", "the file")
    clips: int = key(12, "clips, the same ones for the same seed")
    split: str = key("train", "train or heldout")


@dataclass
class DataIndex:
    """The index of plain tar shards in WebDataset's layout (KEY.mp4 with KEY.json or KEY.txt), for data=shards."""

    root: str = key(MISSING, "folder or URL of the shards; a pattern behind it, '{000..127}' or '*', takes a part")
    out: str | None = key(None, "the file; null: index.arrow in the root")


@dataclass
class Precompute:
    """What a frozen backbone makes of each clip, once; data.cache=FOLDER then trains without decoding and without it.

    Takes train's overrides. Pooled features are kept, and what a decoder that is trained learns from: its VAE's
    latents, or the frames. Several processes may work on one folder. What was broken off goes on by the same command,
    which also adds clips that are new and those whose files have changed.
    """

    out: str = key(MISSING, "the folder")
    block: int = key(256, "clips of a file, about: as many are computed again after a crash")
    dtype: str = key("float32", "of what is kept: float32, for the losses of the files, or bfloat16, half the size")


@dataclass
class Toys:
    """Small random checkpoints of the classes of CLIP, LLaVA-NeXT, HunyuanVideo and Wan, each in its library's format.

    They are what python train.py recipe=paper_tiny loads. All of them are written or nothing is; toys of the same seed
    that are there already stay as they are, others are replaced.
    """

    out: str | None = key(None, "the folder; null: toys in outputs")
    seed: int = key(0, "of the random weights")
    outputs: str = key("outputs", "where recipe=paper_tiny looks for them")
