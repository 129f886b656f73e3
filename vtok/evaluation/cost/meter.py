"""What a clip costs by the value of the setting that is found for `tokeniser.budget`."""

import logging
from copy import deepcopy

import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor

from vtok.backbone import Backbone
from vtok.config import check
from vtok.evaluation.cost.calibration import Calibration, MeasuredTime, refuse_several_processes
from vtok.evaluation.cost.measure import Cost, Measurement, loaded_model
from vtok.model import VideoLanguageModel
from vtok.model.build import build_tokeniser
from vtok.model.without_weights import model_without_weights

log = logging.getLogger("vtok")

# Rounds of a measurement: at least the first number, and more until they took a second.
LEAST_ROUNDS, MOST_ROUNDS, ENOUGH_SECONDS = 5, 50, 1.0


class FlopMeter:
    """Counts operations, without weights: only the tokeniser's own layers are computed.

    Args:
        config: composed configuration.
        key: name of the tokeniser's setting that varies.
    """

    def __init__(self, config: DictConfig, key: str) -> None:
        self.config, self.key = reading_only(config), key
        self._counted: dict[int, float] = {}
        self._model: VideoLanguageModel | None = None

    def cost(self, value: int) -> float:
        """GFLOP of tokenising and prefill of a clip, `Cost.gflop`, with this value of the setting.

        Raises:
            UserError: if the model cannot be built.
        """
        if value not in self._counted:
            self._counted[value] = self._count(value)
        return self._counted[value]

    def _count(self, value: int) -> float:
        config = with_value(self.config, self.key, value)
        if self._model is None:
            self._model, notes = model_without_weights(deepcopy(config))
            self._backbone = NoiseBackbone(self._model.tokeniser.backbone)
            for note in notes:
                log.info(note)
        self._model.tokeniser = build_tokeniser(config, self._backbone)
        measurement = Measurement(config, self._model.eval())
        measurement.count_clip_flops()
        return measurement.cost.gflop


class TimeMeter:
    """Times a clip on this machine; each time is measured once and saved.

    Args:
        config: composed configuration.
        key: name of the tokeniser's setting that varies.

    Raises:
        UserError: if the saved calibration cannot be read.
    """

    def __init__(self, config: DictConfig, key: str) -> None:
        self.config, self.key = reading_only(config), key
        self.calibration = Calibration(self.config, key)
        self._model: VideoLanguageModel | None = None

    def cost(self, value: int) -> float:
        """Milliseconds of tokenising and prefill of a clip with this value of the setting.

        They rise with the number of tokens, see `Calibration.rising`.

        Raises:
            UserError: if the model cannot be built, or this is one of several processes.
        """
        if value not in self.calibration.times:
            refuse_several_processes()
            measured = self._measure(value)
            self.calibration.add(value, measured)
            log.info(
                "calibrated tokeniser.%s=%d: %d tokens take %.3g ms, saved in %s",
                *(self.key, value, measured.tokens, measured.milliseconds, self.calibration.path),
            )
        return self.calibration.rising()[self.calibration.times[value].tokens]

    def _measure(self, value: int) -> MeasuredTime:
        config = with_value(self.config, self.key, value)
        if self._model is None:
            check(config, files=False)
            self._model = loaded_model(config)
            self._backbone = self._model.tokeniser.backbone
        self._model.tokeniser = build_tokeniser(config, self._backbone).to(self._backbone.mean.device)
        cost = timed(Measurement(config, self._model.eval()))
        return MeasuredTime(tokens=cost.tokens, milliseconds=cost.milliseconds)


class NoiseBackbone(Backbone):
    """The shapes of a backbone on the meta device, whose operations count, with noise as features.

    Tokenisers that choose by the features cannot run on the meta device themselves.

    Args:
        shapes: backbone on the meta device.
    """

    def __init__(self, shapes: Backbone) -> None:
        super().__init__(
            feature_dim=shapes.feature_dim,
            image_size=shapes.image_size,
            stride=shapes.stride,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        self.depth = shapes.depth
        # Not a submodule: its weights are not to be moved or trained.
        self._shapes = [shapes]
        self.set_frozen(shapes.frozen)

    def feature_map(self, images: Tensor) -> Tensor:
        return noise_like(self._shapes[0].feature_map(images.to("meta")))

    def attend(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        maps, attention = self._shapes[0].attend(frames.to("meta"))
        return noise_like(maps), noise_like(attention)


def noise_like(shapes: Tensor) -> Tensor:
    """Random numbers in 0..1 on the CPU, with the shape and type of a tensor on the meta device."""
    return torch.rand(shapes.shape, generator=torch.Generator().manual_seed(0)).to(shapes.dtype)


def reading_only(config: DictConfig) -> DictConfig:
    """A copy of a configuration, of a model that answers questions and generates no video, without a feature cache."""
    copy = deepcopy(config)
    with open_dict(copy):
        copy.data.cache = None
        copy.objective = {"_target_": "vtok.model.Objective", "lambda_visLM": 0.0, "lambda_dec": 0.0}
        copy.visual_head = {"_target_": "vtok.visual_head.NoVisualHead", "_partial_": True}
        copy.decoder = {"_target_": "vtok.decoder.NoDecoder", "_partial_": True}
    return copy


def with_value(config: DictConfig, key: str, value: int) -> DictConfig:
    """A copy of a configuration with another value of a setting of the tokeniser, and no budget."""
    copy = deepcopy(config)
    copy.tokeniser[key], copy.tokeniser.budget = value, None
    return copy


def timed(measurement: Measurement) -> Cost:
    """The cost with the times of several rounds of tokenising and prefill, after a first round that warms up."""
    cost = measurement.cost
    measurement.time_clip()
    for seconds in cost.seconds.values():
        seconds.clear()
    for _ in range(MOST_ROUNDS):
        measurement.time_clip()
        if len(cost.encode) >= LEAST_ROUNDS and sum(cost.encode) + sum(cost.prefill) >= ENOUGH_SECONDS:
            break
    return cost
