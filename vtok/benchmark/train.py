"""Seconds a step of the trainer and of a bare loop that does the same arithmetic, in turns."""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import torch
from omegaconf import DictConfig

from vtok.batch import Batch
from vtok.build import build, build_model, build_optimiser, build_scheduler
from vtok.data import BadFiles, DataSource
from vtok.model import VideoLanguageModel
from vtok.tracking import Tracker
from vtok.tracking.sender import JOURNAL, read_lines
from vtok.training import Trainer
from vtok.training.batches import training_batches
from vtok.training.best import Best
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.trainer import Start

WARM_UP = 3
BATCHES = 8


@dataclass(frozen=True)
class Result:
    """Seconds a step by round, and how the trainer's time is shared out, by part."""

    trainer: tuple[float, ...]
    bare: tuple[float, ...]
    shares: dict[str, float]

    @property
    def ratios(self) -> list[float]:
        """Of the trainer's time to the bare loop's in the same round."""
        return [ours / bare for ours, bare in zip(self.trainer, self.bare, strict=True)]


class Timed(Iterator[Batch]):
    """Batches out of memory, again and again, and the times at which they were asked for."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = cycle(batches)
        self._asked: list[float] = []

    def __next__(self) -> Batch:
        self._asked.append(time.perf_counter())
        return next(self._batches)

    def seconds(self, steps: int) -> float:
        """Of a step; the first few, which warm up, and the last, which nothing is asked after, are left out."""
        times = self._asked[:: len(self._asked) // steps][WARM_UP:]
        return (times[-1] - times[0]) / (len(times) - 1)


def measure(config: DictConfig, *, steps: int, runs: int) -> Result:
    """`runs` rounds of `steps` optimiser steps by each loop, on the same batches from the same weights.

    The batches lie in memory, so that decoding is no part of it. The trainer tracks, averages, shows its bar and logs
    as the configuration says; the bare loop only computes.
    """
    config = config.copy()
    config.trainer.max_steps, config.trainer.evaluate_every = steps, 0
    trainer: Trainer = build(config.trainer)
    batches = make_batches(config, build_model(config), number=min(BATCHES, steps * trainer.accumulate))
    device = trainer.accelerator().device
    ours, bare, shares = [], [], {}
    for number in range(runs):
        for loop in ("trainer", "bare") if number % 2 else ("bare", "trainer"):
            timed = Timed(batches)
            model = build_model(config).to(device)
            if loop == "bare":
                bare_loop(config, trainer, model, timed, steps=steps)
                bare.append(timed.seconds(steps))
            else:
                shares = trainer_loop(config, trainer, model, timed)
                ours.append(timed.seconds(steps))
    return Result(tuple(ours), tuple(bare), shares)


def make_batches(config: DictConfig, model: VideoLanguageModel, *, number: int) -> list[Batch]:
    """The first batches of the run; raises UserError where it has none."""
    source: DataSource = build(config.data)
    source.prepare()
    batches = training_batches(
        trainer=build(config.trainer),
        model=model,
        source=source,
        clips=source.clips("train"),
        seed=config.seed,
        start=Start(step=0, samples=None),
    )
    return list(islice(batches, number))


def bare_loop(config: DictConfig, trainer: Trainer, model: VideoLanguageModel, batches: Timed, *, steps: int) -> None:
    """What is written where no framework is at hand."""
    accelerator = trainer.accelerator()
    optimiser = build_optimiser(config, model)
    scheduler = build_scheduler(config, optimiser)
    ema = None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    model.train()
    for _ in range(steps):
        for _ in range(trainer.accumulate):
            with accelerator.autocast():
                loss = model(next(batches).to(accelerator.device))["loss"]
            (loss / trainer.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(parameters, trainer.clip_norm)
        optimiser.step()
        scheduler.step()
        optimiser.zero_grad()
        if ema:
            ema.update()


def trainer_loop(config: DictConfig, trainer: Trainer, model: VideoLanguageModel, batches: Timed) -> dict[str, float]:
    """`Trainer.fit` in a folder and a store of its own; returns the shares of its time by part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracking = config.tracking.copy()
        if "uri" in tracking:
            tracking.uri = f"sqlite:///{folder}/mlflow.db"
        tracker: Tracker = build(tracking)
        tracker.start(folder / "run", {}, [], "benchmark", None, None)
        optimiser = build_optimiser(config, model)
        trainer.fit(
            accelerator=trainer.accelerator(),
            model=model,
            batches=batches,
            optimiser=optimiser,
            scheduler=build_scheduler(config, optimiser),
            ema=None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay),
            start=Start(step=0, samples=None),
            tracker=tracker,
            bad_files=BadFiles(clips=1, max_fraction=1.0),
            evaluate=lambda step: None,
            best=Best(folder / "run", metric=None, mode="max"),
            interrupt=Interrupt(),
            run_dir=folder / "run",
        )
        tracker.finish("FINISHED")
        return shares_of(folder / "run" / JOURNAL)


def shares_of(journal: Path) -> dict[str, float]:
    """The mean shares of a step's time by part, out of what was tracked; empty where nothing was."""
    found: dict[str, list[float]] = {}
    for line in read_lines(journal):
        for name, value, _, _ in json.loads(line):
            if name.startswith("train/time_"):
                found.setdefault(name.removeprefix("train/time_"), []).append(value)
    return {part: statistics.mean(values) for part, values in found.items()}
