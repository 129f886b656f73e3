"""An exported part is loaded bit for bit, and the folder holds nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vtok.cli.main import main
from vtok.cli.verbs.describe import describe
from vtok.cli.verbs.evaluate import evaluate
from vtok.common.errors import UserError
from vtok.hub import folder as hub_folder
from vtok.hub import from_pretrained, save_pretrained, toys
from vtok.inference.load import load_run
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch, stack_text
from vtok.tokeniser import PlannedFrames, Tokeniser

Run = Callable[..., Path]
OWN = """\
import torch
from torch import nn
from vtok.tokeniser.frame_sampling import KeyFrameTokeniser


class OwnTokeniser(KeyFrameTokeniser):
    def __init__(self, backbone, *, grid_size=4, stride=6, token_dim=None, key_frame=0, budget=None) -> None:
        super().__init__(backbone, grid_size=grid_size)
        self.mix = nn.Parameter(torch.randn(self.token_dim), requires_grad=False)
"""


def clip() -> torch.Tensor:
    return torch.rand(2, 12, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def losses(model: VideoLanguageModel) -> dict[str, float]:
    """The losses of two clips of random frames, each with a question and a caption."""
    seen = model.tokeniser.planner.max_frames(12)
    frames = torch.randint(0, 256, (2, seen, 3, 64, 64), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    whole = torch.ones(2, seen, dtype=torch.bool)
    video = PlannedFrames(frames, torch.zeros(2, dtype=torch.long), whole, torch.zeros(2, seen))
    chat = model.mllm.chat
    tokens = model.tokeniser.planner.num_tokens(seen)
    chats = [chat.encode([("which way?", answer)], num_video_tokens=tokens) for answer in ("left", "up")]
    captions = [chat.encode_video("a red ball", num_video_tokens=tokens)] * 2
    batch = Batch(
        video=video, text=stack_text(chats, pad_id=chat.pad_id), captions=stack_text(captions, pad_id=chat.pad_id)
    )
    with torch.no_grad():
        return {name: float(loss) for name, loss in model(batch).items()}


@pytest.mark.parametrize(
    "overrides",
    [
        ["tokeniser=vtok", "tokeniser/motion_pooling=attention", "trainer.ema_decay=0.5"],
        ["tokeniser=frame_sampling", "tokeniser.token_dim=24"],
        ["tokeniser=key_frame"],
        ["tokeniser=resampler", "tokeniser.budget=7"],
        ["backbone.frozen=true"],
    ],
    ids=str,
)
def test_a_tokeniser_comes_back_bit_for_bit(overrides: list[str], make_run: Run, tmp_path: Path) -> None:
    """With a trained backbone, and with a frozen one with random weights."""
    run = make_run(*overrides)
    _, _, model = load_run(str(run), outputs="none")
    save_pretrained(run, tmp_path / "out", part="tokeniser")
    torch.manual_seed(99)
    loaded = from_pretrained(tmp_path / "out")
    assert isinstance(loaded, Tokeniser)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(clip()), model.tokeniser(clip()))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "config.yaml", "export.json", "model.safetensors", "summary.json",
    }  # fmt: skip
    assert not any(name.startswith("mllm") for name in load_file(tmp_path / "out" / "model.safetensors"))


def test_a_model_comes_back_and_can_be_used_as_a_run(make_run: Run, tmp_path: Path) -> None:
    joint = ("objective=joint", "visual_head=regression", "decoder=none", "objective.lambda_dec=0")
    run = make_run(*joint, "mllm.encode_places=true")
    save_pretrained(run, tmp_path / "out", part="model")
    loaded = from_pretrained(tmp_path / "out")
    assert isinstance(loaded, VideoLanguageModel)
    assert loaded.places is not None
    assert loaded.places.matrix.any()
    _, _, model = load_run(str(run), outputs="none")
    for (name, ours), (_, theirs) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name
    assert losses(loaded) == losses(model)
    assert losses(loaded).keys() == {"under", "accuracy", "visLM", "loss"}
    video = str(next((tmp_path / "outputs" / "data").rglob("test-*.mp4")))
    said = [
        describe(video=video, prompt="what?", run=str(place), start=0.0, max_new_tokens=4, outputs="none")
        for place in (run, tmp_path / "out")
    ]
    assert said[0] == said[1]


def test_only_the_adapters_of_a_model_with_adapters_are_exported(make_run: Run, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    words = toys.tokenizer()
    torch.manual_seed(7)
    toys.llava_next(words).save_pretrained(tmp_path / "lm")
    words.save_pretrained(tmp_path / "lm")
    run = make_run(
        "mllm=llava_next", f"mllm.weights={tmp_path / 'lm'}", "mllm.projector=false",
        "mllm.dtype=float32", "mllm.lora={rank:2,alpha:4}", "trainer.ema_decay=0.5",
    )  # fmt: skip
    save_pretrained(run, tmp_path / "out", part="model")
    names = [name for name in load_file(tmp_path / "out" / "model.safetensors") if name.startswith("mllm.")]
    assert names
    assert all(".lora_" in name for name in names)
    _, _, model = load_run(str(run), outputs="none")
    (tmp_path / "lm").rename(tmp_path / "elsewhere")
    loaded = from_pretrained(tmp_path / "out", weights={"mllm": str(tmp_path / "elsewhere")})
    assert isinstance(loaded, VideoLanguageModel)
    assert losses(loaded) == losses(model)


def test_published_weights_are_named_and_not_copied(make_run: Run, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    small = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=56, patch_size=14
    )
    CLIPVisionModel(small).save_pretrained(tmp_path / "clip")
    run = make_run("backbone=clip", f"backbone.weights={tmp_path / 'clip'}", "backbone.image_size=56")
    save_pretrained(run, tmp_path / "out", part="tokeniser")
    assert not any(name.startswith("backbone") for name in load_file(tmp_path / "out" / "model.safetensors"))
    (tmp_path / "clip").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"backbone.weights"):
        from_pretrained(tmp_path / "out")
    loaded = from_pretrained(tmp_path / "out", weights={"backbone": str(tmp_path / "elsewhere")})
    assert loaded.backbone.feature_dim == 16
    with pytest.raises(UserError, match=r"no mllm with published weights\. Use one of backbone\."):
        from_pretrained(tmp_path / "out", weights={"mllm": "x"})


def test_weights_for_a_component_that_the_folder_holds_are_refused(exported: Path) -> None:
    with pytest.raises(UserError, match=r"no backbone with published weights\. Leave it out: all"):
        from_pretrained(exported, weights={"backbone": "x"})


def test_a_frozen_random_part_of_ones_own_comes_back(
    make_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_tokeniser.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    run = make_run(
        "tokeniser=key_frame",
        "tokeniser._target_=own_tokeniser.OwnTokeniser",
        "tokeniser.key_frame=0",
        "allowed_targets=[own_tokeniser]",
    )
    own = ["own_tokeniser"]
    for refused in (
        lambda: save_pretrained(run, tmp_path / "out", part="tokeniser"),
        lambda: load_run(str(run), outputs="none"),
    ):
        with pytest.raises(UserError, match=r"'allowed_targets=\[own_tokeniser\]'"):
            refused()
    save_pretrained(run, tmp_path / "out", part="tokeniser", allowed_targets=own)
    _, _, model = load_run(str(run), outputs="none", allowed_targets=own)
    with pytest.raises(UserError, match=r"the package own_tokeniser is not trusted.*argument allowed_targets or trust"):
        from_pretrained(tmp_path / "out")
    torch.manual_seed(99)
    loaded = from_pretrained(tmp_path / "out", trust=["own_tokeniser"])
    assert torch.equal(loaded.mix, model.tokeniser.mix)


def test_weights_that_do_not_fit_are_refused(exported: Path) -> None:
    file = exported / "model.safetensors"
    whole = load_file(file)
    name = next(iter(whole))
    save_file({key: tensor for key, tensor in whole.items() if key != name}, file)
    with pytest.raises(UserError, match=f"1 weights are missing, unknown or of another shape, such as {name}"):
        from_pretrained(exported)
    save_file(whole | {name: torch.zeros(1)}, file)
    with pytest.raises(UserError, match="of another shape"):
        from_pretrained(exported)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.safetensors: it is not a readable safetensors file"):
        from_pretrained(exported)


def test_existing_files_are_not_overwritten(usual_run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    save_pretrained(usual_run, tmp_path / "out", part="tokeniser")
    with pytest.raises(UserError, match="this folder is not empty"):
        save_pretrained(usual_run, tmp_path / "out", part="tokeniser")
    with pytest.raises(UserError, match="vtok export did not write this folder"):
        from_pretrained(usual_run)
    with pytest.raises(UserError, match="this folder is itself an export"):
        save_pretrained(tmp_path / "out", tmp_path / "again", part="tokeniser")


def test_nothing_is_left_of_a_folder_that_cannot_be_written(
    usual_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub_folder, "write_card", full)
    with pytest.raises(UserError, match=r"out=.*out: it cannot be written \(.*No space left on device\)"):
        save_pretrained(usual_run, tmp_path / "out", part="tokeniser")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_evaluated_on_clips_in_the_working_directory(
    exported_model: Path,
    usual_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for verb in ("evaluate", "probe"):
        assert main([verb, f"run={exported_model}", "loader.num_workers=0"]) == 1
        assert "names no clips. Set data=folder data.root=PATH, or data=shapes." in capsys.readouterr().err
    assert list(Path().iterdir()) == []
    clips = f"data.root={usual_run.parent / 'data' / 'shapes'}"
    own, metrics = (
        evaluate(run=str(place), outputs="none", overrides=[clips]) for place in (usual_run, exported_model)
    )
    assert metrics == own


def test_an_exported_tokeniser_is_not_a_run(exported: Path) -> None:
    with pytest.raises(UserError, match=r"this folder holds only a tokeniser.*part=model"):
        load_run(str(exported), outputs="none")


@pytest.mark.parametrize("average", [[], ["trainer.ema_decay=0.5"]], ids=str)
def test_metrics_are_exported_with_their_weights_only(average: list[str], make_run: Run, tmp_path: Path) -> None:
    run = make_run("trainer.save_every=1", *average)
    early, last = sorted((run / "checkpoints").iterdir())[-2:]
    found = [
        json.loads((save_pretrained(place, tmp_path / name, part="tokeniser") / "summary.json").read_text())
        for place, name in ((run, "a"), (last, "b"), (early, "c"))
    ]
    whole = json.loads((run / "summary.json").read_text())
    assert found[0] == found[1] == whole
    assert "alignment/colour" in whole
    assert found[2].keys() <= {"commit"}
    assert "These weights were not evaluated" in (tmp_path / "c" / "README.md").read_text()
