"""The arguments of the verbs beside train, with what `--help` says of them."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from vtok.commands.data_arguments import (
    BenchmarkCost,
    BenchmarkDecode,
    BenchmarkTrain,
    DataCheck,
    DataIndex,
    DataPack,
    DataPreview,
    Precompute,
    Toys,
)
from vtok.commands.keys import key

RUN = "a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped"
OUTPUTS = "where runs are looked for"
VIDEO = "a video file or a folder of frames"
START = "of the clip in the video, in seconds"
SCALE = "each pixel becomes scale x scale; null: so that a side has 256 or more"
USUAL = "null: the run's generation.*"
TRUSTED = {"meaning": "packages of your own whose components are built, [A,B]; no folder has a say in it"}


@dataclass
class Evaluate:
    """The benchmark again on the held-out clips of a run, or of another data set.

    Other keys change the run's configuration (evaluation.max_clips=100). data=folder data.root=PATH is another data set
    with keys of its own, its clips cut as those of the run (data.size, data.num_frames, data.fps) unless said;
    generation/judge=own judges videos that were made of it.
    """

    run: str = key("latest", RUN)
    outputs: str = key("outputs", OUTPUTS)
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


@dataclass
class Describe:
    """A run's model says what is to be seen in a video file or a folder of frames."""

    video: str = key(MISSING, VIDEO)
    prompt: str = key("describe the video.", "what is asked")
    run: str = key("latest", RUN)
    start: float = key(0.0, START)
    max_new_tokens: int = key(64, "of the answer, at most")
    outputs: str = key("outputs", OUTPUTS)
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


@dataclass
class Generate:
    """Videos out of texts, as mp4. One prompt makes a video and a contact sheet beside it, of the same name with .png.

    A file of prompts makes a folder: 000.mp4, 001.mp4, ... in the order of its lines, sheet.png, and manifest.jsonl,
    with which data=folder reads the videos. Of a .json file such as VBench_full_info.json they are PROMPT-0.mp4 to
    PROMPT-4.mp4, as VBench looks for them. What is there already is replaced, each file once the new one is whole.
    """

    prompt: str | None = key(None, "what the video shows")
    prompts: str | None = key(None, "a text file, one prompt a line (blank and # lines are skipped), or VBench's .json")
    samples: int | None = key(None, "videos of each prompt of a .json file, from PROMPT-0.mp4 on; null: VBench's 5")
    run: str = key("latest", RUN)
    out: str | None = key(None, "the file, clip.mp4 where null; for prompts the folder, generated where null")
    seed: int | None = key(None, f"the same seed makes the same video; video i of a file, from 0 on: seed + i; {USUAL}")
    steps: int | None = key(None, f"of the decoder, from noise to video; {USUAL}")
    guidance: float | None = key(None, f"of the decoder by the prompt, 1 is none; {USUAL}")
    temperature: float | None = key(None, f"of the visual head, 0 takes the likeliest tokens; {USUAL}")
    fps: float | None = key(None, "frames a second; null: the video lasts as long as a training clip")
    scale: int | None = key(None, SCALE)
    batch_size: int = key(1, "videos made at once; with another, numbers are rounded differently here and there")
    outputs: str = key("outputs", OUTPUTS)
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


@dataclass
class Reconstruct:
    """A video to a run's tokens and back: an mp4, and a contact sheet beside it, of the same name with .png.

    The sheet has the true frames above. What is there already is replaced, each file once the new one is whole.
    """

    video: str = key(MISSING, VIDEO)
    caption: str | None = key(None, "what the video shows, to go by beside the tokens; null: the tokens alone")
    run: str = key("latest", RUN)
    out: str = key("reconstruction.mp4", "the file")
    start: float = key(0.0, START)
    seed: int | None = key(None, f"the same seed makes the same video; {USUAL}")
    steps: int | None = key(None, f"of the decoder, from noise to video; {USUAL}")
    guidance: float | None = key(None, f"of the decoder by the tokens, 1 is none; {USUAL}")
    fps: float | None = key(None, "frames a second; null: the video lasts as long as the clip")
    scale: int | None = key(None, SCALE)
    outputs: str = key("outputs", OUTPUTS)
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


@dataclass
class Tokenise:
    """The tokens of a video as a safetensors file: tokens, kind, timestamps, frames; how they were made as metadata."""

    video: str = key(MISSING, VIDEO)
    run: str = key("latest", RUN)
    out: str = key("tokens.safetensors", "the file; one that is there is replaced once the new one is whole")
    start: float = key(0.0, START)
    outputs: str = key("outputs", OUTPUTS)
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


@dataclass
class Compare:
    """Runs side by side: a table, and a plot of the metrics against what differs. Either a sweep or a list of runs."""

    sweep: str | None = key(None, "a sweep's folder, or latest")
    runs: list[str] = field(default_factory=list, metadata={"meaning": "run folders, [A,B]"})
    metrics: list[str] = field(default_factory=list, metadata={"meaning": "names in summary.json; []: the usual ones"})
    out: str | None = key(None, "a folder for the files; null: comparison in the sweep's folder, for runs none")
    outputs: str = key("outputs", OUTPUTS)


@dataclass
class Report:
    """One page about a sweep, or a list of runs, that opens in a browser without a server or a network.

    Results with their intervals, the plot, curves over the steps, videos and contact sheets side by side, the command
    and the commit of each run. What is too much for the page lies beside it in NAME_files, which belongs to it.
    """

    sweep: str | None = key(None, "a sweep's folder, or latest")
    runs: list[str] = field(default_factory=list, metadata={"meaning": "run folders, [A,B]; one will do"})
    out: str = key("report.html", "the page; one that is there is replaced")
    metrics: list[str] = field(default_factory=list, metadata={"meaning": "names in summary.json; []: the usual ones"})
    embed_mb: float = key(32.0, "megabytes of pictures and videos within the page, at most; 0: all beside it")
    outputs: str = key("outputs", OUTPUTS)


@dataclass
class Export:
    """A run's tokeniser, or its whole model, as a folder for from_pretrained, with a model card; and onto the hub.

    The weights are the averaged ones where the run kept them. A model's folder can be given where a run is.
    """

    run: str = key("latest", RUN)
    part: str = key("model", "model, or tokeniser")
    out: str = key(MISSING, "the folder, a new or an empty one")
    push: str | None = key(None, "ORG/NAME on the Hugging Face hub; null: nothing is uploaded")
    private: bool = key(True, "whether the repository, where it is new, is private")
    licence: str | None = key(None, "for the model card, by the hub's short names, such as apache-2.0")
    outputs: str = key("outputs", OUTPUTS)
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


@dataclass
class Sync:
    """Send the figures of a run that its tracking server did not take while it was away."""

    run: str = key("latest", RUN)
    outputs: str = key("outputs", OUTPUTS)


@dataclass
class Register:
    """Keep a run's model as an MLflow model, as tracking.log_model=true does at the end of a run.

    It takes paths of videos and gives answers; the parameters prompt, start and max_new_tokens are those of describe.
    """

    run: str = key("latest", RUN)
    name: str | None = key(None, "in the model registry, of which it becomes a new version; null: it is not registered")
    outputs: str = key("outputs", OUTPUTS)
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


@dataclass
class Validate:
    """Check a configuration and show what it would do; nothing is built, read or written. Takes train's overrides."""


@dataclass
class Plan:
    """Parameters and memory of a configuration: by part, trained and frozen, and on each of 1, 2, 4 and 8 GPUs.

    Takes train's overrides. Everything is counted on the architecture alone; nothing is downloaded or read.
    """


@dataclass
class Probe:
    """What can be read off video tokens without a language model: answers by a linear and an attentive probe, the
    features of frames, and whether the order of frames is in them. Takes train's overrides.

    The tokens are those of a run, or of untrained tokenisers on the configured backbone, whose trained half then is
    trained with each probe.
    """

    run: str | None = key(None, f"{RUN}; null: what the overrides say")
    tokenisers: list[str] = field(default_factory=list, metadata={"meaning": "options of the group, [vtok,key_frame]"})
    steps: int = key(300, "in which each probe is trained")
    train_clips: int = key(2000, "used, at most")
    heldout_clips: int = key(400, "used, at most")
    tuned: bool | None = key(None, "train the tokeniser's trained half with each probe; null: not that of a run")
    seeds: int = key(1, "of random weights and probes, from seed on; of several the means are shown, with intervals")
    out: str | None = key(None, "a json file for the figures")
    outputs: str = key("outputs", "where runs are looked for, and clips are made")
    allowed_targets: list[str] = field(default_factory=list, metadata=TRUSTED)


ARGUMENTS = {
    "evaluate": Evaluate,
    "describe": Describe,
    "generate": Generate,
    "reconstruct": Reconstruct,
    "tokenise": Tokenise,
    "compare": Compare,
    "report": Report,
    "export": Export,
    "sync": Sync,
    "probe": Probe,
    "register": Register,
    "toys": Toys,
    "validate": Validate,
    "plan": Plan,
    "benchmark decode": BenchmarkDecode,
    "benchmark train": BenchmarkTrain,
    "benchmark cost": BenchmarkCost,
    "data pack": DataPack,
    "data index": DataIndex,
    "data check": DataCheck,
    "data preview": DataPreview,
    "precompute": Precompute,
}
# Verbs that take keys of a configuration beside their own.
TAKE_OVERRIDES = (
    "evaluate",
    "probe",
    "benchmark train",
    "benchmark cost",
    "data pack",
    "data check",
    "data preview",
    "precompute",
)
