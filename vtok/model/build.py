"""A checked configuration to the objects that it names."""

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
from vtok.common.weights import refuse_absent
from vtok.config.instantiate import build
from vtok.config.targets import check_targets
from vtok.config.weights import WITH_WEIGHTS, wanted_weights
from vtok.feature_cache import backbone_of_cache
from vtok.model.memory import FLOAT32
from vtok.model.video_language_model import VideoLanguageModel
from vtok.tokeniser import Tokeniser

OF_TOKENISER = ("backbone", "tokeniser")
OF_MODEL = (*OF_TOKENISER, "mllm", "visual_head", "decoder", "objective")
# Layers that multiply by their matrices. Conv1D is the linear layer of GPT-2 and its like.
LINEAR = (nn.Linear, nn.MultiheadAttention, Conv1D)


def device_of(config: DictConfig) -> str:
    """Where a model is put outside of training: on a GPU where there is one and `trainer.device` allows it."""
    return "cuda" if torch.cuda.is_available() and config.trainer.device != "cpu" else "cpu"


@contextmanager
def building_from(folder: Path) -> Iterator[None]:
    """A context in which components are built as the `config.yaml` of a folder says, which may say anything.

    Raises:
        UserError: a component does not take its settings.
    """
    try:
        yield
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{folder / 'config.yaml'}: a component cannot be built as it says ({reason}).") from error


def build_model(config: DictConfig) -> VideoLanguageModel:
    """The model of a configuration, its random weights from `seed` alone.

    With `data.cache` there is no backbone in it, unless it needs one to judge videos of its own.

    Raises:
        UserError: a component's own, or weights that cannot be had, of all components, before the first is built; or a
            feature cache that was made otherwise, or a class that is not a component.
    """
    check_targets(config, groups=OF_MODEL)
    absent = backbone_of_cache(config)
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    loaded = [group for group in WITH_WEIGHTS if absent is None or group != "backbone"]
    refuse_absent(wanted_weights(settings, loaded))  # type: ignore[arg-type]
    return VideoLanguageModel(
        tokeniser=build_tokeniser(config, absent),
        mllm=build(config.mllm),
        visual_head=build(config.visual_head),
        decoder=build(config.decoder),
        objective=build(config.objective),
    )


def build_tokeniser(config: DictConfig, backbone: Backbone | None = None) -> Tokeniser:
    """The tokeniser of a configuration and its backbone, unless another is given; seeds torch's random numbers.

    What comes after a frozen backbone has the same random weights whether or not that has been built. After one that is
    trained, random numbers go on from its own.

    Raises:
        UserError: a component's own, or a class that is not a component.
    """
    check_targets(config, groups=OF_TOKENISER)
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
    """The optimiser over what is trained."""
    return build(config.optimiser, plain=True)(parameter_groups(model))


def parameter_groups(model: VideoLanguageModel) -> list[dict[str, Any]]:
    """What is trained, in groups; weight decay for matrices alone.

    The matrices of linear layers, those with a row for each token of text left out, come in a group that is marked
    `hidden`, for optimisers that treat them differently. Learned positions and queries, tables and kernels are not.

    Raises:
        UserError: nothing is trained, or weights of 16 bits are, which lose most updates.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.element_size() < FLOAT32:
            raise UserError(
                f"{name} is {str(parameter.dtype).removeprefix('torch.')} and trained, and would lose most updates; "
                "make it float32, or freeze it."
            )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise UserError("nothing is trained: every part of the model is frozen.")
    tables = {id(parameter) for module in model.mllm.tables() for parameter in module.parameters()}
    linear = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, LINEAR)
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
    }
    hidden = [one for one in trained if id(one) in linear - tables]
    others = [one for one in trained if one.ndim > 1 and id(one) not in linear - tables]
    vectors = [one for one in trained if one.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": hidden, "hidden": True},
        {"params": others},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_scheduler(config: DictConfig, optimiser: torch.optim.Optimizer) -> Any:
    """The learning-rate schedule; one that ends does so at the last step."""
    return build(config.scheduler)(optimiser, config.trainer.max_steps)
