"""Every value by itself: words of which there are few, and how far numbers go."""

import math
import operator
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from vtok.config.compose import one_of
from vtok.config.nodes import data_nodes, nodes
from vtok.config.schemas import (
    Alignment,
    Augmentation,
    CausalLanguageModel,
    ClipBackbone,
    HunyuanVideoDecoder,
    LlavaNextLanguageModel,
    RegressionHead,
    Scheduler,
    ShapesData,
    Trainer,
    Vgg19Backbone,
    VisionBackbone,
    VlmJudge,
    WanDecoder,
)
from vtok.config.schemas.backbone import VGG19_LAYERS
from vtok.errors import UserError

SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)  # transformers' others take further arguments, or a metric at every step.
DTYPES = ("float32", "float16", "bfloat16")
CHOICES: dict[type, dict[str, tuple[str, ...]]] = {
    ClipBackbone: {"dtype": DTYPES},
    VisionBackbone: {"dtype": DTYPES},
    Vgg19Backbone: {"layer": VGG19_LAYERS},
    CausalLanguageModel: {"dtype": DTYPES},
    LlavaNextLanguageModel: {"dtype": DTYPES},
    ShapesData: {"level": ("easy", "hard"), "families": ("motion", "order", "count", "camera")},
    HunyuanVideoDecoder: {"dtype": DTYPES, "vae_dtype": DTYPES, "pooled": ("zeros", "clip_text")},
    WanDecoder: {"dtype": DTYPES, "vae_dtype": DTYPES, "mode": ("replace", "append")},
    RegressionHead: {"loss": ("mse", "cosine")},
    Scheduler: {"name": SCHEDULES},
    Alignment: {"score": ("token", "total", "prior")},
    VlmJudge: {"dtype": DTYPES},
    Augmentation: {"left_right": ("refuse", "keep", "flip")},
    Trainer: {"precision": ("auto", "fp32", "bf16"), "device": ("auto", "cpu"), "best_is": ("max", "min")},
}
LEAST = {
    "backbone.feature_dim": 1,
    "backbone.image_size": 1,
    "backbone.width": 8,
    "data.augmentation.max_aspect": 1,
    "data.batch_size": 1,
    "data.heldout_clips": 1,
    "data.limit": 1,
    "data.num_frames": 1,
    "data.num_workers": 0,
    "data.shuffle_buffer": 1,
    "data.train_clips": 1,
    "decoder.adapter_width": 1,
    "decoder.double_layers": 1,
    "decoder.embedded_guidance": 0,
    "decoder.heads": 1,
    "decoder.num_frames": 1,
    "decoder.patch": 1,
    "decoder.single_layers": 0,
    "decoder.size": 1,
    "decoder.sketch_channels": 1,
    "decoder.text_length": 1,
    "evaluation.batch_size": 1,
    "evaluation.max_clips": 1,
    "evaluation.sequences_at_once": 1,
    "generation.batch_size": 1,
    "generation.guidance": 0,
    "generation.max_clips": 1,
    "generation.clips_while_training": 1,
    "generation.steps": 1,
    "generation.temperature": 0,
    "evaluation.max_new_tokens": 1,
    "generation.judge.max_new_tokens": 1,
    "generation.judge.sequences_at_once": 1,
    "mllm.context_length": 1,
    "mllm.heads": 1,
    "mllm.layers": 1,
    "mllm.lora.rank": 1,
    "objective.lambda_dec": 0,
    "objective.lambda_under": 0,
    "objective.lambda_visLM": 0,
    "optimiser.d": 1,
    "scheduler.num_warmup_steps": 0,
    "tokeniser.budget": 1,
    "tokeniser.depth": 1,
    "tokeniser.fast_grid_size": 1,
    "tokeniser.grid_size": 1,
    "tokeniser.heads": 1,
    "tokeniser.motion_grid": 1,
    "tokeniser.num_queries": 1,
    "tokeniser.slow_frames": 1,
    "tokeniser.width": 1,
    "tokeniser.stride": 1,
    "tokeniser.token_dim": 1,
    "tokeniser.motion_pooling.depth": 1,
    "tokeniser.motion_pooling.heads": 1,
    "tokeniser.motion_pooling.size": 1,
    "tokeniser.motion_pooling.width": 1,
    "trainer.accumulate": 1,
    "trainer.evaluate_every": 0,
    "trainer.keep_checkpoints": 1,
    "trainer.log_every": 1,
    "trainer.max_steps": 1,
    "trainer.processes": 1,
    "trainer.profile_steps": 0,
    "trainer.questions_per_clip": 1,
    "trainer.save_every": 0,
    "visual_head.components": 1,
    "visual_head.repeats": 1,
    "visual_head.steps": 1,
    "visual_head.width": 1,
}
ABOVE_0 = (
    "data.augmentation.min_area",
    "trainer.peak_tflops",
    "data.decode_timeout",
    "data.fps",
    "data.frames_fps",
    "decoder.shift",
    "mllm.lora.alpha",
    "trainer.clip_norm",
)
FROM_0_TO_1 = (
    "data.augmentation.brightness",
    "data.augmentation.contrast",
    "data.augmentation.horizontal_flip",
    "data.augmentation.min_area",
    "data.augmentation.saturation",
    "data.max_bad_fraction",
    "decoder.condition_dropout",
    "objective.caption_dropout",
    "trainer.yes_no_share",
)
FROM_0_BELOW_1 = ("mllm.lora.dropout", "optimiser.momentum", "trainer.ema_decay")
BETWEEN_0_AND_1 = ("data.heldout_fraction",)
RATES = ("optimiser.hidden_lr", "optimiser.lr", "optimiser.weight_decay")
MOST_OF_FLOAT32 = 3.4e38
SEEDS = ("seed", "data.seed", "generation.seed")
MOST_OF_A_SEED = 2**64 - 1


def check_choices(config: DictConfig) -> None:
    """Words of which there are few; a list holds one or more of them, and null in its place means all."""
    for path, node in nodes(config):
        for key, choices in CHOICES.get(OmegaConf.get_type(node) or object, {}).items():
            value = node[key]
            if isinstance(value, ListConfig):
                # A list in the list passes the schema.
                words = [str(word) for word in value]
                wrong = [word for word in words if word not in choices]
                if wrong or not words:
                    given, hint = ",".join(words), one_of(wrong[0] if wrong else "", choices)
                    raise UserError(f"{path}.{key}=[{given}]: say one or more choices, or null for all. {hint}")
            elif value is not None and value not in choices:
                raise UserError(f"{path}.{key}={value}: there is no such choice. {one_of(value, choices)}")


def check_ranges(config: DictConfig) -> None:
    """Every number by itself."""
    rules: list[tuple[str, str, Callable[[Any], bool]]] = [
        *((key, f"{least} or more", partial(operator.le, least)) for key, least in LEAST.items()),
        *((key, "a number above 0", lambda value: value > 0) for key in ABOVE_0),
        *((key, "0 to 1", lambda value: 0 <= value <= 1) for key in FROM_0_TO_1),
        *((key, "0 or more and below 1", lambda value: 0 <= value < 1) for key in FROM_0_BELOW_1),
        *((key, "a fraction above 0 and below 1", lambda value: 0 < value < 1) for key in BETWEEN_0_AND_1),
        *((key, f"0 to {MOST_OF_FLOAT32}", lambda value: 0 <= value <= MOST_OF_FLOAT32) for key in RATES),
        *((key, "0 to 2^64 - 1", lambda value: 0 <= value <= MOST_OF_A_SEED) for key in SEEDS),
        ("optimiser.beta2_decay", "0 or less", lambda value: -math.inf < value <= 0),
    ]
    # An optimiser of a user's own may have other numbers of them.
    if is_dataclass(OmegaConf.get_type(config, "optimiser")):
        rules += [
            ("optimiser.betas", "two numbers, each 0 or more and below 1", are_betas),
            ("optimiser.eps", "a number above 0; for optimiser=adafactor two, or null and one", is_eps),
        ]
    sources = [path for path, _ in data_nodes(config) if path != "data"]
    for rule, allowed, fits in rules:
        of_sources = [rule.replace("data", path, 1) for path in sources] if rule.startswith("data.") else []
        for key in (rule, *of_sources):
            value = OmegaConf.select(config, key)
            if isinstance(value, str) or (value is not None and not fits(value)):
                raise UserError(f"{key}={value}: allowed is {allowed}.")


def are_betas(value: Any) -> bool:
    return len(value) == 2 and all(0 <= beta < 1 for beta in value)


def is_eps(value: Any) -> bool:
    """One for all elements; of Adafactor a pair, the first of which may be left to it."""
    if not isinstance(value, ListConfig):
        return 0 < value < math.inf
    return len(value) == 2 and value[1] is not None and all(one is None or 0 < one < math.inf for one in value)
