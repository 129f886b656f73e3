"""What is exported comes back bit for bit, and nothing else comes with it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from vtok.commands.prepare import load_run
from vtok.config import compose
from vtok.errors import UserError
from vtok.hub import folder as hub_folder
from vtok.hub import from_pretrained, push_to_hub, save_pretrained
from vtok.model import VideoLanguageModel
from vtok.tokeniser import Tokeniser
from vtok.training import train

Run = Callable[..., Path]


@pytest.fixture
def make_run(tiny_run: list[str], tmp_path: Path) -> Run:
    def make(*overrides: str) -> Path:
        kept = [item for item in tiny_run if not ("backbone=clip" in overrides and item.startswith("backbone"))]
        train(compose([*kept, *overrides]), run_dir=tmp_path / "run", overrides=list(overrides))
        return tmp_path / "run"

    return make


def clip() -> torch.Tensor:
    return torch.rand(2, 12, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "overrides",
    [
        ["tokeniser=vtok", "tokeniser/motion_pooling=attention", "trainer.ema_decay=0.5"],
        ["tokeniser=frame_sampling", "tokeniser.token_dim=24"],
        ["tokeniser=key_frame"],
        ["backbone.frozen=true"],
    ],
    ids=str,
)
def test_a_tokeniser_comes_back_bit_for_bit(overrides: list[str], make_run: Run, tmp_path: Path) -> None:
    """With a trained backbone, and with a frozen one of random weights."""
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
    from vtok.commands.describe import describe

    run = make_run("objective=joint", "visual_head=regression", "decoder=none", "objective.lambda_dec=0")
    save_pretrained(run, tmp_path / "out", part="model")
    loaded = from_pretrained(tmp_path / "out")
    assert isinstance(loaded, VideoLanguageModel)
    _, _, model = load_run(str(run), outputs="none")
    for (name, ours), (_, theirs) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name
    video = str(next((tmp_path / "outputs" / "data").rglob("heldout-*.mp4")))
    said = [
        describe(video=video, prompt="what?", run=str(place), start=0.0, max_new_tokens=4, outputs="none")
        for place in (run, tmp_path / "out")
    ]
    assert said[0] == said[1]


def test_published_weights_are_named_and_not_copied(make_run: Run, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    small = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=56, patch_size=14
    )
    CLIPVisionModel(small).save_pretrained(tmp_path / "clip")
    run = make_run("backbone=clip", f"backbone.weights={tmp_path / 'clip'}")
    save_pretrained(run, tmp_path / "out", part="tokeniser")
    assert not any(name.startswith("backbone") for name in load_file(tmp_path / "out" / "model.safetensors"))
    (tmp_path / "clip").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"backbone.weights"):
        from_pretrained(tmp_path / "out")
    loaded = from_pretrained(tmp_path / "out", weights={"backbone": str(tmp_path / "elsewhere")})
    assert loaded.backbone.feature_dim == 16


def test_a_strangers_configuration_runs_no_code(make_run: Run, tmp_path: Path) -> None:
    save_pretrained(make_run(), tmp_path / "out", part="tokeniser")
    file = tmp_path / "out" / "config.yaml"
    config = OmegaConf.load(file)
    for target in ("os.system", "torch.hub.load", "vtok.cli.main"):
        config.tokeniser.motion_pooling._target_ = target
        OmegaConf.save(config, file)
        with pytest.raises(UserError, match=rf"motion_pooling._target_={re.escape(target)}: it is no component"):
            from_pretrained(tmp_path / "out")


def test_weights_that_do_not_fit_are_refused(make_run: Run, tmp_path: Path) -> None:
    save_pretrained(make_run(), tmp_path / "out", part="tokeniser")
    file = tmp_path / "out" / "model.safetensors"
    whole = load_file(file)
    name = next(iter(whole))
    save_file({key: tensor for key, tensor in whole.items() if key != name}, file)
    with pytest.raises(UserError, match=f"1 weights are missing or of another shape, {name}"):
        from_pretrained(tmp_path / "out")
    save_file(whole | {name: torch.zeros(1)}, file)
    with pytest.raises(UserError, match="of another shape"):
        from_pretrained(tmp_path / "out")


def test_what_is_there_is_not_written_over(make_run: Run, tmp_path: Path) -> None:
    run = make_run()
    (tmp_path / "out").mkdir()
    save_pretrained(run, tmp_path / "out", part="tokeniser")
    with pytest.raises(UserError, match="there is something already"):
        save_pretrained(run, tmp_path / "out", part="tokeniser")
    with pytest.raises(UserError, match="was not written by vtok export"):
        from_pretrained(run)


def test_the_card_has_the_figures(make_run: Run, tmp_path: Path) -> None:
    run = make_run("tokeniser.stride=3")
    save_pretrained(run, tmp_path / "out", part="tokeniser", licence="apache-2.0")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    figures = json.loads((run / "summary.json").read_text())
    listed = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert listed["alignment/colour"] == figures["alignment/colour"]
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "vtok")
    row = next(line for line in card.text.splitlines() if line.startswith("| alignment/colour |"))
    cells = [cell.strip() for cell in row.split("|")[2:]]
    assert float(cells[0]) == pytest.approx(figures["alignment/colour"], abs=1e-3)
    assert float(cells[2]) == pytest.approx(figures["alignment/colour_chance"], abs=1e-3)
    assert "python train.py tokeniser.stride=3" in card.text
    code = re.search(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert code is not None
    exec(code[1].replace("FOLDER or ORG/NAME", str(tmp_path / "out")), names := {})
    assert names["tokens"].shape[0] == 1


def test_upload(make_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pretrained(make_run(), tmp_path / "out", part="tokeniser")
    asked: list[tuple[str, object]] = []

    class Hub:
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
            asked.append((repo_id, private))
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            asked.append((repo_id, sorted(path.name for path in folder_path.iterdir())))

    monkeypatch.setattr(hub_folder, "HfApi", Hub)
    assert push_to_hub(tmp_path / "out", "me/mine", private=True) == "https://huggingface.co/me/mine"
    assert asked[0] == ("me/mine", True)
    assert "model.safetensors" in asked[1][1]

    def refuse(self: Hub, *_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(Hub, "create_repo", refuse)
    with pytest.raises(UserError, match=r"push=me/mine: the hub did not take it .*no network.*hf auth login"):
        push_to_hub(tmp_path / "out", "me/mine", private=True)


def test_no_such_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="there is no such folder, and the hub does not give it"):
        from_pretrained("no such/place at all")
