"""Every command that README shows runs, on a small scale where it would take long."""

import json
import re
import shlex
from pathlib import Path

import pytest

from vtok.cli.main import main
from vtok.hub import toys

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE))
TRAIN = [line.split("#")[0].strip() for line in BLOCKS.splitlines() if line.startswith("python train.py")]
VERBS = [line.split("#")[0].strip() for line in BLOCKS.replace("\\\n", " ").splitlines() if line.startswith("vtok ")]
SHOWS = ("--help", "--cfg")
SMALL_DECODER = (
    "generation.steps=2",
    "generation.max_clips=2",
    "visual_head.width=16",
    "decoder.num_frames=4",
    "decoder.heads=2",
    "decoder.head_dim=12",
)


@pytest.fixture
def small(tiny_run: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return tiny_run


def carry_out(arguments: list[str]) -> int:
    """The exit code; Hydra leaves some of its commands by sys.exit."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def test_the_commands_were_found() -> None:
    assert len(TRAIN) >= 9
    assert {line.split()[1] for line in VERBS} == {
        "evaluate", "describe", "tokenise", "generate", "reconstruct", "compare", "report", "export", "sync",
        "probe", "benchmark", "validate", "plan", "toys",
    }  # fmt: skip


@pytest.mark.parametrize("command", TRAIN)
def test_train_commands_run(command: str, small: list[str], tmp_path: Path, make_video) -> None:
    given = shlex.split(command)[2:]
    if any(shown in given for shown in SHOWS):
        assert carry_out(["train", *given]) == 0
        return
    if "backbone=clip" in given:
        toys.clip().save_pretrained(tmp_path / "clip")
        given = [item.replace("PATH", str(tmp_path / "clip")) for item in given]
        small = [item for item in small if not item.startswith("backbone")]
    if any(item.endswith("=folder") for item in given):
        (tmp_path / "clips").mkdir()
        for number in range(6):
            make_video(tmp_path / "clips" / f"{number}.mp4", 12)
            (tmp_path / "clips" / f"{number}.txt").write_text(f"clip number {number}")
        given = [item.replace("PATH", str(tmp_path / "clips")) for item in given]
        small = [item for item in small if not item.startswith(("data.train", "data.held", "data.make"))]
    if "data=mixture" in given:
        small = [*small, "data.limit=4"]
    if "resume=PATH" in given:
        assert carry_out(["train", *small, "trainer.max_steps=1", f"hydra.run.dir={tmp_path / 'outputs' / 'run'}"]) == 0
        given = [item.replace("PATH", str(tmp_path / "outputs" / "run")) for item in given]
    if "sweep=budget" in given:
        # A budget of 20 tokens wants clips of the usual length; two jobs are enough.
        small = [item for item in small if not item.startswith("clip.num_frames")]
        given = [item for item in given if not item.startswith("seed=")] + ["tokeniser=vtok,delta"]
    if "recipe=generate" in given:
        small = [*small, *SMALL_DECODER, "trainer.evaluate_every=2"]
    chosen = [item for item in small if item.split("=")[0] not in {other.split("=")[0] for other in given}]
    assert carry_out(["train", *given, *chosen]) == 0
    assert list((tmp_path / "outputs").rglob("summary.json"))


def test_the_verbs_run(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(["train", "-m", *small, "seed=0,1"]) == 0
    for name in ("A", "B"):
        assert carry_out(["train", *small, f"seed={name == 'A':d}", f"hydra.run.dir=outputs/runs/{name}"]) == 0
    assert carry_out(["train", *small, *SMALL_DECODER, "objective=joint"]) == 0
    (tmp_path / "prompts.txt").write_text("a red circle moves left\na blue square moves up\n")
    (tmp_path / "VBench_full_info.json").write_text('[{"prompt_en": "a dog", "dimension": ["object_class"]}]')
    video = next((tmp_path / "outputs" / "data").rglob("heldout-*.mp4"))
    (tmp_path / "CLIPS").mkdir()
    (tmp_path / "CLIPS" / "a.mp4").write_bytes(video.read_bytes())
    asked = {"video": "a.mp4", "question": "what moves?", "answer": "a dog", "choices": ["a dog", "a cat"]}
    (tmp_path / "QUESTIONS.jsonl").write_text(json.dumps({**asked, "split": "heldout"}))
    for command in VERBS:
        given = [item.replace("FILE", str(video)) for item in shlex.split(command)[1:]]
        if given[0] == "probe":
            # A budget of 20 tokens wants clips of the usual length.
            given += ["steps=2", "seeds=1", *(item for item in small if not item.startswith("clip.num_frames"))]
        if given[0] == "benchmark":
            given += ["frames=[30]", "runs=1", "mllm.width=32", "mllm.layers=1", "mllm.heads=2"]
        assert carry_out(given) == 0, command
    assert "46 a clip" in capsys.readouterr().out


def test_the_python_example_runs() -> None:
    code = re.search(r"```python\n(import torch.*?)```", README, flags=re.DOTALL)
    assert code is not None
    shown = dict(re.findall(r"^(tokeniser[.(].*?)\s+#\s(\([\d, +]+\))", code[1], flags=re.MULTILINE))
    small = code[1].replace("ClipBackbone", "Vgg19Backbone")
    names: dict = {}
    exec(small.replace("336", "224"), names)
    tokeniser, torch = names["tokeniser"], names["torch"]
    assert tuple(tokeniser(torch.rand(1, 30, 3, 224, 224)).shape)[:2] == (1, 16 + 4)
    assert tokeniser.plan(30).indices == (0, 6, 12, 18, 24)
    assert len(shown) == 2


def test_the_component_of_ten_lines_works(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As README says it for a package of one's own: the class in a package, the YAML where --config-dir points."""
    source = re.search(r"```python\n# vtok/tokeniser/last_frame.py\n(.*?)```", README, flags=re.DOTALL)
    option = re.search(r"```yaml\n# conf/tokeniser/last_frame.yaml\n(.*?)```", README, flags=re.DOTALL)
    assert source is not None
    assert option is not None
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text(source[1])
    (tmp_path / "conf" / "tokeniser").mkdir(parents=True)
    written = option[1].replace("vtok.tokeniser.last_frame", "mylab")
    (tmp_path / "conf" / "tokeniser" / "last_frame.yaml").write_text(written)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = [
        "--config-dir",
        str(tmp_path / "conf"),
        "tokeniser=last_frame",
        "allowed_targets=[mylab]",
    ]
    assert carry_out(["train", *own, *small]) == 0
    assert carry_out(["train", *own, *small, "+tokeniser.stride=3"]) == 1
