"""Wan as the decoder, on small models of its classes, against diffusers itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vtok.common.errors import UserError
from vtok.decoder import WanDecoder
from vtok.hub import toys

DIM, TEXT_DIM, TEXT_LENGTH, LENGTHS = 10, 12, 9, [4, 2]
LATENTS = (2, 16, 2, 4, 4)  # of the clips
MASK = torch.arange(4) < torch.tensor(LENGTHS).unsqueeze(1)
KINDS: dict[str, dict[str, Any]] = {
    "2.1": {},
    "2.2 5B": {"expand_timesteps": True},
    "2.2 A14B": {"boundary_ratio": 0.875},
}


def small_pipeline(kind: str) -> WanPipeline:
    torch.manual_seed(0)
    # The VAE's dropout would show in what is encoded, were it not in eval mode.
    return toys.wan(text_dim=TEXT_DIM, vae_dropout=0.5, **KINDS[kind])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = {kind: tmp_path_factory.mktemp("wan") for kind in KINDS}
    for kind, path in paths.items():
        small_pipeline(kind).save_pretrained(path)
    return paths


@pytest.fixture(scope="module")
def folder(folders: dict[str, Path]) -> Path:
    return folders["2.1"]


@pytest.fixture
def stock_text(tmp_path: Path) -> Path:
    save_file({"prompt_embeds": torch.randn(3, TEXT_DIM)}, tmp_path / "text.safetensors")
    return tmp_path / "text.safetensors"


def make(folder: Path, **settings: Any) -> WanDecoder:
    torch.manual_seed(4)
    sizes = dict(dtype="float32", num_frames=5, size=32, text_length=TEXT_LENGTH, adapter_width=8)
    return WanDecoder(DIM, weights=folder, **{**sizes, "condition_dropout": 0.0, **settings})


def conditions() -> Tensor:
    return torch.randn(2, 4, DIM, generator=torch.Generator().manual_seed(1))


def noise_of() -> Tensor:
    return torch.randn(LATENTS, generator=torch.Generator().manual_seed(3))


def replaced(decoder: WanDecoder, condition: Tensor) -> Tensor:
    """The adapter by hand, and zeros up to the text's length."""
    adapter = decoder.adapter
    hidden = F.gelu(adapter.mlp[0](F.layer_norm(condition, (DIM,), adapter.norm.weight, adapter.norm.bias)))
    text = adapter.mlp[2](hidden) * adapter.scale * MASK.unsqueeze(-1)
    return torch.cat([text, torch.zeros(2, TEXT_LENGTH - 4, TEXT_DIM)], dim=1).detach()


@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(
    folder: Path, clips: Tensor, known_noise: Callable, frozen: bool
) -> None:
    known_noise(noise_of(), [0.3, 0.8])
    found = []
    for checkpointing in (False, True):
        decoder = make(folder, frozen=frozen, gradient_checkpointing=checkpointing).train()
        calls: list[int] = []
        block = decoder.transformer.blocks[0]
        block.attn1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        condition = conditions().requires_grad_()
        decoder.loss(clips, condition, MASK).backward()
        assert len(calls) == 1 + checkpointing
        trained = {name: one.grad for name, one in decoder.named_parameters() if one.grad is not None}
        found.append({"condition": condition.grad} | trained)
    assert found[0].keys() == found[1].keys()
    assert frozen or any(name.startswith("transformer.") for name in found[0])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=0)


def by_the_pipeline(folder: Path, text: Tensor, negative: Tensor | None = None, guidance: float = 1.0) -> Tensor:
    pipeline = WanPipeline.from_pretrained(folder, tokenizer=None, text_encoder=None)
    pipeline.set_progress_bar_config(disable=True)
    video = pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=negative,
        generator=[torch.Generator().manual_seed(seed) for seed in (5, 6)],
        guidance_scale=guidance,
        num_frames=5,
        height=32,
        width=32,
        num_inference_steps=4,
        output_type="pt",
    ).frames
    return (video * 255).round().to(torch.uint8)


def grey_levels(one: Tensor, other: Tensor) -> int:
    """How far two videos are apart; the last bit of a float32 sum depends on where its numbers lie in memory."""
    return int((one.int() - other.int()).abs().max())


@pytest.mark.parametrize(("kind", "guidance"), [("2.1", 3.0), ("2.2 5B", 1.0), ("2.2 A14B", 1.0)])
def test_sampling_is_the_pipelines_own(folders: dict[str, Path], kind: str, guidance: float) -> None:
    decoder, condition = make(folders[kind], vae_slicing=False), conditions()
    made = decoder.sample(condition, MASK, seeds=[5, 6], steps=4, guidance=guidance)
    text, nothing = replaced(decoder, condition), replaced(decoder, torch.zeros_like(condition))
    assert (made.shape, made.dtype) == ((2, 5, 3, 32, 32), torch.uint8)
    assert grey_levels(made, by_the_pipeline(folders[kind], text, nothing, guidance)) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_error_of_the_velocity(
    folders: dict[str, Path], kind: str, clips: Tensor, known_noise: Callable
) -> None:
    decoder, condition, noise, sigmas = make(folders[kind]), conditions(), noise_of(), [0.9, 0.8]
    known_noise(noise, sigmas)
    vae = AutoencoderKLWan.from_pretrained(folders[kind], subfolder="vae").eval()
    # 0.875 of the way to noise and above is the first expert's.
    second = "transformer_2" if kind == "2.2 A14B" else "transformer"
    experts = [WanTransformer3DModel.from_pretrained(folders[kind], subfolder=name) for name in ("transformer", second)]
    text = replaced(decoder, condition)
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    errors = []
    for row, (expert, sigma) in enumerate(zip(experts, sigmas, strict=True)):
        with torch.no_grad():
            pixels = clips[row : row + 1].transpose(1, 2).double() / 255 * 2 - 1
            clean = (vae.encode(pixels.float()).latent_dist.mean - mean) / std
            predicted = expert(
                sigma * noise[row : row + 1] + (1 - sigma) * clean,
                timestep=torch.full((1, 2 * 2 * 2) if kind == "2.2 5B" else (1,), 1000 * sigma),
                encoder_hidden_states=text[row : row + 1],
            ).sample
        errors.append((predicted - (noise[row : row + 1] - clean)).square().mean())
    # Each alone, too, so that rows are not mixed up between the experts, and padding does not enter.
    torch.testing.assert_close(decoder.loss(clips, condition, MASK), torch.stack(errors).mean(), atol=1e-5, rtol=1e-5)
    for row, error in enumerate(errors):
        known_noise(noise[row : row + 1], [sigmas[row]])
        one = slice(row, row + 1)
        alone = decoder.loss(clips[one], condition[one, : LENGTHS[row]], MASK[one, : LENGTHS[row]])
        torch.testing.assert_close(alone, error, atol=1e-5, rtol=1e-5)
    assert torch.equal(decoder.schedule.sigmas, FlowMatchEulerDiscreteScheduler(shift=5.0).sigmas)


@pytest.mark.parametrize("with_text", [True, False])
def test_append_is_stock_wan_at_step_0_and_learns_from_there(
    folder: Path, stock_text: Path, clips: Tensor, with_text: bool
) -> None:
    decoder = make(folder, mode="append", stock_text=stock_text if with_text else None, vae_slicing=False)
    condition = conditions().requires_grad_()
    stock = torch.zeros(2, TEXT_LENGTH, TEXT_DIM)
    stock[:, : len(decoder.stock)] = decoder.stock
    assert len(decoder.stock) == (3 if with_text else 0)
    made = decoder.sample(condition, MASK, seeds=[5, 6], steps=4, guidance=1.0)
    assert grey_levels(made, by_the_pipeline(folder, stock)) <= 1
    time = torch.tensor([300.0, 800.0])
    here = decoder.velocity(noise_of(), time, condition, MASK)
    there = decoder.transformer(noise_of(), timestep=time, encoder_hidden_states=stock).sample
    assert torch.equal(here, there)
    optimiser = torch.optim.SGD([p for p in decoder.parameters() if p.requires_grad], lr=0.1)
    decoder.loss(clips, condition, MASK).backward()
    optimiser.step()
    assert decoder.adapter.scale.item() != 0
    text = decoder.text(condition, MASK)
    assert torch.equal(text[:, : len(decoder.stock)], decoder.stock.expand(2, -1, -1))
    assert (text[0, len(decoder.stock) : len(decoder.stock) + 4].abs().sum(1) > 0).all()
    decoder.loss(clips, condition, MASK).backward()
    assert condition.grad is not None
    assert (condition.grad[MASK].abs().sum(1) > 0).all()


@pytest.mark.parametrize("kind", ["2.1", "2.2 A14B"])
def test_frozen_is_frozen_and_passes_gradient_to_its_condition(
    folders: dict[str, Path], kind: str, clips: Tensor, known_noise: Callable
) -> None:
    decoder = make(folders[kind], condition_dropout=0.5)
    for module in decoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    known_noise(noise_of(), [0.9, 0.8])
    parts = nn.ModuleList([decoder.vae, *decoder.transformers])
    assert len(parts) == (3 if kind == "2.2 A14B" else 2)
    before = {name: tensor.clone() for name, tensor in [*parts.named_parameters(), *parts.named_buffers()]}
    condition = conditions().requires_grad_()
    optimiser = torch.optim.AdamW([*(p for p in decoder.parameters() if p.requires_grad), condition], lr=0.1)
    for _ in range(2):
        decoder.train()
        optimiser.zero_grad()
        decoder.loss(clips, condition, MASK).backward()
        optimiser.step()
    assert not any(module.training for part in parts for module in part.modules())
    now = dict([*parts.named_parameters(), *parts.named_buffers()])
    assert before.keys() == now.keys()
    assert all(torch.equal(before[name], now[name]) for name in now)
    assert all(p.grad is not None for p in (*decoder.adapter.parameters(), decoder.nothing))
    decoder.condition_dropout, condition.grad = 0.0, None
    decoder.loss(clips, condition, MASK).backward()
    assert condition.grad is not None
    assert (condition.grad[MASK].abs().sum(1) > 0).all()
    assert (condition.grad[~MASK] == 0).all()
    state = torch.get_rng_state()
    decoder.to_latents(clips)
    decoder.velocity(noise_of(), torch.tensor([300.0, 900.0]), condition, MASK)
    assert torch.equal(state, torch.get_rng_state())


def test_random_weights_are_wan_2_2_5b_and_said_out_loud(caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        decoder = WanDecoder(4096, weights=None)
    assert "RANDOM weights" in caplog.text
    assert decoder.expand_timesteps
    assert decoder.latent_shape == (48, 5, 20, 20)
    assert sum(p.numel() for p in decoder.transformer.parameters()) == pytest.approx(5.0e9, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_frames": 7}, r"^decoder\.num_frames=7: .*4k \+ 1 frames\. Use 5\.$"),
        ({"size": 40}, r"^decoder\.size=40: .*a multiple of 16"),
        ({"mode": "prepend"}, r"^decoder\.mode=prepend: it must be replace or append"),
        ({"stock_text": "a"}, r"^decoder\.stock_text=a: .*decoder\.mode=append"),
        ({"stock_text": "/nowhere/a", "mode": "append"}, r"^decoder\.stock_text=/nowhere/a: .*\(n, 12\)"),
        ({"weights": "/nowhere/wan"}, r"^decoder\.weights=/nowhere/wan: there is no such.*decoder\.weights=null"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder: Path, settings: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        make(**{"folder": settings.pop("weights", folder), **settings})
    assert "\n" not in str(error.value)


def test_a_condition_longer_than_the_text_is_refused(folder: Path, stock_text: Path) -> None:
    decoder = make(folder, mode="append", stock_text=stock_text, text_length=6)
    with pytest.raises(UserError, match=r"^decoder\.text_length=6: .* 4 tokens and the stock text 3\. Use 7 or more"):
        decoder.text(conditions(), MASK)


def test_a_model_that_wants_a_first_frame_is_refused(tmp_path: Path) -> None:
    pipeline = small_pipeline("2.1")
    pipeline.register_modules(transformer=toys.wan_transformer(text_dim=TEXT_DIM, in_channels=36))
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^decoder\.weights=.*not a text-to-video model"):
        make(tmp_path)
