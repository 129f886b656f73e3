"""HunyuanVideo as the decoder, on small models of its classes, against diffusers itself."""

import json
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from torch import Tensor, nn

from vtok.common.errors import UserError
from vtok.data.plan import TargetPlan
from vtok.decoder import HunyuanVideoDecoder
from vtok.hub import toys

DIM, LENGTHS = 16, [4, 2]
LATENTS = (2, 4, 2, 4, 4)  # of the clips
MASK = torch.arange(4) < torch.tensor(LENGTHS).unsqueeze(1)


def small_pipeline(*, guidance_embeds: bool = True) -> HunyuanVideoPipeline:
    torch.manual_seed(0)
    return toys.hunyuan_video(text_dim=DIM, guidance_embeds=guidance_embeds)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hunyuan")
    small_pipeline().save_pretrained(path)
    return path


def make(folder: Path, condition_dim: int = DIM, **settings: Any) -> HunyuanVideoDecoder:
    sizes = dict(dtype="float32", num_frames=5, size=32, condition_dropout=0.0)
    return HunyuanVideoDecoder(condition_dim, weights=folder, **{**sizes, **settings})


def conditions(dim: int = DIM) -> Tensor:
    return torch.randn(2, 4, dim, generator=torch.Generator().manual_seed(1))


def noise_of(shape: tuple[int, ...] = LATENTS) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_is_the_pipelines_own(folder: Path, guidance: float) -> None:
    decoder, condition = make(folder, vae_slicing=False), conditions()
    decoder.loss(torch.zeros(2, 5, 3, 32, 32, dtype=torch.uint8), condition, MASK)
    made = decoder.sample(condition, MASK, seeds=[5, 6], steps=3, guidance=guidance)
    pipeline = HunyuanVideoPipeline.from_pretrained(
        folder, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None
    )
    pipeline.set_progress_bar_config(disable=True)
    negative = dict(
        negative_prompt_embeds=torch.zeros_like(condition),
        negative_prompt_attention_mask=MASK,
        negative_pooled_prompt_embeds=torch.zeros(2, 8),
    )
    expected = pipeline(
        prompt_embeds=condition,
        prompt_attention_mask=MASK,
        pooled_prompt_embeds=torch.zeros(2, 8),
        **negative,
        generator=[torch.Generator().manual_seed(seed) for seed in (5, 6)],
        true_cfg_scale=guidance,
        guidance_scale=6.0,
        num_frames=5,
        height=32,
        width=32,
        num_inference_steps=3,
        output_type="pt",
    ).frames
    assert (made.shape, made.dtype) == ((2, 5, 3, 32, 32), torch.uint8)
    # The last bit of a float32 sum depends on where the processor finds the weights in memory.
    assert (made.int() - (expected * 255).round().int()).abs().max() <= 1
    # A video is its seed's and its condition's, whatever is beside it.
    alone = decoder.sample(condition[1:, :2], MASK[1:, :2], seeds=[6], steps=3, guidance=guidance)
    assert (alone[0].int() - made[1].int()).abs().max() <= 1


@pytest.mark.parametrize("guidance_embeds", [True, False])
def test_the_loss_is_the_error_of_the_velocity(
    folder: Path, tmp_path: Path, clips: Tensor, known_noise: Callable, guidance_embeds: bool
) -> None:
    if not guidance_embeds:
        small_pipeline(guidance_embeds=False).save_pretrained(folder := tmp_path)
    decoder, condition, noise, sigmas = make(folder, embedded_guidance=4.0), conditions(), noise_of(), [0.3, 0.8]
    known_noise(noise, sigmas)
    vae = AutoencoderKLHunyuanVideo.from_pretrained(folder, subfolder="vae")
    transformer = HunyuanVideoTransformer3DModel.from_pretrained(folder, subfolder="transformer")
    with torch.no_grad():
        pixels = clips.permute(0, 2, 1, 3, 4).double() / 255 * 2 - 1
        clean = vae.encode(pixels.float()).latent_dist.mean * 0.476986
        sigma = torch.tensor(sigmas).view(2, 1, 1, 1, 1)
        predicted = transformer(
            sigma * noise + (1 - sigma) * clean,
            timestep=torch.tensor([300.0, 800.0]),
            encoder_hidden_states=condition,
            encoder_attention_mask=MASK,
            pooled_projections=torch.zeros(2, 8),
            guidance=torch.tensor([4000.0, 4000.0]),
        ).sample
    expected = (predicted - (noise - clean)).square().mean()
    torch.testing.assert_close(decoder.loss(clips, condition, MASK), expected, atol=1e-5, rtol=1e-5)
    # The scheduler's own noise levels: shift 7.
    assert torch.equal(decoder.schedule.sigmas, FlowMatchEulerDiscreteScheduler(shift=7.0).sigmas)


def test_a_samples_loss_is_its_loss_alone(folder: Path, clips: Tensor, known_noise: Callable) -> None:
    decoder, condition, noise = make(folder), conditions(), noise_of()
    condition[1, 2:] = 100.0
    known_noise(noise, [0.3, 0.8])
    together = decoder.loss(clips, condition, MASK)
    alone = []
    for row, (length, sigma) in enumerate(zip(LENGTHS, [0.3, 0.8], strict=True)):
        known_noise(noise[row : row + 1], [sigma])
        alone.append(
            decoder.loss(clips[row : row + 1], condition[row : row + 1, :length], MASK[row : row + 1, :length])
        )
    torch.testing.assert_close(together, torch.stack(alone).mean(), atol=1e-5, rtol=0)


def test_frozen_is_frozen_and_passes_gradient_to_its_condition(folder: Path, clips: Tensor) -> None:
    decoder = make(folder, condition_dim=10, condition_dropout=0.5)
    for module in decoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    parts = nn.ModuleList([decoder.vae, decoder.transformer])
    before = {name: tensor.clone() for name, tensor in [*parts.named_parameters(), *parts.named_buffers()]}
    condition = conditions(10).requires_grad_()
    optimiser = torch.optim.AdamW([*(p for p in decoder.parameters() if p.requires_grad), condition], lr=0.1)
    for _ in range(2):
        decoder.train()
        optimiser.zero_grad()
        decoder.loss(clips, condition, MASK).backward()
        optimiser.step()
    assert not any(module.training for part in parts for module in part.modules())
    assert decoder.adapter.training
    now = dict([*parts.named_parameters(), *parts.named_buffers()])
    assert before.keys() == now.keys()
    assert all(torch.equal(before[name], now[name]) for name in now)
    assert all(p.grad is not None for p in (*decoder.adapter.parameters(), decoder.nothing))
    decoder.condition_dropout = 0.0
    condition.grad = None
    decoder.loss(clips, condition, MASK).backward()
    assert condition.grad is not None
    assert (condition.grad[MASK].abs().sum(1) > 0).all()
    assert (condition.grad[~MASK] == 0).all()
    state = torch.get_rng_state()
    decoder.to_latents(clips)
    decoder.velocity(noise_of(), torch.tensor([300.0, 800.0]), condition, MASK)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(
    folder: Path, clips: Tensor, known_noise: Callable, frozen: bool
) -> None:
    known_noise(noise_of(), [0.3, 0.8])
    found = []
    for checkpointing in (False, True):
        decoder = make(folder, frozen=frozen, gradient_checkpointing=checkpointing).train()
        calls: list[int] = []
        block = decoder.transformer.transformer_blocks[0]
        block.attn.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        condition = conditions().requires_grad_()
        decoder.loss(clips, condition, MASK).backward()
        assert len(calls) == 1 + checkpointing
        trained = {name: one.grad for name, one in decoder.named_parameters() if one.grad is not None}
        found.append({"condition": condition.grad} | trained)
    assert found[0].keys() == found[1].keys()
    assert frozen or any(name.startswith("transformer.") for name in found[0])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=0)


def test_unfrozen_the_transformer_is_trained_and_the_vae_is_not(folder: Path, clips: Tensor) -> None:
    decoder = make(folder, frozen=False, gradient_checkpointing=False).train()
    assert decoder.transformer.training
    assert not decoder.vae.training
    decoder.loss(clips, conditions(), MASK).backward()
    assert any(p.grad is not None for p in decoder.transformer.parameters())
    assert all(p.grad is None for p in decoder.vae.parameters())


def test_the_condition_enters_as_it_is_where_it_is_as_wide_as_the_text(folder: Path) -> None:
    decoder = make(folder, vae_tiling=True, condition_dropout=0.1)
    assert isinstance(decoder.adapter, nn.Identity)
    assert (decoder.vae.use_tiling, decoder.vae.use_slicing) == (True, True)
    assert decoder.transformer.is_gradient_checkpointing
    assert decoder.target == TargetPlan(num_frames=5, size=32)
    assert [name for name, p in decoder.named_parameters() if p.requires_grad] == ["nothing"]


def test_dtypes_and_shift(folder: Path) -> None:
    decoder = make(folder, dtype="bfloat16", shift=3.0)
    assert (decoder.transformer.dtype, decoder.vae.dtype) == (torch.bfloat16, torch.float32)
    assert decoder.scheduler.config.shift == decoder.schedule.config.shift == 3.0
    made = decoder.sample(conditions().bfloat16(), MASK, seeds=[1, 2], steps=1, guidance=1.0)
    assert made.dtype == torch.uint8


def test_random_weights_are_of_13_billion_parameters_and_said_out_loud(caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"), caplog.at_level(logging.WARNING):
        decoder = HunyuanVideoDecoder(4096, weights=None)
    assert "RANDOM weights" in caplog.text
    assert {p.dtype for p in decoder.transformer.parameters()} == {torch.bfloat16}
    assert sum(p.numel() for p in decoder.transformer.parameters()) == pytest.approx(12.8e9, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_frames": 6}, r"^decoder\.num_frames=6: .*4k \+ 1 frames\. Use 5\.$"),
        ({"size": 24}, r"^decoder\.size=24: .*a multiple of 16"),
        ({"dtype": "float8"}, r"^decoder\.dtype=float8: .*bfloat16"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder: Path, settings: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(folder, **settings)


def test_guidance_below_1_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^generation\.guidance=0\.5"):
        make(folder).sample(conditions(), MASK, seeds=[1, 2], steps=1, guidance=0.5)


def test_no_network_and_no_weights_is_one_quick_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        HunyuanVideoDecoder(DIM, weights="vtok-tests/a-model-that-no-cache-holds")
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert message.startswith("decoder.weights=vtok-tests/a-model-that-no-cache-holds: ")
    assert "decoder.weights=PATH" in message
    assert "decoder.weights=null" in message
    assert "\n" not in message


def test_a_folder_with_a_part_missing_or_of_another_kind(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^decoder\.weights=.*no HunyuanVideo that can be read"):
        make(tmp_path)
    pipeline = small_pipeline()
    pipeline.save_pretrained(tmp_path)
    config = tmp_path / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_layers": 2}))
    with pytest.raises(UserError, match="of its parameters are missing"):
        make(tmp_path)
