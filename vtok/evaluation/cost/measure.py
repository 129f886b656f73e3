"""What tokenisers cost: tokens, operations, time and memory, over the length of the clip."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from vtok.evaluation.cost.clock import now
from vtok.evaluation.cost.memory import PeakMemory
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch, stack_text
from vtok.model.build import build_model, device_of
from vtok.tokeniser import PlannedFrames

QUESTION, ANSWER = "what is to be seen in the video?", "a thing that moves to the left and then comes back."


@dataclass
class Cost:
    """Of one tokeniser on clips of one length; a clip at a time, which is decoded, with motion vectors where wanted.

    Attributes:
        planned: frames K that are encoded.
        tokens: L of the clip.
        backbone_flops, encode_flops: of the K frames through the backbone, and through the tokeniser with it.
        backbone, encode, own, prefill, step: seconds of each round: the backbone alone on the K frames, the tokeniser
            with it, of that what was outside the backbone, the language model on a question about the clip up to where
            its answer begins, and a step of training (forward and backward).
        every_frame: seconds of encoding all T frames and taking the K from their features; empty where not measured.
        encode_bytes, prefill_bytes: the most that tensors took beyond weights and frames.
    """

    planned: int
    tokens: int
    backbone_flops: int = 0
    encode_flops: int = 0
    backbone: list[float] = field(default_factory=list)
    encode: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    prefill: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    every_frame: list[float] = field(default_factory=list)
    encode_bytes: int = 0
    prefill_bytes: int = 0

    @property
    def overhead(self) -> list[float]:
        """The tokeniser's own time over the backbone's in the same call, by round."""
        return [own / (whole - own) for own, whole in zip(self.own, self.encode, strict=True)]

    def row(self) -> dict[str, Any]:
        """For a json file; seconds as (median, least, most)."""
        times = {name: getattr(self, name) for name in ("backbone", "encode", "own", "prefill", "step", "every_frame")}
        return {
            "planned_frames": self.planned,
            "tokens": self.tokens,
            "backbone_flops": self.backbone_flops,
            "encode_flops": self.encode_flops,
            "encode_bytes": self.encode_bytes,
            "prefill_bytes": self.prefill_bytes,
            **{f"{name}_seconds": summed(values) for name, values in times.items() if values},
            "overhead": summed(self.overhead),
        }


def summed(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


class Case:
    """A model and a clip of noise for it.

    Args:
        config: of the model.
        every_frame: whether all T frames are encoded as well, to see what planning saves.
    """

    def __init__(self, config: DictConfig, *, every_frame: bool) -> None:
        self.device = torch.device(device_of(config))
        self.model: VideoLanguageModel = build_model(config)
        self.model.to(self.device).eval()
        self.num_frames = int(config.clip.num_frames)
        tokeniser = self.model.tokeniser
        plan = tokeniser.plan(self.num_frames)
        number, side = len(plan.indices), int(config.clip.size)
        self.planned = PlannedFrames(
            frames=noise(number, side),
            key=torch.tensor([-1 if plan.key is None else plan.key]),
            mask=torch.ones(1, number, dtype=torch.bool),
            timestamps=torch.tensor([plan.indices], dtype=torch.float32),
            vectors=None if plan.vector_grid is None else torch.rand(1, number, 3, plan.vector_grid, plan.vector_grid),
        ).to(self.device)
        self.all_frames = noise(self.num_frames, side).to(self.device) if every_frame else None
        self._backbone_seconds, self._frames = 0.0, 0
        tokeniser.backbone.register_forward_pre_hook(self._enter_backbone)
        tokeniser.backbone.register_forward_hook(self._leave_backbone)
        with torch.no_grad():
            self.video = tokeniser.encode_planned(self.planned)
        # Where motion comes out of the codec, the key frame alone is encoded.
        self.cost = Cost(planned=self._frames, tokens=tokeniser.planner.num_tokens(number))
        chat = self.model.mllm.chat
        whole = chat.encode([(QUESTION, ANSWER)], num_video_tokens=self.cost.tokens)
        self.batch = Batch(video=self.planned, text=stack_text([whole], pad_id=chat.pad_id)).to(self.device)
        prompt = chat.encode_prompt(QUESTION, num_video_tokens=self.cost.tokens)
        self.prompt = torch.tensor([prompt], device=self.device)

    def count(self) -> None:
        """Operations and memory, once."""
        # Not without gradients, in which the counter loses its way among parameters that are passed to modules.
        with FlopCounterMode(display=False) as counter:
            self.model.tokeniser.encode_planned(self.planned)
        self.cost.encode_flops = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            self.encode_frames()
        self.cost.backbone_flops = counter.get_total_flops()
        self.cost.encode_bytes, self.cost.prefill_bytes = (self._peak(work) for work in (self.encode, self.prefill))

    def measure(self) -> None:
        """A round."""
        cost = self.cost
        works: list[tuple[list[float], Callable[[], None]]] = [
            (cost.backbone, self.encode_frames),
            (cost.encode, self.encode),
            (cost.prefill, self.prefill),
            (cost.step, self.step),
        ]
        if self.all_frames is not None:
            works.append((cost.every_frame, self.encode_every_frame))
        # Turned about from round to round, so that what one leaves in a cache is not always the same one's gain.
        for times, work in works[:: 1 if len(cost.step) % 2 else -1]:
            self._backbone_seconds = 0.0
            began = now(self.device)
            work()
            times.append(now(self.device) - began)
            if times is cost.encode:
                cost.own.append(times[-1] - self._backbone_seconds)

    def encode_frames(self) -> None:
        """The planned frames that are encoded, through the backbone alone."""
        self._through_backbone(self.planned.pixels[:, : self.cost.planned])

    @torch.no_grad()
    def encode(self) -> None:
        self.model.tokeniser.encode_planned(self.planned)

    def encode_every_frame(self) -> None:
        """What is done where frames are chosen after the backbone."""
        assert self.all_frames is not None
        self._through_backbone(self.all_frames)

    @torch.no_grad()
    def prefill(self) -> None:
        """The question about the clip through the language model, up to where its answer begins."""
        model = self.model
        embeddings = model.mllm.embed(self.prompt, model.projector(self.video.tokens), self.video.mask)
        model.mllm.hidden_states(embeddings, torch.ones_like(self.prompt, dtype=torch.bool))

    def step(self) -> None:
        self.model(self.batch)["loss"].backward()
        self.model.zero_grad()

    @torch.no_grad()
    def _through_backbone(self, clip: torch.Tensor) -> None:
        """In as many calls as the tokeniser makes."""
        tokeniser = self.model.tokeniser
        for few in clip[0].split(tokeniser.frames_at_once(clip)):
            tokeniser.backbone(few)

    def _enter_backbone(self, _: Any, inputs: tuple[torch.Tensor]) -> None:
        self._frames += len(inputs[0])
        self._entered = now(self.device)

    def _leave_backbone(self, *_: Any) -> None:
        self._backbone_seconds += now(self.device) - self._entered

    def _peak(self, work: Callable[[], None]) -> int:
        """The most bytes that tensors made by `work` took at a time."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            return torch.cuda.max_memory_allocated() - before
        with PeakMemory() as memory:
            work()
        return memory.most


def noise(frames: int, side: int) -> torch.Tensor:
    """A clip of random pixels, uint8 (1, frames, 3, side, side)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, frames, 3, side, side), generator=generator, dtype=torch.uint8)


def measure(configs: dict[str, DictConfig], *, runs: int, every_frame: bool) -> dict[str, Cost]:
    """The cost of each tokeniser on clips of one length, by its name, in turns; a round before is not counted.

    Args:
        configs: of the models, all with the same clip.num_frames.
        runs: number of rounds.
        every_frame: whether all frames of the clip are encoded as well.
    """
    cases = {name: Case(config, every_frame=every_frame) for name, config in configs.items()}
    for case in cases.values():
        case.count()
    for _ in range(runs + 1):
        for case in cases.values():
            case.measure()
    costs = {name: case.cost for name, case in cases.items()}
    for cost in costs.values():
        for times in (cost.backbone, cost.encode, cost.own, cost.prefill, cost.step, cost.every_frame):
            del times[:1]
    return costs
