"""Weights of a judge: those that cannot be loaded are refused quickly, with the key in the message."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from vtok.common.errors import UserError
from vtok.common.pretrained import Place
from vtok.data import Clip, Question
from vtok.evaluation.judge import VlmJudge, vlm

QUESTION = Question("colour", "choice", "what colour is it", "red", ("red", "green"))
CLIP = Clip(id="a", path=Path("none"), questions=(QUESTION,))


def ask(judge: VlmJudge) -> Any:
    video = torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8)
    return judge(torch.nn.Linear(1, 1), video, [CLIP], num_frames=30, intervals=[0.1])  # type: ignore[arg-type]


def refused(judge: VlmJudge) -> str:
    """The error message: one line that says what to do."""
    with pytest.raises(UserError) as caught:
        ask(judge)
    message = str(caught.value)
    assert message.startswith(f"generation.judge.weights={judge.weights}: ")
    assert "Set generation.judge.weights=PATH" in message
    assert message.endswith("choose another generation/judge.")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dtype": "float8"}, r"generation\.judge\.dtype=float8: unknown dtype. Use .*bfloat16"),
        ({"prompt": "{question}"}, r"generation\.judge\.prompt=.*\{question\} and \{choices\}"),
        ({"prompt": "{choices}"}, r"generation\.judge\.prompt=.*\{question\} and \{choices\}"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        VlmJudge(**settings)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vtok-tests/a-model-that-no-cache-holds", "the hub cannot be reached"),
        ("/nowhere/vlm", "no such folder"),
        ("a/b/c", "it is not a hub id either"),
    ],
)
def test_missing_weights_without_a_network_are_refused(name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own client, which retries, is not asked."""
    loaded = []
    pretrained = vlm.pretrained

    def watched(place: Place, **how: Any) -> Any:
        loaded.append(place.offline)
        return pretrained(place, **how)

    monkeypatch.setattr(vlm, "pretrained", watched)
    assert reason in refused(VlmJudge(weights=name))
    assert loaded == [True]


def test_a_text_only_model_is_refused(vlm_folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(vlm_folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert "no image-text-to-text model" in refused(VlmJudge(weights=str(tmp_path)))


def nothing(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def a_broken_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not a tensor")


def no_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def a_layer_too_few(folder: Path) -> None:
    """A layer of Llama has 4 matrices of attention, 3 of its MLP and 2 norms."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


def no_images(folder: Path) -> None:
    (folder / "processor_config.json").unlink()


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (nothing, "the folder holds no image-text-to-text model with its processor that can be read"),
        (a_broken_file, "the folder holds no image-text-to-text model with its processor that can be read"),
        (no_config, "the folder holds no image-text-to-text model with its processor that can be read"),
        (a_layer_too_few, "9 of its parameters are missing"),
        (no_images, ""),
        (no_template, "has no chat template"),
    ],
)
def test_incomplete_model_folders_are_refused(
    own_vlm_folder: Path, damage: Callable[[Path], None], reason: str
) -> None:
    ask(VlmJudge(weights=str(own_vlm_folder), dtype="float32"))
    damage(own_vlm_folder)
    assert reason in refused(VlmJudge(weights=str(own_vlm_folder), dtype="float32"))
