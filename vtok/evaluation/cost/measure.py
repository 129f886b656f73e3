"""The cost of tokenisers for clips of one length: tokens, FLOPs, seconds and memory."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig

from vtok.common.flops import flop_counter
from vtok.evaluation.cost.memory import PeakMemory
from vtok.evaluation.cost.timing import median_min_max, now
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch, stack_text
from vtok.model.build import build_model, device_of
from vtok.tokeniser import PlannedFrames, VideoTokens

# A list of seconds, and what is timed.
Part = tuple[list[float], Callable[[], None]]
QUESTION, ANSWER = "what is to be seen in the video?", "an object that moves to the left and then comes back."


@dataclass
class Cost:
    """The cost of one tokeniser for one decoded clip, with its motion vectors if the tokeniser reads them.

    Seconds are lists with one entry a round.

    Attributes:
        encoded_frames: number of frames K that go through the backbone.
        tokens: number of video tokens L.
        backbone_flops: FLOPs of the backbone on the K frames.
        encode_flops: FLOPs of the tokeniser, its backbone included, and what it reads of the question.
        prefill_flops: FLOPs of the language model in `prefill`, with phi_vis and the queries of a read question.
        backbone: seconds of the backbone alone on the K frames.
        encode: seconds of the tokeniser, its backbone included.
        own: the seconds of `encode` that were spent outside the backbone.
        prefill: seconds of the language model on a question about the clip, until the answer begins.
        step: seconds of the forward and backward pass of a training step.
        every_frame: seconds of the backbone on all T frames; empty where not measured.
        encode_bytes: peak memory of the tensors that the tokeniser allocates; weights and frames are not counted.
        prefill_bytes: peak memory of the tensors that the language model allocates in `prefill`.
    """

    encoded_frames: int
    tokens: int
    backbone_flops: int = 0
    encode_flops: int = 0
    prefill_flops: int = 0
    backbone: list[float] = field(default_factory=list)
    encode: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    prefill: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    every_frame: list[float] = field(default_factory=list)
    encode_bytes: int = 0
    prefill_bytes: int = 0

    @property
    def gflop(self) -> float:
        """Operations of tokenising and prefill, in 10^9: the currency of a budget such as 3GFLOP."""
        return (self.encode_flops + self.prefill_flops) / 1e9

    @property
    def milliseconds(self) -> float:
        """Time of tokenising and prefill, the median of the rounds: the currency of a budget such as 40ms."""
        return 1000 * statistics.median(one + two for one, two in zip(self.encode, self.prefill, strict=True))

    @property
    def seconds(self) -> dict[str, list[float]]:
        """The lists of seconds by name."""
        names = ("backbone", "encode", "own", "prefill", "step", "every_frame")
        return {name: getattr(self, name) for name in names}

    @property
    def overhead(self) -> list[float]:
        """The tokeniser's own time divided by the backbone's in the same call, by round."""
        return [own / (encode - own) for own, encode in zip(self.own, self.encode, strict=True)]

    def row(self) -> dict[str, Any]:
        """For a JSON file; seconds and overhead as (median, min, max)."""
        return {
            "encoded_frames": self.encoded_frames,
            "tokens": self.tokens,
            "backbone_flops": self.backbone_flops,
            "encode_flops": self.encode_flops,
            "prefill_flops": self.prefill_flops,
            "encode_bytes": self.encode_bytes,
            "prefill_bytes": self.prefill_bytes,
            **{f"{name}_seconds": median_min_max(values) for name, values in self.seconds.items() if values},
            "overhead": median_min_max(self.overhead),
        }


def measure(configs: dict[str, DictConfig], *, runs: int, every_frame: bool) -> dict[str, Cost]:
    """The cost of each tokeniser on clips of one length. They take turns; a first round warms up and is not counted.

    Args:
        configs: a configuration for each name, all with the same clip.num_frames.
        runs: number of rounds.
        every_frame: also encode all frames of the clip.
    """
    measurements = {
        name: Measurement(config, loaded_model(config), every_frame=every_frame) for name, config in configs.items()
    }
    for one in measurements.values():
        one.count_flops()
        one.count_bytes()
    for _ in range(runs + 1):
        for one in measurements.values():
            one.time_round()
    costs = {name: one.cost for name, one in measurements.items()}
    for cost in costs.values():
        for seconds in cost.seconds.values():
            del seconds[:1]
    return costs


def loaded_model(config: DictConfig) -> VideoLanguageModel:
    """The model of a configuration as it is measured: on its device, in evaluation mode."""
    device = torch.device(device_of(config))
    # Random weights of a large model are made where they are used: on a CPU they would take minutes.
    with device:
        model = build_model(config)
    return model.to(device).eval()


class Measurement:
    """A model, a clip of noise, and the cost measured so far.

    Args:
        config: configuration of the model.
        model: the model. Its language model may be on another device than its tokeniser, which may be the meta device.
        every_frame: also encode all T frames, to measure what sampling frames before the backbone saves.
    """

    def __init__(self, config: DictConfig, model: VideoLanguageModel, *, every_frame: bool = False) -> None:
        self.model = model
        tokeniser = model.tokeniser
        self.device = tokeniser.backbone.mean.device
        self.mllm_device = next(model.projector.parameters()).device
        num_frames, size = int(config.clip.num_frames), int(config.clip.size)
        plan = tokeniser.plan(num_frames)
        planned = len(plan.indices)
        self.planned_frames = PlannedFrames(
            frames=noise_clip(planned, size),
            key=torch.tensor([-1 if plan.key is None else plan.key]),
            mask=torch.ones(1, planned, dtype=torch.bool),
            timestamps=torch.tensor([plan.indices], dtype=torch.float32),
            vectors=None if plan.vector_grid is None else torch.rand(1, planned, 3, plan.vector_grid, plan.vector_grid),
        ).to(self.device)
        self.all_frames = noise_clip(num_frames, size).to(self.device) if every_frame else None
        chat = self.model.mllm.chat
        # A query for each place of the prompt, for tokenisers that read the question. Their values change no cost.
        words = len(chat.encode_prompt(QUESTION, num_video_tokens=tokeniser.planner.num_tokens(planned)))
        self.queries = torch.ones(1, words, tokeniser.backbone.feature_dim, device=self.device)
        self.words = torch.ones(1, words, dtype=torch.bool, device=self.device)
        self._backbone_seconds, self._backbone_frames = 0.0, 0
        tokeniser.backbone.register_forward_pre_hook(self._enter_backbone)
        tokeniser.backbone.register_forward_hook(self._leave_backbone)
        with torch.no_grad():
            self.tokens = self._encode()
        # Counted, not planned: codec_motion plans frames of which only the key frame is encoded.
        self.cost = Cost(encoded_frames=self._backbone_frames, tokens=tokeniser.planner.num_tokens(planned))
        text = chat.encode([(QUESTION, ANSWER)], num_video_tokens=self.cost.tokens)
        self.batch = Batch(video=self.planned_frames, text=stack_text([text], pad_id=chat.pad_id)).to(self.device)
        prompt = chat.encode_prompt(QUESTION, num_video_tokens=self.cost.tokens)
        self.prompt = torch.tensor([prompt], device=self.mllm_device)

    def count_flops(self) -> None:
        """Count FLOPs, which are the same in every round."""
        self.count_clip_flops()
        self.cost.backbone_flops = self._flops(self.run_backbone)

    def count_clip_flops(self) -> None:
        """Count the FLOPs of tokenising and prefill."""
        # With gradients, because without them the counter fails on parameters that are passed to modules.
        self.cost.encode_flops = self._flops(self._encode)
        self.cost.prefill_flops = self._flops(self._prefill)

    def count_bytes(self) -> None:
        """Count the bytes of tensors, which are the same in every round."""
        self.cost.encode_bytes = self._peak_bytes(self.run_tokeniser)
        self.cost.prefill_bytes = self._peak_bytes(self.run_prefill)

    def time_round(self) -> None:
        """Time each part once."""
        cost = self.cost
        parts: list[Part] = [
            (cost.backbone, self.run_backbone),
            (cost.encode, self.run_tokeniser),
            (cost.prefill, self.run_prefill),
            (cost.step, self.run_training_step),
        ]
        if self.all_frames is not None:
            parts.append((cost.every_frame, self.run_backbone_on_all_frames))
        self._time(parts)

    def time_clip(self) -> None:
        """Time tokenising and prefill once."""
        self._time([(self.cost.encode, self.run_tokeniser), (self.cost.prefill, self.run_prefill)])

    def _time(self, parts: Sequence[Part]) -> None:
        # The order is reversed in every other round, so that no part always profits from caches filled by another one.
        for seconds, run in parts[:: 1 if len(self.cost.encode) % 2 else -1]:
            self._backbone_seconds = 0.0
            began = now(self.device)
            run()
            seconds.append(now(self.device) - began)
            if seconds is self.cost.encode:
                self.cost.own.append(seconds[-1] - self._backbone_seconds)

    def run_backbone(self) -> None:
        self._encode_frames(self.planned_frames.pixels[:, : self.cost.encoded_frames])

    def run_backbone_on_all_frames(self) -> None:
        """Encode all frames, as a tokeniser does that chooses frames after the backbone."""
        assert self.all_frames is not None
        self._encode_frames(self.all_frames)

    @torch.no_grad()
    def run_tokeniser(self) -> None:
        self._encode()

    def _encode(self) -> VideoTokens:
        tokeniser = self.model.tokeniser
        return tokeniser.condition(tokeniser.encode_planned(self.planned_frames), self.queries, self.words)

    @torch.no_grad()
    def run_prefill(self) -> None:
        """Run the language model on the question about the clip, until the answer begins."""
        self._prefill()

    def _prefill(self) -> None:
        model = self.model
        tokens = self.tokens.to(self.mllm_device)
        if model.question_encoder is not None:
            model.question_encoder(model.mllm.embed_words(self.prompt))
        model.mllm.hidden_states(model.mllm.embed(self.prompt, model.embed_clips(tokens), tokens.mask))

    def run_training_step(self) -> None:
        self.model(self.batch)["loss"].backward()
        self.model.zero_grad()

    @torch.no_grad()
    def _encode_frames(self, clip: torch.Tensor) -> None:
        """A clip (1, frames, 3, size, size) through the backbone, in as many calls as the tokeniser makes."""
        tokeniser = self.model.tokeniser
        for frames in clip[0].split(tokeniser.frames_at_once(clip)):
            tokeniser.backbone(frames)

    def _enter_backbone(self, _: Any, inputs: tuple[torch.Tensor]) -> None:
        self._backbone_frames += len(inputs[0])
        self._entered = now(self.device)

    def _leave_backbone(self, *_: Any) -> None:
        self._backbone_seconds += now(self.device) - self._entered

    def _flops(self, run: Callable[[], object]) -> int:
        with flop_counter() as counter:
            run()
        return int(counter.get_total_flops())

    def _peak_bytes(self, run: Callable[[], None]) -> int:
        """Peak memory in bytes of the tensors that `run` allocates."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            return torch.cuda.max_memory_allocated() - before
        with PeakMemory() as memory:
            run()
        return memory.peak


def noise_clip(frames: int, size: int) -> torch.Tensor:
    """Random pixels, uint8 (1, frames, 3, size, size)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, frames, 3, size, size), generator=generator, dtype=torch.uint8)
