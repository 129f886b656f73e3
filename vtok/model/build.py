"""Building the model and its optimiser from a checked configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn
from transformers.pytorch_utils import Conv1D

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.common.weights import check_available
from vtok.config.instantiate import build
from vtok.config.targets import check_targets
from vtok.config.weights import WITH_WEIGHTS, wanted_weights
from vtok.feature_cache import backbone_of_cache
from vtok.model.memory import FLOAT32
from vtok.model.video_language_model import VideoLanguageModel
from vtok.tokeniser import Tokeniser

TOKENISER_GROUPS = ("backbone", "tokeniser")
MODEL_GROUPS = (*TOKENISER_GROUPS, "mllm", "visual_head", "decoder", "objective")
# Conv1D is the linear layer of GPT-2 and similar models. A kernel (C, c, h, w) is a matrix (C, c * h * w).
LINEAR = (nn.Linear, nn.MultiheadAttention, Conv1D, nn.Conv2d)


def device_of(config: DictConfig) -> str:
    """The device of a model outside of training: a GPU if there is one and `trainer.device` allows it."""
    return "cuda" if torch.cuda.is_available() and config.trainer.device != "cpu" else "cpu"


@contextmanager
def report_build_errors(folder: Path) -> Iterator[None]:
    """A context in which a component that cannot be built from the `config.yaml` of a folder is a user's mistake.

    Raises:
        UserError: a component does not take its settings.
    """
    try:
        yield
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(
            f"{folder / 'config.yaml'}: a component cannot be built from its settings ({reason}). Check the settings."
        ) from error


def build_model(config: DictConfig) -> VideoLanguageModel:
    """The model of a configuration; its random weights depend only on `seed`.

    With `data.cache` it has no backbone, unless it needs one to evaluate generated videos.

    Raises:
        UserError: weights cannot be loaded (checked for all components before the first is built), the feature cache
            does not fit, a class is not a component, or a component refuses its settings.
    """
    check_targets(config, groups=MODEL_GROUPS)
    absent = backbone_of_cache(config)
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    loaded = [group for group in WITH_WEIGHTS if absent is None or group != "backbone"]
    check_available(wanted_weights(settings, loaded))  # type: ignore[arg-type]
    return VideoLanguageModel(
        tokeniser=build_tokeniser(config, absent),
        mllm=build(config.mllm),
        visual_head=build(config.visual_head),
        decoder=build(config.decoder),
        objective=build(config.objective),
    )


def build_tokeniser(config: DictConfig, backbone: Backbone | None = None) -> Tokeniser:
    """The tokeniser of a configuration, with the given backbone or its own; seeds torch's random numbers.

    After a frozen backbone random numbers are seeded again, so that later components have the same random weights with
    and without it. After a trained one they continue.

    Raises:
        UserError: a class is not a component, or a component refuses its settings.
    """
    check_targets(config, groups=TOKENISER_GROUPS)
    torch.manual_seed(config.seed)
    if backbone is None:
        backbone = build(config.tokeniser.backbone)
    if backbone.frozen:
        torch.manual_seed(config.seed)
    settings = OmegaConf.to_container(config.tokeniser, resolve=True)
    assert isinstance(settings, dict)
    del settings["backbone"]
    return build(OmegaConf.create(settings), backbone)


def build_optimiser(config: DictConfig, model: VideoLanguageModel) -> torch.optim.Optimizer:
    """The optimiser of the trained parameters."""
    return build(config.optimiser, plain=True)(parameter_groups(model))


def parameter_groups(model: VideoLanguageModel) -> list[dict[str, Any]]:
    """The trained parameters, in groups; only matrices have weight decay.

    The group marked `hidden` has the matrices of linear layers and the kernels of 2D convolutions, for optimisers that
    treat them differently. The output layer, embeddings (of patches in 3D too), learned positions and queries are not
    in it.

    Raises:
        UserError: nothing is trained, or 16-bit weights are, which would lose most updates.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.element_size() < FLOAT32:
            raise UserError(
                f"{name} is trained in {str(parameter.dtype).removeprefix('torch.')}, which loses most updates. "
                "Set the dtype of its component to float32, or freeze it."
            )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise UserError("Nothing is trained: all components of the model are frozen. Set frozen=false for one of them.")
    vocabulary = {id(parameter) for module in model.mllm.vocabulary_layers() for parameter in module.parameters()}
    linear = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, LINEAR)
        for parameter in module.parameters(recurse=False)
        if parameter.ndim > 1
    }
    hidden = [one for one in trained if id(one) in linear - vocabulary]
    others = [one for one in trained if one.ndim > 1 and id(one) not in linear - vocabulary]
    vectors = [one for one in trained if one.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": hidden, "hidden": True},
        {"params": others},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_scheduler(config: DictConfig, optimiser: torch.optim.Optimizer) -> Any:
    """The learning-rate schedule; a schedule with an end reaches it at the last step."""
    return build(config.scheduler)(optimiser, config.trainer.max_steps)
