"""vtok generate on the command line."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from vtok.cli.main import main
from vtok.cli.prompts import requested_videos
from vtok.data import ClipSettings, FolderData, read_video
from vtok.data.sources.base import SPLITS
from vtok.inference.load import load_run
from vtok.model.visual_states import Sampling

PROMPTS = "﻿# shapes\na red circle moves left\n\n  the ground stands still and a blue square grows  \n# end\nÄ\n"
TEXTS = ["a red circle moves left", "the ground stands still and a blue square grows", "Ä"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def generate(run_dir: Path, *arguments: str) -> int:
    return main(["generate", f"run={run_dir}", *arguments])


def test_a_prompt_makes_a_video_and_a_sheet(
    joint_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clip.mp4"
    assert generate(joint_run, "prompt=a red circle", f"out={out}", "seed=3") == 0
    assert capsys.readouterr().out.splitlines() == [str(out), str(tmp_path / "clip.png")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mp4", "clip.png"]
    read, times = read_video(out, stride=1)
    assert read.shape == (4, 3, 256, 256)
    # 12 clip frames at the 15 a second of the made clips are 0.8 seconds, in which the 4 frames are shown.
    torch.testing.assert_close(times, torch.arange(4, dtype=torch.float64) * 0.2, atol=1e-4, rtol=0)

    _, config, model = load_run(str(joint_run), outputs="")
    number = config.generation
    made = model.generate(["a red circle"], num_planned=4, seeds=[3], sampling=Sampling(number.steps, 1.0, 1.0))[0]
    assert made.float().std() > 20
    errors = (read[:, :, 8::16, 8::16].int() - made.int()).abs().float()
    assert errors.mean() < 3
    with Image.open(tmp_path / "clip.png") as sheet:
        assert sheet.width > 4 * 96


def test_the_same_seed_is_the_same_file(joint_run: Path, tmp_path: Path) -> None:
    digests = []
    for settings in (["seed=1"], ["seed=1"], ["seed=2"], ["seed=1", "steps=4"], ["seed=1", "guidance=3"],
                     ["seed=1", "temperature=0"], ["seed=0"], []):  # fmt: skip
        assert generate(joint_run, "prompt=a red circle", f"out={tmp_path / 'a.mp4'}", *settings) == 0
        digests.append(digest(tmp_path / "a.mp4"))
    assert digests[0] == digests[1]
    # The run's own settings where none are given: its generation.seed is 0.
    assert digests[6] == digests[7]
    assert len(set(digests)) == 6


def test_a_file_of_prompts_makes_a_folder_of_videos(joint_run: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    out = tmp_path / "made"
    assert generate(joint_run, f"prompts={tmp_path / 'prompts.txt'}", f"out={out}", "seed=5") == 0
    names = ["000.mp4", "001.mp4", "002.mp4"]
    assert sorted(file.name for file in out.iterdir()) == [*names, "manifest.jsonl", "sheet.png"]
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["video"] for row in rows] == names
    assert [row["caption"] for row in rows] == TEXTS
    assert [row["seed"] for row in rows] == [5, 6, 7]
    assert len({digest(out / name) for name in names}) == 3

    for row in rows:
        alone = tmp_path / "alone.mp4"
        assert generate(joint_run, f"prompt={row['caption']}", f"seed={row['seed']}", f"out={alone}") == 0
        assert digest(alone) == digest(out / row["video"])

    source = FolderData(root=out, clip=ClipSettings(size=16))
    source.prepare()
    assert {clip.caption for split in SPLITS for clip in source.clips(split)} == set(TEXTS)
    assert not source.bad


def test_a_list_of_vbench_makes_videos_of_its_names(joint_run: Path, tmp_path: Path) -> None:
    """Names as in prompts/README.md of Vchitect/VBench; rows as in its VBench_full_info.json."""
    rows = [
        {"prompt_en": "a bird and a cat", "dimension": ["multiple_objects"],
         "auxiliary_info": {"multiple_objects": {"object": "bird and cat"}}},
        {"prompt_en": "A 3D model of a 1800s victorian house.", "dimension": ["overall_consistency"]},
        {"prompt_en": "a bird and a cat", "dimension": ["dynamic_degree"]},
    ]  # fmt: skip
    (tmp_path / "full_info.json").write_text(json.dumps(rows))
    out = tmp_path / "made"
    listed = f"prompts={tmp_path / 'full_info.json'}"
    assert generate(joint_run, listed, f"out={out}", "samples=2", "seed=5", "scale=1") == 0
    house = "A 3D model of a 1800s victorian house."
    names = ["a bird and a cat-0.mp4", "a bird and a cat-1.mp4", f"{house}-0.mp4", f"{house}-1.mp4"]
    assert sorted(file.name for file in out.iterdir()) == sorted([*names, "manifest.jsonl", "sheet.png"])
    made = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["video"] for row in made] == names
    assert [row["caption"] for row in made] == [name[:-6] for name in names]
    assert [row["seed"] for row in made] == [5, 6, 7, 8]
    assert digest(out / names[0]) != digest(out / names[1])
    alone = tmp_path / "alone.mp4"
    assert generate(joint_run, "prompt=a bird and a cat", "seed=6", f"out={alone}", "scale=1") == 0
    assert digest(alone) == digest(out / names[1])

    whole = requested_videos(tmp_path / "full_info.json", None)
    assert [name for name, _ in whole[:5]] == [f"a bird and a cat-{index}.mp4" for index in range(5)]
    assert len(whole) == 10


def test_the_batch_size_only_changes_rounding(joint_run: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    for size in (1, 2):
        where = [f"prompts={tmp_path / 'prompts.txt'}", f"out={tmp_path / str(size)}"]
        assert generate(joint_run, *where, f"batch_size={size}", "scale=1") == 0
    for name in ("000.mp4", "001.mp4", "002.mp4"):
        one, two = (read_video(tmp_path / size / name, stride=1)[0].float() for size in ("1", "2"))
        assert (one - two).abs().mean() < 1


def test_size_and_rate_can_be_set(joint_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    assert generate(joint_run, "prompt=x", f"out={out}", "scale=3", "fps=10") == 0
    read, times = read_video(out, stride=1)
    assert read.shape == (4, 3, 48, 48)
    torch.testing.assert_close(times, torch.arange(4, dtype=torch.float64) / 10, atol=1e-4, rtol=0)


def test_a_video_lasts_as_long_as_the_clips_of_other_data(make_run, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    # 12 clip frames at 6 a second, or at the 24 a second that a folder of frames has.
    for settings, seconds in ((["clip.fps=6"], 2.0), ([], 0.5)):
        where = ["data=folder", f"data.root={tmp_path / 'clips'}", "generation/judge=own", *settings]
        out = tmp_path / "a.mp4"
        assert generate(make_run(*where, generating=True), "prompt=x", f"out={out}") == 0
        times = read_video(out, stride=1)[1]
        torch.testing.assert_close(times[1].item(), seconds / 4, atol=1e-4, rtol=0)


def test_a_prompt_is_taken_as_it_is_typed(joint_run: Path, tmp_path: Path) -> None:
    """Neither a reference nor a missing value of OmegaConf's."""
    for prompt in ("${seed} = ${oc.env:HOME}", "???", "", "on and " * 500):
        assert generate(joint_run, f"prompt={prompt}", f"out={tmp_path / 'a.mp4'}", "scale=1") == 0


def test_files_and_old_manifests_are_replaced(joint_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    (tmp_path / "three.txt").write_text(PROMPTS, encoding="utf-8")
    (tmp_path / "one.txt").write_text("a dog")
    for name in ("three", "one"):
        assert generate(joint_run, f"prompts={tmp_path / name}.txt", f"out={out}", "scale=1") == 0
    assert [json.loads(line)["caption"] for line in (out / "manifest.jsonl").read_text().splitlines()] == ["a dog"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Set one of prompt=TEXT and prompts=FILE"),
        (["prompt=a", "prompts=good.txt"], "Set one of prompt=TEXT and prompts=FILE"),
        (["prompt=a", "promts=b"], "Did you mean prompts?"),
        (["prompt=a", "seed=abc"], "seed=abc: must be an integer"),
        (["prompt=a", "seed=-1"], "seed=-1: must be an integer >= 0"),
        (["prompt=a", "steps=0"], "steps=0: must be an integer >= 1"),
        (["prompt=a", "scale=0"], "scale=0: must be an integer >= 1"),
        (["prompt=a", "scale=2000"], "scale=2000: h264 supports 16384 pixels a side. Use 1 to 1024"),
        (["prompt=a", "fps=0"], "fps=0: must be a number > 0"),
        (["prompt=a", "guidance=nan"], "guidance=nan"),
        (["prompt=\udcff"], "prompt='\\udcff': character 1 is not valid text"),
        (["prompt=a", "temperature=-1"], "temperature=-1"),
        (["prompts=good.txt", "batch_size=0"], "batch_size=0"),
        (["prompt=a", "run=nowhere"], "run=nowhere is not a folder"),
        (["prompt=a", "out=clip.gif"], "clip.gif: the file's name must end in .mp4"),
        (["prompt=a", "out=absent/clip.mp4"], "the folder absent does not exist"),
        (["prompts=absent.txt"], "prompts=absent.txt: 'absent.txt' cannot be read (No such file or directory)"),
        (["prompts=empty.txt"], "prompts=empty.txt: the file holds no prompt"),
        (["prompts=latin.txt"], "prompts=latin.txt: latin.txt: line 1 is not UTF-8 text"),
        (["prompts=folder"], "prompts=folder: 'folder' cannot be read"),
        (["prompts=broken.json"], "prompts=broken.json: it is not valid JSON"),
        (["prompts=other.json"], 'a list of objects with "prompt_en"'),
        (["prompts=slash.json"], "'either/or' cannot be a file name"),
        (["prompts=long.json"], "at most 246 bytes"),
        (["prompts=slash.json", "samples=0"], "samples=0: must be an integer >= 1"),
        (["prompts=good.txt", "samples=2"], "Use samples only with prompts=FILE.json"),
        (["prompt=a", "samples=2"], "samples=2: one prompt makes one video. Use samples with prompts=FILE.json"),
        (["prompts=good.txt", "out=empty.txt"], "out=empty.txt: this is a file"),
        (["prompts=good.txt", "out=absent/made"], "the folder absent does not exist"),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_nothing_is_written(
    joint_run: Path,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.txt").write_text("a dog")
    Path("empty.txt").write_text("# nothing\n\n")
    Path("latin.txt").write_bytes("Grün".encode("latin-1"))
    Path("folder").mkdir()
    Path("broken.json").write_text("[")
    Path("other.json").write_text('["a dog"]')
    Path("slash.json").write_text('[{"prompt_en": "either/or"}]')
    Path("long.json").write_text(json.dumps([{"prompt_en": "on " * 100}]))
    before = sorted(tmp_path.rglob("*"))
    assert generate(joint_run, *arguments) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_that_cannot_generate_are_refused_with_one_that_can(
    understanding_run: Path, make_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"out={tmp_path / 'a.mp4'}"
    assert generate(understanding_run, "prompt=a", out) == 1
    assert "recipe=generate" in capsys.readouterr().err
    # A decoder is there, and was never trained.
    assert generate(make_run("decoder=tiny"), "prompt=a", out) == 1
    assert "recipe=generate" in capsys.readouterr().err
    reconstructing = make_run("objective=generation", "objective.lambda_visLM=0", "visual_head=none")
    assert generate(reconstructing, "prompt=a", out) == 1
    assert "lambda_visLM" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
