"""Commands of README and of the pages, run as they stand but for sizes and for the names in capitals."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from vtok.cli.main import main
from vtok.hub import toys

SHOWS = ("--help", "--cfg")
SMALL_DECODER = (
    "generation.steps=2",
    "generation.max_clips=2",
    "visual_head.width=16",
    "decoder.num_frames=4",
    "decoder.heads=2",
    "decoder.head_dim=12",
)
SMALL_LANGUAGE_MODEL = ("mllm.width=32", "mllm.layers=1", "mllm.heads=2")


@pytest.fixture
def carry_out(tiny_run: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_video) -> Callable[[str], int]:
    """Runs a command line; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    # The network is asked for nothing, wherever a page names a model of the hub.
    shell = Shell(tiny_run, tmp_path, make_video)
    return shell.run


class Shell:
    """A terminal in an empty folder, and what the commands of the pages find there.

    Args:
        small: overrides of a run that takes about a second.
        folder: the working directory.
        make_video: writes a video file.
    """

    def __init__(self, small: list[str], folder: Path, make_video: Callable) -> None:
        self.small, self.folder, self.make_video = small, folder, make_video

    def run(self, command: str) -> int:
        program, *given = shlex.split(command)
        if program == "python":
            assert given[0] == "train.py", command
            return self.train(given[1:])
        return self.verb(given)

    def train(self, given: list[str]) -> int:
        if any(shown in given for shown in SHOWS):
            return exit_code(["train", *given])
        small = self.small
        if "resume=PATH" in given:
            assert exit_code(["train", *small, "trainer.max_steps=1", "hydra.run.dir=outputs/begun"]) == 0
            given = [item.replace("PATH", "outputs/begun") for item in given]
        if "backbone=clip" in given:
            toys.clip().save_pretrained(self.folder / "clip")
            # In place of the hub's weights, which are the default.
            given = [item for item in given if not item.startswith("backbone.weights=")]
            given += ["backbone.weights=clip", "backbone.image_size=64"]
        if any(item.startswith(("backbone=", "tokeniser=codec", "backbone.frozen")) for item in given):
            small = [item for item in small if not item.startswith("backbone")]
        if "data.root=clips" in given:
            self.have_synthetic_clips()
        elif any("=folder" in item or "=shards" in item or item == "data=twins" for item in given):
            given = [item.replace("PATH", str(self.clips())) for item in given]
        if any("=folder" in item or "=shards" in item or item == "data=twins" for item in given):
            shapes = ("data.train", "data.validation", "data.test", "data.make")
            small = [item for item in small if not item.startswith(shapes)]
        if "data=mixture" in given:
            small = [*small, "data.limit=4"]
        if any(item.startswith(("tokeniser.budget=", "sweep=budget", "data=twins")) for item in given):
            # A budget of 20 tokens and twins need clips of the usual length.
            small = [item for item in small if not item.startswith("clip.num_frames")]
        if "sweep=budget" in given:
            given = [item for item in given if not item.startswith("seed=")] + ["tokeniser=vtok,delta"]
        if "recipe=generate" in given or "objective=joint" in given:
            small = [*small, *SMALL_DECODER]
        named = {item.split("=")[0] for item in given}
        return exit_code(["train", *given, *(item for item in small if item.split("=")[0] not in named)])

    def verb(self, given: list[str]) -> int:
        self.write_inputs()
        given = [item.replace("FILE", str(self.folder / "CLIPS" / "a.mp4")) for item in given]
        if "data.root=clips" in given:
            self.have_synthetic_clips()
        elif "root=FOLDER" not in given:
            given = [item.replace("PATH", str(self.clips())) for item in given]
        name, overrides = given[0], [item for item in self.small if not item.startswith("clip.num_frames")]
        # Another budget is for the run of a tokeniser that the page has just trained.
        if any("latest" in item for item in given) and "tokeniser.budget=8" not in given:
            self.have_run(sweep="sweep=latest" in given)
        if any(item.startswith("backbone=") for item in given):
            overrides = [item for item in overrides if not item.startswith("backbone")]
        if "data=folder" in given or "data=twins" in given:
            overrides = [item for item in overrides if not item.startswith("data.")]
        if "data.cache=FEATURES" in given:
            # The cache was made with these clips and the usual backbone.
            overrides = [item for item in self.small if not item.startswith("backbone")]
        if name == "probe":
            given += ["steps=2", "seeds=1", *overrides]
        if name == "cost":
            given += ["frames=[30]", "runs=1", *SMALL_LANGUAGE_MODEL]
        if name == "precompute":
            given += [item for item in self.small if item.startswith(("data.", "clip.", "loader.", "outputs="))]
        return exit_code(given)

    def have_synthetic_clips(self) -> None:
        """The folder that the tutorial begins with: synthetic clips with a manifest, linked as `clips`."""
        link = self.folder / "clips"
        if not link.is_symlink():
            usual = [item for item in self.small if not item.startswith("clip.num_frames")]
            assert exit_code(["train", *usual, "hydra.run.dir=outputs/runs/first"]) == 0
            link.symlink_to(next(self.folder.glob("outputs/data/shapes/*")))

    def clips(self) -> Path:
        """A folder of clips with captions."""
        folder = self.folder / "clips"
        if not folder.is_dir():
            folder.mkdir()
            for number in range(6):
                self.make_video(folder / f"{number}.mp4", 12)
                (folder / f"{number}.txt").write_text(f"clip number {number}")
        return folder

    def write_inputs(self) -> None:
        """The files that commands name."""
        if (self.folder / "CLIPS").is_dir():
            return
        (self.folder / "CLIPS").mkdir()
        self.make_video(self.folder / "CLIPS" / "a.mp4", 30)
        (self.folder / "prompts.txt").write_text("a red circle moves left\na blue square moves up\n")
        (self.folder / "VBench_full_info.json").write_text('[{"prompt_en": "a dog", "dimension": ["object_class"]}]')
        asked = {"video": "a.mp4", "question": "what moves?", "answer": "a dog", "choices": ["a dog", "a cat"]}
        (self.folder / "QUESTIONS.jsonl").write_text(json.dumps({**asked, "split": "test"}))

    def have_run(self, *, sweep: bool) -> None:
        """A finished sweep, or a finished run of both branches, where there is none."""
        if sweep and not list(self.folder.glob("outputs/sweeps/*")):
            assert exit_code(["train", "-m", *self.small, "seed=0,1"]) == 0
        if not sweep and not (self.folder / "outputs" / "runs" / "ours").is_dir():
            joint = ["objective=joint", "hydra.run.dir=outputs/runs/ours"]
            assert exit_code(["train", *self.small, *SMALL_DECODER, *joint]) == 0


def exit_code(arguments: list[str]) -> int:
    """Hydra leaves some of its commands by sys.exit."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
