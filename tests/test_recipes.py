"""The paper's recipes: planned at their size without a network, and run at toy size."""

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.hub.toys import make_toys
from vtok.model import VideoLanguageModel
from vtok.model.build import build_model
from vtok.runs.folder import read_status
from vtok.training import run as training_run
from vtok.training import train

SHORT = (
    "data.train_clips=16",
    "data.validation_clips=2",
    "data.test_clips=2",
    "data.make_workers=1",
    "data.families=[motion]",
    "evaluation.captions=false",
    "generation.max_clips=1",
    "generation.steps=2",
    "scheduler=constant",
    "scheduler.num_warmup_steps=0",
    "trainer.log_every=1",
    "trainer.evaluate_every=0",
    "trainer.save_every=0",
    "trainer.progress=false",
    "tracking=none",
)
# GB by `vtok plan`: of the design full fine-tuning takes 188, and LoRA fits one GPU.
SIZES = {"paper": (188 * 0.98, 188 * 1.02), "paper_lora": (46, 48)}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("recipe", SIZES)
def test_the_papers_size_is_planned_without_a_network(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", f"recipe={recipe}"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "tokens    46 a clip" in shown.out
    total = next(line for line in shown.out.splitlines() if line.startswith("total")).split()
    least, most = SIZES[recipe]
    assert least <= float(total[-1]) <= most
    if recipe == "paper":
        assert int(total[1].replace(",", "")) == pytest.approx(8.05e9, rel=0.01)
    assert main(["validate", f"recipe={recipe}"]) == 0
    assert "the configuration is valid" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", SIZES)
def test_a_step_of_the_papers_recipes_is_the_papers_batch(recipe: str) -> None:
    config = compose([f"recipe={recipe}"])
    assert (config.trainer.processes or 1) * config.trainer.accumulate * config.loader.batch_size == 16
    assert config.trainer.parallel._target_.endswith(".Fsdp2") == (recipe == "paper")
    if recipe == "paper":
        assert 16 * config.trainer.max_steps == 5_000_000
        assert (config.backbone.layer, config.decoder.condition_layer) == (-2, -3)


def test_the_papers_recipe_in_one_process_says_how_to_start_eight(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"torchrun --nproc_per_node 8 train\.py"):
        train(compose(["recipe=paper", f"outputs={tmp_path}"]))


def test_all_missing_weights_are_reported_before_anything_is_written(tmp_path: Path) -> None:
    code = "import sys; from vtok.cli.main import main; sys.exit(main(['train', 'recipe=paper', *sys.argv[1:]]))"
    package = str(Path(__file__).resolve().parents[1])
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "HOME": str(tmp_path), "PYTHONPATH": package}
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, "trainer.processes=null", "trainer/parallel=ddp"],
        cwd=tmp_path / "here",
        env=settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: backbone.weights=openai/clip-vit-large-patch14-336, mllm.weights=llava-hf/")
    for group, name in (
        ("backbone", "openai/clip-vit-large-patch14-336"),
        ("mllm", "llava-hf/llama3-llava-next-8b-hf"),
        ("decoder", "hunyuanvideo-community/HunyuanVideo"),
    ):
        assert f"hf download {name} --local-dir PATH" in line
        assert f"{group}.weights=PATH" in line
    # Neither a run folder nor synthetic clips.
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_file()]


@dataclass(frozen=True)
class Ended:
    """A finished run: its folder, its model, and the weights that the model was built with."""

    folder: Path
    model: VideoLanguageModel
    before: dict[str, Tensor]

    def losses(self, name: str) -> list[float]:
        return [float(loss) for loss in re.findall(rf"\b{name} ([\d.e-]+)", (self.folder / "train.log").read_text())]

    def changed(self) -> set[str]:
        return {name for name, one in self.model.state_dict().items() if not torch.equal(one, self.before[name])}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    make_toys(folder / "toys")
    return folder


@pytest.fixture
def run_tiny(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs recipe=paper_tiny, short, with further overrides."""

    def run(*overrides: str) -> Ended:
        built = []

        def kept(config) -> VideoLanguageModel:
            model = build_model(config)
            built.append((model, {name: one.clone() for name, one in model.state_dict().items()}))
            return model

        monkeypatch.setattr(training_run, "build_model", kept)
        train(compose(["recipe=paper_tiny", *SHORT, *overrides, f"outputs={outputs}"]), run_dir=tmp_path / "run")
        return Ended(tmp_path / "run", *built[0])

    return run


@pytest.mark.filterwarnings("error::FutureWarning")
def test_the_papers_recipe_runs_at_toy_size(run_tiny: Callable[..., Ended], outputs: Path) -> None:
    ended = run_tiny("trainer.max_steps=6", "trainer.save_every=3")
    assert read_status(ended.folder)["status"] == "finished"
    under = ended.losses("under")
    assert len(under) == len(ended.losses("visLM")) == len(ended.losses("dec")) == 6
    assert sum(under[3:]) < 0.97 * sum(under[:3])
    # It began as the files say: the language model, the projector, and what is frozen.
    llava, dit, vae, clip = (
        load_file(outputs / "toys" / name)
        for name in (
            "llava_next/model.safetensors",
            "hunyuan_video/transformer/diffusion_pytorch_model.safetensors",
            "hunyuan_video/vae/diffusion_pytorch_model.safetensors",
            "clip/model.safetensors",
        )
    )
    head = next(one for name, one in llava.items() if name.endswith("lm_head.weight"))
    assert torch.equal(ended.before["mllm.model.lm_head.weight"], head)
    phi_vis = next(one for name, one in llava.items() if name.endswith("multi_modal_projector.linear_1.weight"))
    assert torch.equal(ended.before["projector.0.weight"], phi_vis)
    # And ended with all that is trained changed, and nothing that is frozen.
    trained = {name for name, one in ended.model.named_parameters() if one.requires_grad}
    assert trained - ended.changed() <= {"decoder.nothing"}
    assert any(name.startswith("mllm.") for name in trained)
    now = ended.model.state_dict()
    for prefix, weights in (("decoder.transformer.", dit), ("decoder.vae.", vae)):
        assert all(torch.equal(now[prefix + name], one) for name, one in weights.items())
    patches = next(one for name, one in clip.items() if name.endswith("patch_embedding.weight"))
    kept = next(one for name, one in now.items() if name.endswith("patch_embedding.weight"))
    assert torch.equal(kept, patches)
    # What is frozen is in its own files and not in the checkpoint's.
    saved = load_file(ended.folder / "checkpoints" / "step-00000006" / "model.safetensors")
    assert trained <= saved.keys()
    assert not any(name.startswith(("decoder.transformer.", "decoder.vae.")) for name in saved)
    assert (ended.folder / "samples" / "last" / "0_generated.mp4").is_file()


def test_a_run_of_toys_is_used_like_any_other(
    run_tiny: Callable[..., Ended], outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_tiny("trainer.max_steps=1").folder
    clip = next((outputs / "data").rglob("test-*.mp4"))
    assert main(["describe", f"run={run}", f"video={clip}", "max_new_tokens=4"]) == 0
    video = tmp_path / "clip.mp4"
    assert main(["generate", f"run={run}", "prompt=a red circle moves left", f"out={video}", "steps=2"]) == 0
    assert str(video) in capsys.readouterr().out
    assert video.stat().st_size > 0


def test_only_adapters_are_trained_at_toy_size(run_tiny: Callable[..., Ended]) -> None:
    pytest.importorskip("peft")
    ended = run_tiny("trainer.max_steps=2", "mllm.dtype=bfloat16", "mllm.lora={rank: 4, alpha: 8, dropout: 0.05}")
    changed = {name for name in ended.changed() if name.startswith("mllm.")}
    assert changed == {name for name in ended.before if ".lora_" in name}
    # Seven linear layers in each of three blocks have an A and a B.
    assert len(changed) == 3 * 7 * 2


@pytest.mark.slow
def test_wan_instead_of_hunyuan_video(run_tiny: Callable[..., Ended], outputs: Path) -> None:
    ended = run_tiny("trainer.max_steps=2", "decoder=wan", f"decoder.weights={outputs / 'toys' / 'wan'}")
    changed = {name for name in ended.changed() if name.startswith("decoder.")}
    assert changed
    assert not any(name.startswith(("decoder.transformer.", "decoder.vae.")) for name in changed)


@pytest.mark.slow
def test_the_unchanged_toy_recipe_learns_and_generates_videos(outputs: Path, tmp_path: Path) -> None:
    settings = ["recipe=paper_tiny", "tracking=none", "trainer.progress=false", f"outputs={outputs}"]
    metrics = train(compose(settings), run_dir=tmp_path / "run")
    log = (tmp_path / "run" / "train.log").read_text()
    losses = [float(loss) for loss in re.findall(r"^.*step \d+/\d+:.*\bloss ([\d.]+)", log, flags=re.MULTILINE)]
    assert losses[-1] < 0.95 * losses[0]
    assert metrics["steps"] == 20
    assert {"alignment/colour", "generate/colour", "visual/rollout", "digest/ema"} <= metrics.keys()
    assert (tmp_path / "run" / "samples" / "step-00000010" / "0_generated.mp4").is_file()
