"""`vtok plan` against the model that is really built, and against what an optimiser really keeps."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from vtok.cli.main import main
from vtok.cli.verbs.plan import measure_components, plan
from vtok.common import weights as weights_lookup
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.hub import toys
from vtok.hub.toys import make_toys
from vtok.model.build import build_model, build_optimiser
from vtok.model.memory import Memory
from vtok.model.without_weights import model_without_weights

SMALL = ["backbone.width=8", "backbone.feature_dim=16", "mllm.width=32", "mllm.layers=1", "mllm.heads=2"]


@pytest.mark.parametrize(
    "optimiser",
    [
        "adamw",
        "muon",
        "adafactor",
        "sgd",
        pytest.param("adamw8bit", marks=pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="not installed")),
    ],
)
def test_the_plan_matches_the_built_model_and_its_optimiser_state(optimiser: str) -> None:
    overrides = [*SMALL, f"optimiser={optimiser}", "objective=joint", "trainer.ema_decay=0.9", "backbone.frozen=true"]
    model, notes = model_without_weights(compose(overrides))
    assert all(parameter.is_meta for parameter in model.parameters())
    parts, more = measure_components(compose(overrides), model)
    assert notes == more == []

    real = build_model(compose(overrides))
    built = build_optimiser(compose(overrides), real)
    trained = [parameter for parameter in real.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    built.step()
    # The map from codes to numbers is one for all parameters.
    kept = [
        value
        for state in built.state.values()
        for name, value in state.items()
        if name != "step" and not name.startswith("qmap")
    ]
    whole = sum((part.memory for part in parts), Memory())
    assert whole.weights == whole.gradients == whole.average == 4 * sum(one.numel() for one in trained)
    assert whole.optimiser == sum(value.numel() * value.element_size() for value in kept)
    frozen = [one for one in (*real.parameters(), *real.buffers()) if not one.requires_grad]
    assert whole.frozen == sum(one.numel() * one.element_size() for one in frozen)
    by_name = {part.name: part for part in parts}
    assert by_name["backbone"].trained == 0
    assert by_name["backbone"].frozen == sum(one.numel() for one in real.tokeniser.backbone.parameters())
    assert by_name["phi_vis"].trained == sum(one.numel() for one in real.projector.parameters())


def test_weights_of_16_bits_are_not_trained() -> None:
    """Those of a component that has no schema here, too."""
    config = compose([*SMALL])
    model, _ = model_without_weights(config)
    model.mllm.to(torch.bfloat16)
    with pytest.raises(UserError, match=r"^mllm\..* is trained in bfloat16, .* to float32, or freeze it\.$"):
        measure_components(config, model)
    model.mllm.requires_grad_(False)
    part = next(part for part in measure_components(config, model)[0] if part.name == "mllm")
    assert part.memory == Memory(frozen=2 * part.frozen + sum(one.nbytes for one in model.mllm.buffers()))


def test_a_text_encoder_is_counted_and_offloaded_modules_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    decoder = [
        "objective=joint",
        "decoder=hunyuan_video",
        "generation/judge=own",
        "clip.num_frames=17",
        "mllm.layers=3",
    ]
    frozen = {}
    for pooled in ("zeros", "clip_text"):
        settings = [*decoder, f"decoder.pooled={pooled}", f"decoder.offload={str(pooled == 'clip_text').lower()}"]
        assert main(["plan", *settings]) == 0
        shown = capsys.readouterr().out
        line = next(line for line in shown.splitlines() if line.startswith("decoder "))
        frozen[pooled] = int(line.split()[2].replace(",", ""))
        assert ("decoder.offload=true: " in shown) == (pooled == "clip_text")
    assert frozen["clip_text"] - frozen["zeros"] == 123_060_480
    # The VAE's 246 million parameters and CLIP's 123 million, float32.
    assert "decoder.offload=true: 1.48 GB of the decoder are on the GPU only while they are used." in shown


def test_weights_are_not_looked_up(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("weights were initialised or looked up")

    monkeypatch.setattr("vtok.backbone.clip.load", refuse)
    monkeypatch.setattr(nn.Module, "to_empty", refuse)
    assert main(["plan", "backbone=clip", "clip.num_frames=121", "tokeniser.stride=4", *SMALL[2:]]) == 0
    shown = capsys.readouterr()
    assert "303,505,408" in shown.out
    assert "46 a clip" in shown.out
    assert "openai/clip-vit-large-patch14-336: not looked up. The architecture is that of" in shown.out
    assert all(f"\n{number} GPU" in shown.out for number in (1, 2, 4, 8))
    assert shown.err == ""


def test_the_architecture_of_a_folder_is_counted(tmp_path: Path) -> None:
    from transformers import Dinov2Config

    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=42, patch_size=14)
    config.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    settings = ["backbone=vision", "backbone.image_size=56", f"backbone.weights={tmp_path}"]
    model, notes = model_without_weights(compose([*settings, *SMALL[2:]]))
    assert model.tokeniser.backbone.feature_dim == 32
    assert notes == [f"backbone.weights={tmp_path}: no weights were read. The architecture is that of the folder."]

    # Where config.json is of something else, the component's own architecture is counted, and it is said.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    model, notes = model_without_weights(compose([*settings, *SMALL[2:]]))
    assert model.tokeniser.backbone.feature_dim == 1024
    assert notes[0].startswith(f"backbone.weights={tmp_path}: not looked up")


def save_language_model(folder: Path) -> Path:
    words = toys.tokenizer()
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(words), max_position_embeddings=256, tie_word_embeddings=True, **text)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("cached", [False, True])
def test_a_language_model_is_counted_from_its_folder_or_the_local_cache(
    cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "vtok-tests/small"
    hub = tmp_path / "models--vtok-tests--small"
    folder = save_language_model(hub / "snapshots" / "abc")
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = weights_lookup.try_to_load_from_cache
    monkeypatch.setattr(
        weights_lookup,
        "try_to_load_from_cache",
        lambda name, file, revision: found(name, file, cache_dir=tmp_path, revision=revision),
    )
    settings = [*SMALL[:2], "mllm=causal_lm", "mllm.lora={rank: 4}"]
    real = build_model(compose([*settings, f"mllm.weights={folder}"]))
    (folder / "model.safetensors").unlink()
    overrides = [*settings, f"mllm.weights={name if cached else folder}"]
    model, notes = model_without_weights(compose(overrides))
    assert notes[0].endswith("no weights were read. The architecture is that of the folder.")
    shapes = {name: (one.shape, one.requires_grad) for name, one in real.named_parameters()}
    assert {name: (one.shape, one.requires_grad) for name, one in model.named_parameters()} == shapes


@pytest.mark.usefixtures("no_network")
def test_a_language_model_that_is_not_here_cannot_be_planned(tmp_path: Path) -> None:
    given = [*SMALL[:2], "mllm=causal_lm"]
    with pytest.raises(UserError, match=r"^mllm\.weights=no/where: this is neither .* Set mllm\.weights=PATH"):
        plan([*given, "mllm.weights=no/where"])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    with pytest.raises(UserError, match=r"^mllm\.weights=.* \(its model_type is dinov2\)"):
        plan([*given, f"mllm.weights={tmp_path}"])


def test_a_mistake_is_refused() -> None:
    with pytest.raises(UserError, match=r"tokeniser\.stride=99"):
        plan(["tokeniser.stride=99"])


@pytest.mark.parametrize("decoder", ["hunyuan_video", "wan"])
def test_the_architectures_of_folders_match_the_loaded_models(decoder: str, tmp_path: Path) -> None:
    make_toys(tmp_path / "toys")
    chosen = [f"decoder={decoder}", f"decoder.weights={tmp_path / 'toys' / decoder}"]
    overrides = ["recipe=paper_tiny", f"outputs={tmp_path}", *chosen, "mllm.lora={rank: 4}"]
    model, notes = model_without_weights(compose(overrides))
    assert [note.partition(": ")[2] for note in notes] == [
        "no weights were read. The architecture is that of the folder."
    ] * 3
    real = build_model(compose(overrides))
    shapes = {name: (one.shape, one.dtype, one.requires_grad) for name, one in real.named_parameters()}
    assert {name: (one.shape, one.dtype, one.requires_grad) for name, one in model.named_parameters()} == shapes
    assert all(one.is_meta for one in model.parameters())
