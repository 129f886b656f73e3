"""Toy models: small random checkpoints of the published models' classes, each in its library's format.

The code that loads the published models loads these too, in seconds and without a network.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLWan,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    WanPipeline,
    WanTransformer3DModel,
)
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from vtok.common.errors import UserError
from vtok.common.files import atomic_folder, is_free
from vtok.mllm.vocabulary import byte_level_bpe

MARKER = "toys.json"
# Increased when the checkpoints change, so that those of an older version are replaced.
VERSION = 2
# Width of the language model and of HunyuanVideo's text, which are both 4096 in the published models.
WIDTH = 64
IMAGE_TOKEN = "<image>"
LLAMA_3_SPECIALS = ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def make_toys(out: Path, *, seed: int = 0) -> list[Path]:
    """Write clip/, llava_next/, hunyuan_video/ and wan/ into the folder `out`: all of them or none.

    Toy models of the same seed that already exist are left as they are; others are replaced.

    Returns:
        The four folders.

    Raises:
        UserError: if `out` holds other files, or cannot be written.
    """
    mark = json.dumps({"seed": seed, "version": VERSION})
    folders = [out / name for name in ("clip", "llava_next", "hunyuan_video", "wan")]
    if os.path.isfile(out / MARKER):
        if (out / MARKER).read_text(encoding="utf-8") == mark:
            return folders
    elif not is_free(out):
        raise UserError(f"out={out}: this folder holds other files, which are not replaced. Use another folder.")
    with atomic_folder(out) as partial:
        write_toys(partial, seed=seed)
        (partial / MARKER).write_text(mark, encoding="utf-8")
        if out.is_dir():
            shutil.rmtree(out)
    return folders


def write_toys(folder: Path, *, seed: int) -> None:
    """Write the four checkpoints, each from the same seed; the caller's random state does not change."""
    words = tokenizer()
    makers: dict[str, Callable[[], Any]] = {
        "clip": clip,
        "llava_next": lambda: llava_next(words),
        "hunyuan_video": hunyuan_video,
        "wan": wan,
    }
    for name, make in makers.items():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            make().save_pretrained(folder / name)
    words.save_pretrained(folder / "llava_next")


def clip() -> CLIPVisionModel:
    """CLIP for images of 64 pixels: 8 x 8 patches of width 48."""
    return CLIPVisionModel(vision_config())


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=48,
        intermediate_size=96,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )


def llava_next(
    words: PreTrainedTokenizerFast, *, width: int = WIDTH, vision: CLIPVisionConfig | None = None
) -> LlavaNextForConditionalGeneration:
    """LLaVA-NeXT with a Llama of three layers, the least that HunyuanVideo's condition needs.

    Args:
        words: tokenizer with the token IMAGE_TOKEN.
        width: width of the embeddings.
        vision: configuration of the vision tower; None: that of `clip`.
    """
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    place: Any = words.convert_tokens_to_ids(IMAGE_TOKEN)
    config = LlavaNextConfig(
        vision_config=vision or vision_config(),
        text_config=text,
        image_token_index=place,
    )
    return LlavaNextForConditionalGeneration(config)


def tokenizer(
    template: str = LLAMA_3,
    *,
    begin: str = LLAMA_3_SPECIALS[0],
    end: str = LLAMA_3_SPECIALS[1],
    specials: Sequence[str] = (*LLAMA_3_SPECIALS, IMAGE_TOKEN),
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of common words, without a padding token, as LLaMA-3's.

    Args:
        template: chat template in jinja, without {% generation %} marks.
        begin: special token at the beginning of a text.
        end: special token at the end of a text.
        specials: all special tokens.
    """
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe(specials, add_prefix_space=False),
        bos_token=begin,
        eos_token=end,
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def hunyuan_video(*, text_dim: int = WIDTH, guidance_embeds: bool = True) -> HunyuanVideoPipeline:
    """HunyuanVideo with 4 latent channels, without its text encoders; `text_dim`: width of its text embeddings."""
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        guidance_embeds=guidance_embeds,
        text_embed_dim=text_dim,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    return HunyuanVideoPipeline(
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def wan(
    *,
    text_dim: int = WIDTH,
    expand_timesteps: bool = False,
    boundary_ratio: float | None = None,
    vae_dropout: float = 0.0,
) -> WanPipeline:
    """Wan without its text encoder.

    Args:
        text_dim: width of its text embeddings.
        expand_timesteps: whether each token has its own timestep, as in 2.2 5B.
        boundary_ratio: noise level below which a second expert takes over, as in 2.2 A14B; None: one expert.
        vae_dropout: dropout of the VAE.
    """
    return WanPipeline(
        tokenizer=None,
        text_encoder=None,
        transformer=wan_transformer(text_dim=text_dim),
        transformer_2=None if boundary_ratio is None else wan_transformer(text_dim=text_dim),
        vae=AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, dropout=vae_dropout),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0),
        expand_timesteps=expand_timesteps,
        boundary_ratio=boundary_ratio,
    )


def wan_transformer(*, text_dim: int = WIDTH, in_channels: int = 16) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=16,
        text_dim=text_dim,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
        rope_max_seq_len=16,
    )
