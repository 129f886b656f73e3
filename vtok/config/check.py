"""What Hydra and the schemas cannot see: extra keys, foreign targets, and values that do not fit each other.

Runs in milliseconds, before torch is loaded. Every rule reads the composed configuration and raises a UserError that
names the key, the value and what is allowed.
"""

import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.config.compose import one_of
from vtok.config.schemas import (
    OPTIONS,
    VGG19_LAYERS,
    ClipBackbone,
    Config,
    Scheduler,
    ShapesData,
    Trainer,
    Vgg19Backbone,
)
from vtok.errors import UserError
from vtok.plan import StridePlanner

ROOM_FOR_TEXT = 32
SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)  # transformers' others take further arguments, or a metric at every step.
CHOICES: dict[type, dict[str, tuple[str, ...]]] = {
    ClipBackbone: {"dtype": ("float32", "float16", "bfloat16")},
    Vgg19Backbone: {"layer": VGG19_LAYERS},
    ShapesData: {"level": ("easy", "hard")},
    Scheduler: {"name": SCHEDULES},
    Trainer: {"precision": ("auto", "fp32", "bf16"), "device": ("auto", "cpu")},
}
LEAST = {
    "backbone.feature_dim": 1,
    "backbone.width": 8,
    "data.batch_size": 1,
    "data.heldout_clips": 1,
    "data.limit": 1,
    "data.num_frames": 1,
    "data.num_workers": 0,
    "data.train_clips": 1,
    "evaluation.batch_size": 1,
    "evaluation.max_clips": 1,
    "evaluation.sequences_at_once": 1,
    "mllm.heads": 1,
    "mllm.layers": 1,
    "optimiser.lr": 0,
    "optimiser.momentum": 0,
    "scheduler.num_warmup_steps": 0,
    "tokeniser.grid_size": 1,
    "tokeniser.stride": 1,
    "tokeniser.token_dim": 1,
    "tokeniser.motion_pooling.size": 1,
    "trainer.accumulate": 1,
    "trainer.evaluate_every": 0,
    "trainer.keep_checkpoints": 1,
    "trainer.log_every": 1,
    "trainer.max_steps": 1,
    "trainer.profile_steps": 0,
    "trainer.questions_per_clip": 1,
    "trainer.save_every": 0,
}
ABOVE_0 = ("data.fps", "data.frames_fps", "trainer.clip_norm")
FROM_0_TO_1 = ("data.max_bad_fraction", "trainer.yes_no_share")
BETWEEN_0_AND_1 = ("data.heldout_fraction",)


def check(config: DictConfig, files: bool = True) -> None:
    """Refuse a configuration that cannot run.

    Args:
        config: as composed, or as loaded from a run.
        files: whether the user's clips must be there; those of a trained model may be elsewhere.

    Raises:
        UserError: the first mistake found.
    """
    check_groups(config)
    check_keys(config)
    check_targets(config)
    check_choices(config)
    check_ranges(config)
    check_pairs(config)
    check_weights(config)
    check_frames(config)
    check_grid(config)
    check_context(config)
    if files:
        check_folder(config)


def check_groups(config: DictConfig) -> None:
    """A group is chosen with a slash: `tokeniser.motion_pooling=grid` would put a word where a component belongs."""
    for group in OPTIONS:
        key = group.replace("/", ".")
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, DictConfig):
            raise UserError(
                f"{key}={value}: an option of a group is chosen by {group}=OPTION. "
                f"{one_of(str(value), list(OPTIONS[group]))}"
            )


def check_keys(config: DictConfig) -> None:
    """Keys that no component takes: `+tokeniser.typo=1` passes Hydra and the schema."""
    refuse_extra(config, "", {field.name for field in fields(Config)})
    for path, node in nodes(config):
        schema = OmegaConf.get_type(node)
        if is_dataclass(schema):
            refuse_extra(node, path, {field.name for field in fields(schema)})
        elif "_target_" in node:
            refuse_extra(node, path, signature_keys(config, str(node["_target_"])))


def check_targets(config: DictConfig) -> None:
    """A configuration names code that is run, and it may come from somebody else's checkpoint."""
    allowed = list(config.allowed_targets)
    for path, node in nodes(config):
        target = str(node.get("_target_", "vtok"))
        if target.split(".")[0] not in allowed:
            raise UserError(
                f"{path}._target_={target}: only targets of {', '.join(allowed)} are run. "
                f"If you trust it, say 'allowed_targets=[{','.join([*allowed, target.split('.')[0]])}]'."
            )


def check_choices(config: DictConfig) -> None:
    for path, node in nodes(config):
        for key, choices in CHOICES.get(OmegaConf.get_type(node) or object, {}).items():
            if node[key] not in choices:
                raise UserError(f"{path}.{key}={node[key]}: there is no such choice. {one_of(node[key], choices)}")


def check_ranges(config: DictConfig) -> None:
    """Every number by itself."""
    rules: list[tuple[str, str, Callable[[float], bool]]] = [
        *((key, f"{least} or more", partial(operator.le, least)) for key, least in LEAST.items()),
        *((key, "a number above 0", lambda value: value > 0) for key in ABOVE_0),
        *((key, "0 to 1", lambda value: 0 <= value <= 1) for key in FROM_0_TO_1),
        *((key, "a fraction above 0 and below 1", lambda value: 0 < value < 1) for key in BETWEEN_0_AND_1),
    ]
    for key, allowed, fits in rules:
        value = OmegaConf.select(config, key)
        if isinstance(value, str) or (value is not None and not fits(value)):
            raise UserError(f"{key}={value}: allowed is {allowed}.")


def check_pairs(config: DictConfig) -> None:
    """Numbers that must fit each other."""
    width, heads = OmegaConf.select(config, "mllm.width"), OmegaConf.select(config, "mllm.heads")
    if width and heads and width % (2 * heads):
        raise UserError(f"mllm.width={width}: allowed are multiples of {2 * heads}, twice mllm.heads={heads}.")
    momentum = OmegaConf.select(config, "optimiser.momentum")
    if OmegaConf.select(config, "optimiser.nesterov") and momentum == 0:
        raise UserError(
            f"optimiser.momentum={momentum}: Nesterov's momentum is above 0; for none say optimiser.nesterov=false."
        )


def check_weights(config: DictConfig) -> None:
    """Weights given as a path must be there; a hub id is looked up when it is loaded."""
    weights = OmegaConf.select(config, "backbone.weights")
    is_path = weights and (weights.startswith(("/", ".", "~")) or weights.endswith((".pth", ".pt", ".safetensors")))
    if is_path and not Path(weights).expanduser().exists():
        raise UserError(
            f"backbone.weights={weights}: nothing is there. "
            "Allowed are a local path, a hub id, or null for random weights."
        )


def check_frames(config: DictConfig) -> None:
    """The stride and the key frame against the clip."""
    num_frames = int(config.data.num_frames)
    stride = OmegaConf.select(config, "tokeniser.stride")
    longest = max(1, num_frames - 1)
    if stride is not None and stride > longest:
        raise UserError(
            f"tokeniser.stride={stride}: a clip has data.num_frames={num_frames} frames, "
            f"so that allowed are 1 to {longest}."
        )
    if (planner := planner_of(config)) is not None:
        planner.plan(num_frames)


def check_grid(config: DictConfig) -> None:
    """The grid against the feature map."""
    side, grid = feature_size(config), OmegaConf.select(config, "tokeniser.grid_size")
    if side is not None and grid is not None and grid > side:
        raise UserError(
            f"tokeniser.grid_size={grid}: the feature map of this backbone is {side} x {side}, "
            f"so that allowed are 1 to {side}."
        )


def check_context(config: DictConfig) -> None:
    """The video's tokens against the language model's context."""
    planner, context = planner_of(config), OmegaConf.select(config, "mllm.context_length")
    if planner is None or context is None:
        return
    tokens = planner.num_tokens(planner.max_frames(int(config.data.num_frames)))
    if tokens + ROOM_FOR_TEXT > context:
        raise UserError(
            f"mllm.context_length={context}: a clip makes {tokens} tokens and text needs {ROOM_FOR_TEXT} more; "
            f"say mllm.context_length={tokens + ROOM_FOR_TEXT} or more, "
            "a larger tokeniser.stride or a smaller tokeniser.grid_size."
        )


def check_folder(config: DictConfig) -> None:
    """The user's folder of clips; a data set that makes its files makes its folder too."""
    if "manifest" not in config.data:
        return
    root = Path(config.data.root).expanduser()
    if not root.exists():
        raise UserError(f"data.root={config.data.root}: there is no such folder (looked for {root.absolute()}).")
    if not root.is_dir():
        raise UserError(f"data.root={config.data.root}: this is a file; allowed is a folder of clips.")
    if next(root.rglob("*"), None) is None:
        raise UserError(
            f"data.root={config.data.root}: the folder is empty; allowed are video files with a .txt or .json "
            "beside them, sample/frames/*.jpg with sample/caption.txt, or a manifest.jsonl or .csv."
        )


def nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every mapping below `config` with its full key; references to other nodes are left out."""
    for key in config:
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):  # type: ignore[arg-type]
            continue
        value = config[key]
        if isinstance(value, DictConfig):
            path = prefix + str(key)
            yield path, value
            yield from nodes(value, f"{path}.")


def refuse_extra(node: DictConfig, path: str, known: set[str]) -> None:
    for key in map(str, node):
        if key not in known:
            names = sorted(name for name in known if not name.startswith("_"))
            where = f" of {path}" if path else ""
            raise UserError(f"{path + '.' if path else ''}{key}: there is no such key{where}. {one_of(key, names)}")


def signature_keys(config: DictConfig, target: str) -> set[str]:
    """The keyword arguments of a component that has no schema here (one of the user's own)."""
    check_targets(config)
    from hydra.utils import get_object

    try:
        parameters = inspect.signature(get_object(target)).parameters
    except (ImportError, AttributeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"_target_={target}: it cannot be imported ({reason}).") from error
    return {*parameters, "_target_", "_partial_", "_recursive_", "_convert_"}


def planner_of(config: DictConfig) -> StridePlanner | None:
    """The tokeniser's frame plan, where its schema knows it."""
    tokeniser = described(config.tokeniser)
    return tokeniser.planner() if hasattr(tokeniser, "planner") else None


def feature_size(config: DictConfig) -> int | None:
    """The side of the backbone's feature map, where its schema knows it before anything is loaded."""
    backbone = described(config.backbone)
    return backbone.feature_size() if hasattr(backbone, "feature_size") else None


def described(node: DictConfig) -> Any:
    """A component's settings as its schema; None for a component without one."""
    return OmegaConf.to_object(node) if is_dataclass(OmegaConf.get_type(node)) else None
