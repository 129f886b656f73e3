"""HunyuanVideo's second text input, CLIP's embedding of the caption, against diffusers' pipeline."""

import shutil
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
import torch
from diffusers import HunyuanVideoPipeline
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vtok.common.errors import UserError
from vtok.decoder import HunyuanVideoDecoder
from vtok.hub import toys

DIM, WIDTH = 16, 8
MASK = torch.ones(2, 4, dtype=torch.bool)
# The second is longer than what CLIP reads.
CAPTIONS = ["a red circle", "a blue square moves far to the left " * 9]


def small_tokenizer(letters: str = ascii_lowercase) -> CLIPTokenizer:
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])


def small_text_encoder(width: int = WIDTH) -> CLIPTextModel:
    torch.manual_seed(1)
    # Its dropout would show, were it not in eval mode.
    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_dropout=0.5,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )
    return CLIPTextModel(config).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hunyuan")
    torch.manual_seed(0)
    pipeline = toys.hunyuan_video(text_dim=DIM)
    pipeline.register_modules(text_encoder_2=small_text_encoder(), tokenizer_2=small_tokenizer())
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> HunyuanVideoPipeline:
    made = HunyuanVideoPipeline.from_pretrained(folder, text_encoder=None, tokenizer=None)
    made.set_progress_bar_config(disable=True)
    return made


def make(folder: Path, **settings: Any) -> HunyuanVideoDecoder:
    sizes = dict(dtype="float32", num_frames=5, size=32, condition_dropout=0.0, pooled="clip_text")
    return HunyuanVideoDecoder(DIM, weights=folder, **{**sizes, **settings})


def conditions() -> Tensor:
    return torch.randn(2, 4, DIM, generator=torch.Generator().manual_seed(1))


def test_captions_are_embedded_as_the_pipeline_does(folder: Path, pipeline: HunyuanVideoPipeline) -> None:
    decoder = make(folder).train()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = decoder.pooled(conditions(), CAPTIONS)
        nothing = decoder.pooled(conditions(), None)
    with torch.no_grad():
        assert torch.equal(pooled, pipeline._get_clip_prompt_embeds(CAPTIONS))
        assert torch.equal(nothing, pipeline._get_clip_prompt_embeds(["", ""]))
    assert (pooled[0] - pooled[1]).abs().max() > 0.1
    assert not pooled.requires_grad


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_is_the_pipelines_own(folder: Path, pipeline: HunyuanVideoPipeline, guidance: float) -> None:
    condition = conditions()
    settings: dict[str, Any] = dict(seeds=[5, 6], steps=3, guidance=guidance)
    decoder = make(folder, vae_slicing=False)
    made = decoder.sample(condition, MASK, captions=CAPTIONS, **settings)
    with torch.no_grad():
        pooled, nothing = (pipeline._get_clip_prompt_embeds(texts) for texts in (CAPTIONS, ["", ""]))
    expected = pipeline(
        prompt_embeds=condition,
        prompt_attention_mask=MASK,
        pooled_prompt_embeds=pooled,
        negative_prompt_embeds=torch.zeros_like(condition),
        negative_prompt_attention_mask=MASK,
        negative_pooled_prompt_embeds=nothing,
        generator=[torch.Generator().manual_seed(seed) for seed in (5, 6)],
        true_cfg_scale=guidance,
        guidance_scale=6.0,
        num_frames=5,
        height=32,
        width=32,
        num_inference_steps=3,
        output_type="pt",
    ).frames
    # The same latents to the bit; the VAE's convolutions differ in the last one by where in memory its weights lie.
    assert (made.int() - (expected * 255).round().int()).abs().max() <= 1
    assert (made.int() - decoder.sample(condition, MASK, **settings).int()).abs().max() > 3


def test_the_loss_is_at_the_captions(folder: Path, clips: Tensor, known_noise: Callable) -> None:
    noise = torch.randn((2, 4, 2, 4, 4), generator=torch.Generator().manual_seed(3))
    known_noise(noise, [0.3, 0.8])
    decoder, condition = make(folder), conditions()
    with torch.no_grad():
        clean = decoder.to_latents(clips)
        sigma = torch.tensor([0.3, 0.8]).view(2, 1, 1, 1, 1)

        def expected(condition: Tensor, captions: list[str]) -> Tensor:
            found = decoder.transformer(
                (1 - sigma) * clean + sigma * noise,
                timestep=torch.tensor([300.0, 800.0]),
                encoder_hidden_states=condition,
                encoder_attention_mask=MASK,
                pooled_projections=decoder.pooled(condition, captions),
                guidance=torch.tensor([6000.0, 6000.0]),
            ).sample
            return (found - (noise - clean)).square().mean()

        given, blank = expected(condition, CAPTIONS), expected(condition, ["", ""])
        torch.testing.assert_close(decoder.loss(clips, condition, MASK, captions=CAPTIONS), given)
        torch.testing.assert_close(decoder.loss(clips, condition, MASK), blank)
        assert (given - blank).abs() > 1e-5
        # Where the condition is left out, so is the caption, which is what guidance leads away from.
        decoder.condition_dropout = 1.0
        nothing = expected(torch.zeros_like(condition), ["", ""])
        torch.testing.assert_close(decoder.loss(clips, condition, MASK, captions=CAPTIONS), nothing)


def test_the_text_encoder_is_frozen_float32_and_in_eval_mode(folder: Path, clips: Tensor) -> None:
    decoder = make(folder, dtype="bfloat16", frozen=False).train()
    assert decoder.clip_text is not None
    assert {one.dtype for one in decoder.clip_text.parameters()} == {torch.float32}
    assert not any(module.training for module in decoder.clip_text.modules())
    decoder.loss(clips, conditions(), MASK, captions=CAPTIONS).backward()
    assert all(one.grad is None for one in decoder.clip_text.parameters())
    assert not any(name.startswith("clip_text.") for name, one in decoder.named_parameters() if one.requires_grad)


def test_it_is_123_million_parameters_and_none_by_default(folder: Path) -> None:
    with torch.device("meta"):
        without, decoder = (
            HunyuanVideoDecoder(4096, weights=None),
            HunyuanVideoDecoder(4096, weights=None, pooled="clip_text"),
        )
    more = sum(one.numel() for one in decoder.parameters()) - sum(one.numel() for one in without.parameters())
    assert more == 123_060_480
    assert make(folder, pooled="zeros").clip_text is None


def test_weights_without_it_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    instead = r"Set decoder\.pooled=zeros, or decoder\.weights to a folder with text_encoder_2/ and tokenizer_2/\.$"
    for part in ("text_encoder_2", "tokenizer_2"):
        copy = tmp_path / part
        shutil.copytree(folder, copy)
        shutil.rmtree(copy / part)
        with pytest.raises(UserError, match=rf"^decoder\.weights=.*no CLIP text encoder.*{instead}") as error:
            make(copy)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=rf"^decoder\.weights=null: .*{instead}"):
        HunyuanVideoDecoder(DIM, weights=None, pooled="clip_text")
    with pytest.raises(UserError, match=r"^decoder\.pooled=clip: it must be zeros or clip_text\.$"):
        make(folder, pooled="clip")


def test_parts_that_do_not_fit_each_other(folder: Path, tmp_path: Path) -> None:
    wide, other = tmp_path / "wide", tmp_path / "other"
    shutil.copytree(folder, wide)
    small_text_encoder(width=12).save_pretrained(wide / "text_encoder_2")
    with pytest.raises(UserError, match=r"^decoder\.pooled=clip_text: .*width 12, .*needs 8\. Use decoder\.pooled="):
        make(wide)
    shutil.copytree(folder, other)
    small_tokenizer("abc").save_pretrained(other / "tokenizer_2")
    with pytest.raises(UserError, match=r"tokenizer_2/ has 8 tokens, text_encoder_2/ has 54"):
        make(other)
