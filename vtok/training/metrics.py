"""Metrics of the training loop: losses, speed, and the share of time of each part of a step."""

import math
import time
from collections.abc import Mapping, Sequence
from statistics import median

import torch
from accelerate import Accelerator

from vtok.common.flops import flop_counter
from vtok.model.batch import Batch
from vtok.model.objective import ACCURACY

LOSS_MEMORY = 0.95


class Stopwatch:
    """Measures the share of time of each part of a step.

    A GPU runs asynchronously, so its parts are timed by CUDA events.

    Args:
        device: device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._laps: list[tuple[str, float | torch.cuda.Event, float | torch.cuda.Event]] = []
        self.begin()

    def begin(self) -> None:
        """Start a new lap; the time since the last lap is not counted."""
        self._last = self._now()

    def lap(self, part: str) -> None:
        """Count the time since the last lap as `part`."""
        now = self._now()
        self._laps.append((part, self._last, now))
        self._last = now

    def shares(self) -> dict[str, float]:
        """The share of each part in the time of all laps since the last call."""
        if self._on_gpu:
            torch.cuda.synchronize()
        seconds: dict[str, float] = {}
        for part, start, end in self._laps:
            seconds[part] = seconds.get(part, 0.0) + _between(start, end)
        self._laps.clear()
        total = max(1e-9, sum(seconds.values()))
        return {part: spent / total for part, spent in seconds.items()}

    def _now(self) -> float | torch.cuda.Event:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _between(start: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return start.elapsed_time(end) / 1000
    assert isinstance(start, float)
    assert isinstance(end, float)
    return end - start


class Meter:
    """Running metrics of the loop.

    Args:
        watch: stopwatch for the parts of a step.
        peak_tflops: peak speed of the device in TFLOP/s, for `train/mfu`; None: not known.
        loss: running mean of the loss so far; inf: no step yet.

    Attributes:
        loss: running mean of the loss.
        flops: number of floating-point operations of a step; 0: not counted.
    """

    def __init__(self, watch: Stopwatch, *, peak_tflops: float | None, loss: float = math.inf) -> None:
        self.loss = loss
        self.flops = 0
        self.watch = watch
        self._peak = peak_tflops
        self._intervals: list[float] = []
        self._since: dict[str, float] = {}
        self._parts: dict[str, float] = {}
        self._names: tuple[str, ...] = ()
        self._number = self._losses = self._tokens = self._clips = 0
        self._seconds = 0.0

    def begin_step(self) -> None:
        """Start or restart the time of a step."""
        self._began = time.perf_counter()
        self.watch.begin()

    def add(self, losses: Sequence[Mapping[str, float]], *, tokens: int, clips: int) -> None:
        """Add a step that ends now.

        Args:
            losses: losses by name of the steps whose losses have become known: none, or those of all steps so far.
            tokens: number of the step's tokens.
            clips: number of the step's clips.
        """
        # A step that does not read losses ends while the device still computes; the next one that does waits for all.
        seconds = time.perf_counter() - self._began
        self.add_losses(losses)
        self._number += 1
        self._tokens += tokens
        self._clips += clips
        self._seconds += seconds

    def add_losses(self, losses: Sequence[Mapping[str, float]]) -> None:
        """Add the losses by name of steps that have been added without them."""
        for known in losses:
            loss = known["loss"]
            self.loss = loss if math.isinf(self.loss) else LOSS_MEMORY * self.loss + (1 - LOSS_MEMORY) * loss
            for name, value in known.items():
                self._since[name] = self._since.get(name, 0.0) + value
        self._losses += len(losses)

    def metrics(self) -> dict[str, float]:
        """Means since the last call by name, including the share of time of each part."""
        number, seconds = max(1, self._number), max(1e-9, self._seconds)
        self._intervals.append(self._seconds / number)
        shares = self.watch.shares()
        for part, share in shares.items():
            self._parts[part] = self._parts.get(part, 0.0) + share * seconds
        self._names = tuple(self._since)
        self._last = {f"train/{name}": value / max(1, self._losses) for name, value in self._since.items()} | {
            "train/tokens_per_second": self._tokens / seconds,
            "train/samples_per_second": self._clips / seconds,
            "train/seconds_per_step": seconds / number,
            **{f"train/time_{part}": share for part, share in shares.items()},
        }
        if self.flops and self._peak:
            tflops = self.flops * number / seconds / 1e12
            self._last |= {"train/tflops": tflops, "train/mfu": tflops / self._peak}
        self._since, self._seconds = {}, 0.0
        self._number = self._losses = self._tokens = self._clips = 0
        return self._last

    def line(self, *, lr: float, steps_left: int) -> str:
        """The last metrics as text, for the log.

        Args:
            lr: learning rate.
            steps_left: number of steps until the end, for the time left.
        """
        last = {name.removeprefix("train/"): value for name, value in self._last.items()}
        others = ("loss", "grad_norm", ACCURACY)
        parts = {name: value for name, value in last.items() if name in self._names and name not in others}
        accuracy = f", token accuracy {last[ACCURACY]:.1%}" if ACCURACY in self._names else ""
        each = f" ({', '.join(f'{name} {value:.4g}' for name, value in parts.items())})" if len(parts) > 1 else ""
        speed = "".join(f", {name} {last[name]:.3g}" for name in ("tflops", "mfu") if name in last)
        return (
            f"loss {last['loss']:.4g}{each}{accuracy}, lr {lr:.2g}, grad_norm {last['grad_norm']:.3g}, "
            f"{last['samples_per_second']:.3g} clips/s, {last['tokens_per_second']:,.0f} tokens/s{speed}, "
            f"{clock(steps_left * self.seconds_per_step)} left"
        )

    def time_shares(self) -> str:
        """The share of each part of a step in the time so far, as text."""
        total = max(1e-9, sum(self._parts.values()))
        return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in self._parts.items())

    @property
    def seconds_per_step(self) -> float:
        """Median over the logged intervals of the mean duration of a step."""
        return median(self._intervals) if self._intervals else 0.0


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour up."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count_flops(model: torch.nn.Module, batch: Batch, accelerator: Accelerator) -> int:
    """Number of floating-point operations of a forward and a backward pass, by torch's counter.

    Recomputation by gradient checkpointing is counted too. The model does not change. The pass is not a training step,
    because the counter uses other kernels, which round differently.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    on = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(on), flop_counter() as counter:
        with accelerator.autocast():
            loss = model(batch)["loss"]
        loss.backward()
    model.zero_grad()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return counter.get_total_flops()


def count_tokens(batch: Batch) -> int:
    """Number of video and text tokens that go through the language model, without padding."""
    return sum(int(text.mask.sum()) for text in (batch.text, batch.captions) if text is not None)
