"""A checked configuration to the objects that it names."""

from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from vtok.data import Clip, ClipDataset, DataSource
from vtok.errors import UserError
from vtok.model import VideoLanguageModel
from vtok.plan import StridePlanner


def build(node: DictConfig) -> Any:
    """Instantiate a component.

    Raises:
        UserError: the component's own, without Hydra's wrapping.
    """
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        raise


def build_model(config: DictConfig) -> VideoLanguageModel:
    """The model of a configuration, its random weights from `seed` alone."""
    torch.manual_seed(config.seed)
    return VideoLanguageModel(
        tokeniser=build(config.tokeniser),
        mllm=build(config.mllm),
        decoder=build(config.decoder),
        objective=build(config.objective),
    )


def build_optimiser(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over what is trained; weight decay for matrices alone."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise UserError("nothing is trained: every part of the model is frozen.")
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    return build(config.optimiser)([{"params": matrices}, {"params": others, "weight_decay": 0.0}])


def build_scheduler(config: DictConfig, optimiser: torch.optim.Optimizer) -> Any:
    """The learning-rate schedule; one that ends does so at the last step."""
    return build(config.scheduler)(optimizer=optimiser, num_training_steps=config.trainer.max_steps)


def build_dataset(
    source: DataSource, clips: list[Clip], planner: StridePlanner, *, seed: int, replace_bad: bool
) -> ClipDataset:
    """The clips of a source, read as the source says and planned as the tokeniser says."""
    return ClipDataset(
        clips,
        planner,
        num_frames=source.num_frames,
        fps=source.fps,
        size=source.size,
        frames_fps=source.frames_fps,
        seed=seed,
        replace_bad=replace_bad,
    )
