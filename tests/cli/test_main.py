"""The command line: its output, exit codes, and what is loaded for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vtok.cli.dispatch import parse, verbs
from vtok.cli.main import main, train
from vtok.common.errors import UserError

# Settings of the synthetic clips.
SHAPES = ("data.train", "data.validation", "data.test", "data.make")
ROOT = Path(__file__).resolve().parents[2]
VERBS = (
    "evaluate",
    "describe",
    "generate",
    "reconstruct",
    "tokenise",
    "compare",
    "report",
    "export",
    "sync",
    "register",
    "validate",
    "plan",
    "toys",
    "cost",
)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"vtok {verb}" in shown for verb in ("train", *VERBS))


@pytest.mark.parametrize("verb", [*VERBS, "data pack", "data index"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    assert f"vtok {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "trian: unknown verb. Use train, calibrate, compare"),
        (["describe"], "Set video=VALUE"),
        (["describe", "video=x.mp4", "promt=what?"], "Did you mean prompt?"),
        (["describe", "x.mp4"], "arguments are KEY=VALUE"),
        (["describe", "video=x.mp4", "max_new_tokens=0"], "max_new_tokens=0: must be an integer >= 1."),
        (["evaluate", "run=nowhere"], "run=nowhere is not a folder"),
        (["evaluate", f"run={'a' * 300}"], "aaa is not a folder"),
        (["evaluate", "run=~nobody-of-that-name/a"], "is not a folder"),
        (["generate", "prompts=~nobody-of-that-name/a"], "prompts=~nobody-of-that-name/a: "),
        (["data", "index", "root=~nobody-of-that-name/a"], "root=~nobody-of-that-name/a is not a folder"),
        (
            ["data", "check", "data=folder", f"data.root={ROOT}", "data.manifest=~nobody-of-that-name/a.csv"],
            "there is no such file",
        ),
        (["report", "sweep=nowhere", f"out={'a' * 300}/a.html"], "sweep=nowhere is not a folder"),
        (["compare", "runs=[a"], "runs=[a: this is not a list"),
        (
            ["train", "outputs=/dev/null/x"],
            "the folder cannot be written (/dev/null is not a folder)",
        ),
        (["train", "hydra.run.dir=/dev/null/x"], "hydra.run.dir=/dev/null/x: the folder cannot be written"),
        (["train", f"backbone.weights=/{'a' * 300}", "backbone=clip"], "aaa: this path does not exist"),
        (["evaluate", "outputs=nowhere"], "no run has finished in nowhere"),
        (["cost", "runs=0"], "runs=0: must be an integer >= 1."),
        (["compare"], "one of sweep=latest, sweep=DIR and runs=[A,B]"),
        (["compare", "runs=[a]"], "takes two"),
        (["validate", "tokeniser.stride=99"], "tokeniser.stride=99"),
        (["plan", "tokeniser.stride=99"], "tokeniser.stride=99"),
        (["train", "tokeniser.stride=99"], "tokeniser.stride=99"),
        (["train", "-m", "tokeniser.stride=3,99"], "tokeniser.stride=99"),
        (["train", "just a word"], "KEY=VALUE"),
        (["probe", "sedes=3"], "sedes: unknown key of vtok probe. Did you mean seeds? Use one of run, tokenisers,"),
        (["probe", "backbon=clip"], "Did you mean backbone?"),
        (["probe", "lr=3"], "lr: unknown key. Did you mean optimiser.lr?"),
        (["probe", "sweep=nope"], "sweep=nope: unknown option"),
        (["probe", "tokeniser=vtok,delta"], "takes several values in tokenisers. Set 'tokenisers=[vtok,delta]'."),
        (["cost", "tokeniser=vtok,delta"], "vtok cost takes several values in tokenisers"),
        (["probe", "seed=1,2"], "seed=1,2: a list of values is a sweep. vtok probe takes one value."),
        (["plan", "tokeniser=vtok,delta"], "vtok plan takes one value. Quote it"),
        (["data", "pakc"], "vtok data pakc: unknown verb. Use vtok data check | flow | index | pack | preview."),
        (["data", "pack"], "vtok data pack: the argument out is missing. Set out=VALUE"),
        (["data", "pack", "out=x", "data=folder", "data.root=nowhere"], "data.root=nowhere is not a folder"),
        (["data", "pack", "out=x", "shard_mb=0"], "shard_mb=0: must be an integer >= 1."),
        (["data", "index", "root=nowhere"], "root=nowhere"),
        (["data", "index", "root=x", "data.limit=1"], "data.limit: unknown key of vtok data index"),
    ],
)
def test_a_mistake_is_reported_and_exits_with_1(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "runs/a"), "error: runs/a: Permission denied."),
        (OSError(28, "No space left on device", "b"), "error: b: No space left on device."),
        (FileNotFoundError(2, "No such file or directory", "c"), None),
    ],
)
def test_an_error_of_the_disk_is_reported_in_one_line(
    error: OSError, message: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file may be a bug of vtok."""

    def refuse(*_: object) -> int:
        raise error

    monkeypatch.setattr("vtok.cli.main.run_verb", refuse)
    if message is None:
        with pytest.raises(FileNotFoundError):
            main(["compare"])
        return
    assert main(["compare"]) == 1
    assert capsys.readouterr().err.startswith(message)


def test_validate_shows_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "backbone=clip", "clip.num_frames=121", "tokeniser.stride=4"]) == 0
    shown = capsys.readouterr().out
    assert "31 of 121 frames" in shown
    assert "46 a clip" in shown


def test_a_mistake_is_reported_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from vtok.cli.main import main; "
        "code = main(['train', '+tokeniser.typo=1']); sys.exit(10 * ('torch' in sys.modules) + code)"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "tokeniser.typo" in done.stderr


def test_help_and_config_load_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, atexit; from vtok.cli.main import main; "
        "atexit.register(lambda: print('HEAVY', 'torch' in sys.modules, 'mlflow' in sys.modules)); "
        "main(['train', *sys.argv[1:]])"
    )
    for arguments in (["--help"], ["--cfg", "job"]):
        done = run("-c", code, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "HEAVY False False" in done.stdout
        assert "tokeniser" in done.stdout
    assert not list(tmp_path.iterdir())


def test_libraries_write_no_progress_bars_to_a_log(tmp_path: Path) -> None:
    """transformers' "Loading weights" and huggingface_hub's downloads, where stderr is no terminal."""
    code = (
        "from vtok.cli.main import configure_process; configure_process()\n"
        "from huggingface_hub.utils import are_progress_bars_disabled\n"
        "from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as mlflow\n"
        "from transformers.utils.logging import is_progress_bar_enabled\n"
        "print(are_progress_bars_disabled(), is_progress_bar_enabled(), mlflow.get())"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.stdout.split() == ["True", "False", "False"], done.stderr


def test_train_then_use_the_run(tiny_run: list[str], tmp_path: Path, command) -> None:
    """vtok train, evaluate, describe and compare, one after the other, in a fresh folder."""
    here = [item.replace(str(tmp_path) + "/", "") for item in tiny_run]
    trained = command("train", *here, "hydra.run.dir=first")
    assert trained.code == 0, trained.err
    assert "alignment/colour" in trained.out
    assert "run folder:   first" in trained.out
    summary = json.loads((tmp_path / "first" / "summary.json").read_text())

    evaluated = command("evaluate", "loader.batch_size=2")
    assert evaluated.code == 0, evaluated.err
    assert f"{summary['alignment/colour']:.1%}" in evaluated.out

    clip = next((tmp_path / "outputs" / "data").rglob("test-*.mp4"))
    assert command("describe", "run=first", f"video={clip}", "prompt=what colour is it?").code == 0

    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    broken = command("describe", "run=first", "video=broken.mp4")
    assert broken.code == 1
    assert broken.err.count("broken.mp4") == 1

    assert command("train", *here, "seed=1", "hydra.run.dir=second").code == 0
    compared = command("compare", "runs=[first,second]", "out=table")
    assert compared.code == 0, compared.err
    assert "seed" in compared.out
    assert (tmp_path / "table" / "comparison.png").stat().st_size > 1000


def test_paths_count_from_the_working_directory_of_the_command(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(_config: object, *, run_dir: Path, **_others: object) -> dict[str, float]:
        seen.append((Path.cwd(), run_dir))
        return {}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vtok.training.train", note)
    monkeypatch.setattr(sys, "argv", ["vtok"])
    train([*tiny_settings, "hydra.job.chdir=true", "hydra.run.dir=run", "hydra/job_logging=none"])
    assert seen == [(tmp_path, tmp_path / "run")]
    assert Path.cwd() == tmp_path


def test_flags_stand_anywhere_between_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """argparse on its own takes the overrides on one side of a flag alone."""
    monkeypatch.setattr(
        "vtok.config.jobs.check_jobs", lambda overrides, multirun, **_others: seen.append((overrides, multirun))
    )
    monkeypatch.setattr("hydra.main", lambda **_settings: lambda _job: lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["vtok"])
    seen: list[object] = []
    train(["debug=smoke", "-m", "resume=lr=0.1", "seed=0,1"])
    said = ["debug=smoke", 'resume.path="lr=0.1"', "seed=0,1"]
    assert seen == [(said, True), [*said, "-m"]]


def test_real_clips_train_a_few_steps(tiny_run: list[str], tmp_path: Path, clips_dir: Path, command) -> None:
    settings = [item for item in tiny_run if not item.startswith(SHAPES)]
    done = command("train", *settings, "data=folder", f"data.root={clips_dir}", "hydra.run.dir=run")
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 3
    assert summary["data/bad_files"] == 0


def test_sigterm_saves_and_says_how_to_resume(tiny_run: list[str], tmp_path: Path) -> None:
    import signal
    import time

    command = [sys.executable, str(ROOT / "train.py"), *tiny_run, "trainer.max_steps=100000", "hydra.run.dir=run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "train.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "step 10" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "resume=run" in errors
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "stopped"
    steps = json.loads((tmp_path / "run" / "summary.json").read_text())["steps"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{steps:08d}").is_dir()


def test_broken_files_are_counted_and_replaced(tiny_run: list[str], tmp_path: Path, make_video, command) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(11):
        make_video(folder / f"{number}.mp4", 14)
        (folder / f"{number}.txt").write_text(f"clip number {number}")
    (folder / "3.mp4").write_bytes(b"")
    settings = [item for item in tiny_run if not item.startswith(SHAPES)]
    settings += [f"data.root={folder}", "data=folder", "trainer.max_steps=6"]
    done = command("train", *settings, "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["data/bad_files"] == 1
    assert (tmp_path / "run" / "train.log").read_text().count("3.mp4") == 1

    (folder / "4.mp4").write_text("no video either")
    done = command("train", *settings, "hydra.run.dir=again")
    assert done.code == 1
    assert "loader.max_bad_fraction=0.1" in done.err
    assert "3.mp4" in done.err
    assert "4.mp4" in done.err
    assert "Traceback" not in done.err


def test_offline_clip_names_the_key(tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    settings = [item for item in tiny_run if not item.startswith("backbone")]
    done = run(str(ROOT / "train.py"), "backbone=clip", *settings, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "backbone.weights=PATH" in done.stderr
    assert "backbone.weights=null" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_closed_output_pipe_is_not_an_error() -> None:
    command = [sys.executable, "-m", "vtok", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_lists_of_names_are_taken_as_typed() -> None:
    declared = verbs()["compare"]
    typed = parse("vtok compare", declared, ["runs=[no,007,2026-01-01,a#b]"])[0]["runs"]
    assert typed == ["no", "007", "2026-01-01", "a#b"]
    assert parse("vtok compare", declared, ['runs="a,b",null'])[0]["runs"] == ["a,b", "null"]
    for odd in ("runs=[a", "runs=[[a],b]", "runs=a]b", "runs=%a"):
        with pytest.raises(UserError, match=r"this is not a list\. Use runs=\[ONE,OTHER\]"):
            parse("vtok compare", declared, [odd])
