"""A training step of the paper's models at full size with random weights: memory by part, seconds, share of peak speed.

    python benchmarks/paper.py recipe=paper_lora
    torchrun --nproc_per_node 8 benchmarks/paper.py recipe=paper

from the root of a checkout, with vtok installed. Weights are made on the device in seconds, clips are noise in memory.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from vtok.cli.main import run_script
from vtok.cli.verbs.plan import component_table, measure_components, model_without_weights
from vtok.common.distributed import local
from vtok.common.files import check_writable, write_text
from vtok.common.setting_types import Count, CountOrZero
from vtok.common.tables import named_values, table
from vtok.config import check, compose
from vtok.decoder import Decoder
from vtok.evaluation.cost.timing import now
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch, stack_text
from vtok.model.build import build, build_model, build_optimiser
from vtok.model.memory import Memory, gigabytes
from vtok.tokeniser import PlannedFrames
from vtok.training import Trainer
from vtok.training.ema import Ema
from vtok.training.metrics import count_flops

QUESTION, ANSWER = "describe the video.", "a red circle moves to the left and a blue square moves up. " * 4
CAPTION = "a red circle moves to the left."
# Published weights that the script replaces by random ones. phi_vis then has no projector to start from.
RANDOM = {"backbone.weights": None, "mllm.weights": None, "mllm.projector": False, "decoder.weights": None}
# Sides of the square matrices whose product gives the device's matrix rate.
MATRIX = {"cuda": 8192, "cpu": 512}


@dataclass
class Measured:
    """The result of `measure`.

    Attributes:
        device: name of the device.
        planned: bytes by part by `vtok plan`, on one device without sharding.
        counted: bytes of the tensors on this process's device, by part.
        build_seconds: seconds until the model was on the device.
        step_seconds: seconds of each optimiser step after the first.
        flops: number of floating-point operations of a step; recomputed activations are counted again.
        saved_bytes: bytes that a micro-batch keeps for its backward pass.
        matrix_tflops: measured rate of a large matrix product in the precision of the training, in TFLOP/s.
        held_bytes: bytes that the device's allocator holds between steps; 0 on a CPU.
        peak_bytes: peak bytes of a step, activations included; 0 on a CPU.
    """

    device: str
    planned: Memory
    counted: Memory
    build_seconds: float
    step_seconds: list[float] = field(default_factory=list)
    flops: int = 0
    saved_bytes: int = 0
    matrix_tflops: float = 0.0
    held_bytes: int = 0
    peak_bytes: int = 0

    @property
    def tflops(self) -> float:
        """The speed of a step in TFLOP/s."""
        return self.flops / statistics.median(self.step_seconds) / 1e12

    @property
    def share(self) -> float:
        """The speed of a step as a share of the matrix rate."""
        return self.tflops / self.matrix_tflops


def paper(
    *,
    steps: Count = 3,
    accumulate: CountOrZero = 1,
    random: bool = True,
    out: str | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """Memory by part, planned and measured, and seconds of a training step of the paper's models.

    Takes train's overrides; the default is recipe=paper_lora.

    Args:
        steps: number of timed optimiser steps, after one that warms up.
        accumulate: micro-batches in a step; 0: as many as trainer.accumulate says.
        random: replace published weights by random ones; false: load the weights of the configuration.
        out: JSON file for the metrics.
        overrides: overrides of the configuration.

    Raises:
        UserError: if the configuration cannot run, or processes do not fit `trainer/parallel`.
    """
    if out is not None:
        check_writable(Path(out), suffix=".json")
    chosen = [] if any(item.startswith("recipe=") for item in overrides) else ["recipe=paper_lora"]
    config = compose([*chosen, *overrides])
    if accumulate:
        config.trainer.accumulate = accumulate
    for key, value in RANDOM.items() if random else ():
        if OmegaConf.select(config, key, default=value) != value:
            OmegaConf.update(config, key, value)
    check(config)
    planned, _ = measure_components(config, model_without_weights(config.copy())[0])
    result = measure(config, sum((part.memory for part in planned), Memory()), steps=steps)
    if out is not None:
        figures = asdict(result) | {"tflops": result.tflops, "share": result.share}
        write_text(Path(out), json.dumps({"overrides": list(overrides), **figures}, indent=1))
    return "\n\n".join([component_table(planned), memory_table(result), speed(result)])


def measure(config: DictConfig, planned: Memory, *, steps: int) -> Measured:
    """Take optimiser steps as the training loop does, on batches of noise in memory."""
    trainer: Trainer = build(config.trainer)
    accelerator = trainer.accelerator()
    device = accelerator.device
    began = now(device)
    # Random weights are made where they are used: on a CPU, 20 billion would take minutes and 60 GB.
    with device:
        model = build_model(config)
    trainer.parallel.place(model, accelerator)
    optimiser = build_optimiser(config, model)
    average = None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay)
    built = now(device) - began
    model.train()
    batches = [batch_of(config, model) for _ in range(trainer.accumulate)]
    with trainer.parallel.unsharded(model), accelerator.autocast():
        model.measure(batches[0].to(device))
    model.end_step()
    trained, optimiser = trainer.parallel.prepare(accelerator, model, optimiser)
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]

    def step() -> None:
        for number, batch in enumerate(batches):
            with trainer.parallel.gradient_sync(accelerator, trained, last=number == len(batches) - 1):
                accelerator.backward(trained(batch.to(device))["loss"] / len(batches))
        trainer.parallel.clip(accelerator, weights, trainer.clip_norm)
        optimiser.step()
        model.end_step(discard=True)
        if average is not None:
            average.update()

    step()
    counted = counted_memory(model, optimiser, average, device)
    optimiser.zero_grad()
    result = Measured(device_name(accelerator), planned, counted, built)
    if device.type == "cuda":
        result.held_bytes = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(steps):
        start = now(device)
        step()
        optimiser.zero_grad()
        result.step_seconds.append(now(device) - start)
    if device.type == "cuda":
        result.peak_bytes = torch.cuda.max_memory_allocated(device)
    if not trainer.parallel.sharded:
        batch = batches[0].to(device)
        result.flops = len(batches) * count_flops(model, batch, accelerator)
        with accelerator.autocast():
            result.saved_bytes = saved_for_backward(model, batch)
        model.end_step(discard=True)
    half = accelerator.mixed_precision == "bf16"
    result.matrix_tflops = matrix_tflops(device, torch.bfloat16 if half else torch.float32)
    return result


def batch_of(config: DictConfig, model: VideoLanguageModel) -> Batch:
    """A batch of noise with a conversation, a caption and the decoder's target, on the CPU."""
    batch, frames = int(config.loader.batch_size), int(config.clip.num_frames)
    plan, size = model.tokeniser.plan(frames), model.tokeniser.backbone.image_size
    planned, chat = len(plan.indices), model.mllm.chat
    tokens = model.tokeniser.planner.num_tokens(planned)
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    video = PlannedFrames(
        frames=noise(batch, planned, 3, size, size),
        key=torch.full((batch,), -1 if plan.key is None else plan.key),
        mask=torch.ones(batch, planned, dtype=torch.bool),
        timestamps=torch.tensor(plan.indices, dtype=torch.float32).expand(batch, -1),
    )
    text = chat.encode([(QUESTION, ANSWER)], num_video_tokens=tokens)
    caption = chat.encode_video(CAPTION, num_video_tokens=tokens)
    decoder = model.decoder
    target = noise(batch, decoder.num_frames, 3, decoder.size, decoder.size) if isinstance(decoder, Decoder) else None
    return Batch(
        video=video,
        text=stack_text([text] * batch, pad_id=chat.pad_id) if model.objective.understands else None,
        captions=stack_text([caption] * batch, pad_id=chat.pad_id) if model.objective.generates else None,
        target=target if model.decodes else None,
        prompts=(CAPTION,) * batch,
    )


def counted_memory(
    model: nn.Module, optimiser: torch.optim.Optimizer, average: Ema | None, device: torch.device
) -> Memory:
    """Bytes of the tensors on a device, by part, after a step and before its gradients are cleared."""

    def size(tensors: Sequence[Tensor]) -> int:
        return sum(local(one).nbytes for one in tensors if one.device.type == device.type)

    parameters = list(model.parameters())
    trained = [one for one in parameters if one.requires_grad]
    state = [one for each in optimiser.state.values() for one in each.values() if isinstance(one, Tensor) and one.ndim]
    return Memory(
        frozen=size([one for one in parameters if not one.requires_grad]) + size(list(model.buffers())),
        weights=size(trained),
        gradients=size([one.grad for one in trained if one.grad is not None]),
        optimiser=size(state),
        average=0 if average is None else size(list(average.state().values())),
    )


def saved_for_backward(model: nn.Module, batch: Batch) -> int:
    """Bytes of the tensors that a forward pass keeps for its backward pass, without the model's weights and buffers.

    Gradient checkpointing computes more of them again, for one layer at a time.
    """
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # Several tensors may be views of one storage.
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # While the losses live, no storage is freed whose place another could take.
        losses = model(batch)
        size = sum(one.untyped_storage().nbytes() for one in kept.values())
    del losses
    return size


def matrix_tflops(device: torch.device, dtype: torch.dtype, *, runs: int = 20) -> float:
    """The measured speed of the product of two large square matrices, in TFLOP/s."""
    side = MATRIX[device.type]
    one = torch.randn(side, side, device=device, dtype=dtype)
    one @ one
    start = now(device)
    for _ in range(runs):
        one @ one
    return runs * 2 * side**3 / (now(device) - start) / 1e12


def device_name(accelerator: Accelerator) -> str:
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    precision = "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    return f"{accelerator.num_processes} x {name}, {precision}"


def memory_table(result: Measured) -> str:
    """A row of planned and counted GB for each part, and the allocator's numbers on a GPU."""
    rows = [("GB", "planned", "measured")]
    for name in (part.name for part in fields(Memory)):
        rows.append((name, gigabytes(getattr(result.planned, name)), gigabytes(getattr(result.counted, name))))
    rows.append(("total", gigabytes(result.planned.total), gigabytes(result.counted.total)))
    if result.saved_bytes:
        rows.append(("kept for the backward pass", "", gigabytes(result.saved_bytes)))
    if result.peak_bytes:
        rows.append(("held between steps", "", gigabytes(result.held_bytes)))
        rows.append(("peak of a step", "", gigabytes(result.peak_bytes)))
    return table(rows)


def speed(result: Measured) -> str:
    rows = {
        "device": result.device,
        "build": f"{result.build_seconds:.1f} s",
        "step": f"{statistics.median(result.step_seconds):.3f} s",
        "matrix rate": f"{result.matrix_tflops:.3g} TFLOP/s",
    }
    if result.flops:
        rows["speed"] = f"{result.tflops:.3g} TFLOP/s, {result.share:.1%} of the matrix rate"
    return named_values(list(rows.items()))


if __name__ == "__main__":
    sys.exit(run_script(paper))
