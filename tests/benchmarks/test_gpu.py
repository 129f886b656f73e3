"""`python benchmarks/gpu.py`: parts end on their own, and their numbers are compared with goals."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vtok.cli.main import run_script


def test_the_parts_take_less_than_ten_minutes(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(gpu.gpu, ["list=true"]) == 0
    shown = capsys.readouterr().out
    assert all(part.name in shown and part.question in shown for part in gpu.PARTS)
    assert sum(part.seconds for part in gpu.PARTS) < 600


def test_a_part_that_fails_or_hangs_does_not_stop_the_others(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(name: str, code: str) -> object:
        command = [sys.executable, "-c", code]
        return gpu.Part(
            name, "?", 20, lambda _: command, lambda _: command, lambda _, seconds: [gpu.Value("seconds", seconds, "s")]
        )

    hangs = part("hangs", "import time; time.sleep(60)")
    parts = (part("fails", "print('so much'); raise SystemExit(3)"), hangs, part("works", "print('all of it')"))
    monkeypatch.setattr(gpu, "PARTS", parts)
    assert run_script(gpu.gpu, ["toy=true", "parts=[fails,hangs,works]", "scale=0.1", f"out={tmp_path}"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(" s ")[0].split()[:3] for line in shown[:3]] == [
        ["fails", "exit", "3"],
        ["hangs", "too", "slow"],
        ["works", "ok", "0"],
    ]
    assert [line.split()[:2] for line in shown[-3:]] == [["fails", "failed"], ["hangs", "failed"], ["works", "seconds"]]


def test_a_long_part_saves_when_its_time_is_over(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All its processes are asked to stop, as the runs of a study are processes of processes."""
    inner = (
        "import signal, sys, time; from pathlib import Path\n"
        "def save(*_): Path('saved').touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, save); Path('ready').touch(); time.sleep(60)"
    )
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"

    def command(folder: Path) -> list[str]:
        monkeypatch.chdir(folder)
        return [sys.executable, "-c", outer]

    part = gpu.Part(
        "long", "?", 50, command, command, lambda _, seconds: [gpu.Value("seconds", seconds, "s")], resumes=True
    )
    monkeypatch.setattr(gpu, "PARTS", (part,))
    assert run_script(gpu.gpu, ["toy=true", "parts=[long]", "scale=0.1", f"out={tmp_path}"]) == 0
    folder = next(tmp_path.glob("*/long"))
    assert (folder / "ready").exists()
    assert (folder / "saved").exists()
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[:2] == ["long", "stopped"]
    assert shown[-1].strip().split(maxsplit=3) == [
        "long",
        "not",
        "finished",
        "0 runs finished, 0 begun; the same command resumes it",
    ]


def test_a_long_part_has_one_folder_and_leaves_its_small_files_in_another(gpu: ModuleType, tmp_path: Path) -> None:
    code = "from pathlib import Path; Path('{0}/a.json').write_text('1'); Path('{0}/weights').write_text('2')"

    def command(folder: Path) -> list[str]:
        return [sys.executable, "-c", code.format(folder)]

    part = gpu.Part(
        "long",
        "?",
        50,
        command,
        command,
        lambda _, seconds: [gpu.Value("seconds", seconds, "s")],
        summary=("*.json",),
        resumes=True,
    )
    outcome = gpu.run_part(part, tmp_path / "long", toy=False, scale=1.0)
    assert outcome.code == 0
    assert [file.name for file in (tmp_path / "long" / "summary").iterdir()] == ["a.json"]


def test_numbers_of_long_parts(gpu: ModuleType, tmp_path: Path) -> None:
    study, generate, real = gpu.long_parts(methods=["vtok"], seeds=2, overrides=[])
    (tmp_path / "run" / "0").mkdir(parents=True)
    (tmp_path / "studies" / "tokenisers").mkdir(parents=True)
    numbers = {"vtok": {"seeds": 2, "means": {"alignment/a": 0.5, "alignment/b": 1.0}}}
    (tmp_path / "studies" / "tokenisers" / "study.json").write_text(json.dumps(numbers))
    alignment = {"alignment/arrow": 0.8, "alignment/arrow_low": 0.7, "alignment/arrow_chance": 0.5}
    made = {"generate/colour": 0.9, "generate/colour_low": 0.8, "control/colour": 0.25, "seconds_per_step": 0.1}
    (tmp_path / "run" / "0" / "summary.json").write_text(json.dumps(alignment | made))
    rows = [value.row for part in (study, generate, real) for value in part.values(tmp_path, 1.0)]
    assert rows == [
        ("vtok, mean accuracy of 2 seeds", "75 %", ""),
        ("step", "100 ms", ""),
        ("generate, colour", "90 %", ""),
        ("control, colour", "25 %", ""),
        ("step", "100 ms", ""),
        ("arrow", "80 %", "above 50  met"),
    ]


def test_numbers_and_goals(gpu_parts: ModuleType, tmp_path: Path) -> None:
    row = {"overhead": [0.02, 0, 0], "prefill_seconds": [0.1, 0, 0], "encode_seconds": [0.5, 0, 0], "tokens": 46}
    slow = row | {"prefill_seconds": [0.4, 0, 0], "tokens": 496}
    (tmp_path / "out.json").write_text(
        json.dumps({"frames": {"121": {"vtok": row, "frame_sampling": slow}, "30": {"vtok": row}}})
    )
    over, prefill, clips = gpu_parts.cost_values(tmp_path, 1.0)
    assert over.row == ("vtok over its backbone", "2 %", "at most 3  met")
    assert prefill.row == ("prefill, 46 against 496 tokens", "4 times", "at least 5  missed")
    assert clips.row == ("clips of 30 frames", "2 a second", "")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["toy=true", "parts=[other]"], "parts=other: unknown part. Use smoke, tests,"),
        ([], "torch sees no GPU. "),
        (["data.root=here"], "data.root=here: only long parts take overrides. "),
        (["parts=[real]"], "parts=[real]: data.source.root is required by data=twins: "),
    ],
)
def test_a_mistake_is_one_sentence(
    gpu: ModuleType,
    arguments: list[str],
    error: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert run_script(gpu.gpu, arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")


@pytest.mark.slow
def test_every_part_at_toy_size(gpu: ModuleType, tmp_path: Path) -> None:
    command = [sys.executable, gpu.__file__, "toy=true", f"out={tmp_path}", "scale=5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    logs = {log.parent.name: log.read_text()[-2000:] for log in tmp_path.rglob("log")}
    assert done.returncode == 0, done.stderr
    assert logs.keys() == {part.name for part in (*gpu.PARTS, *gpu.long_parts(methods=[], seeds=1, overrides=[]))}
    assert " failed " not in done.stdout, (done.stdout, logs)
    # Memory is the part of the check that is exact at any size.
    assert any("counted without activations" in line and line.endswith("met") for line in done.stdout.splitlines())
