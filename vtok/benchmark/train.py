"""Seconds a step of the trainer and of a bare loop that does the same arithmetic, in turns."""

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path

import torch
from omegaconf import DictConfig

from vtok.data import BadFiles, DataSource
from vtok.evaluation.cost.clock import now
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.model.build import build, build_model, build_optimiser, build_scheduler
from vtok.tracking import Tracker
from vtok.tracking.sender import JOURNAL, read_lines
from vtok.training import Trainer
from vtok.training.batches import training_batches
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.loop import Start, fit
from vtok.training.run import TrainingRun

MOST_BATCHES = 8


@dataclass(frozen=True)
class Result:
    """Seconds a step by turn, and how the trainer's time is shared out, by part.

    Attributes:
        trainer: of turns of `trainer.log_every` steps, without the first, which warms up.
        bare: of the bare loop's turns around them, one more.
        shares: waiting for data left out.
    """

    trainer: tuple[float, ...]
    bare: tuple[float, ...]
    shares: dict[str, float]

    @property
    def ratio(self) -> float:
        """Of all of the trainer's time to the bare loop's."""
        return sum(self.trainer) / sum(statistics.mean(bare) for bare in pairwise(self.bare))

    @property
    def ratios(self) -> list[float]:
        """Of a turn of the trainer to the bare loop's before and after it, so that a machine's drift cancels."""
        around = pairwise(self.bare)
        return [ours / statistics.mean(bare) for ours, bare in zip(self.trainer, around, strict=True)]


class Turns(Iterator[Batch]):
    """The trainer's batches, out of memory again and again; every `turn` steps the other loop has as many.

    The other's turn is midway between two logs of the trainer, so that what a log leaves to a thread is done in the
    trainer's time.

    Args:
        batches: to take in turns.
        other: takes a step when it is advanced.
        turn: steps of each.
        accumulate: batches a step of the trainer.
        device: that both compute on.
    """

    def __init__(
        self, batches: Sequence[Batch], other: Iterator[None], *, turn: int, accumulate: int, device: torch.device
    ) -> None:
        self._batches, self._other, self._turn, self._device = cycle(batches), other, turn, device
        self._until_switch = turn // 2 * accumulate
        self._asks_a_turn = turn * accumulate
        self._since: float | None = None
        self.ours: list[float] = []
        self.others: list[float] = []

    def __next__(self) -> Batch:
        if self._until_switch == 0:
            self._switch()
            self._until_switch = self._asks_a_turn
        self._until_switch -= 1
        return next(self._batches)

    def _switch(self) -> None:
        began = now(self._device)
        if self._since is not None:
            self.ours.append((began - self._since) / self._turn)
        for _ in range(self._turn):
            next(self._other)
        self._since = now(self._device)
        self.others.append((self._since - began) / self._turn)


def least_steps(turn: int) -> int:
    """Of the trainer, for one ratio: half a turn, a turn that warms up, a turn, and a step to be paused before."""
    return turn // 2 + 2 * turn + 1


def measure(config: DictConfig, *, steps: int) -> Result:
    """`steps` optimiser steps of the trainer, a bare loop's in turns with them, on the same batches.

    The batches lie in memory, so that decoding is no part of it. The trainer tracks, averages, shows its bar (which
    takes the bare loop's turns for waiting) and logs as the configuration says; the bare loop only computes.
    """
    config = config.copy()
    config.trainer.max_steps, config.trainer.evaluate_every = steps, 0
    trainer: Trainer = build(config.trainer)
    # Every turn sees each batch as often as every other turn, as batches are not of one length.
    asks = trainer.log_every * trainer.accumulate
    number = max(count for count in range(1, MOST_BATCHES + 1) if asks % count == 0)
    batches = make_batches(config, build_model(config), number=number)
    device = trainer.accelerator().device
    bare, ours = build_model(config).to(device), build_model(config).to(device)
    turns = Turns(
        batches,
        bare_loop(config, trainer, bare, batches),
        turn=trainer.log_every,
        accumulate=trainer.accumulate,
        device=device,
    )
    shares = trainer_loop(config, trainer, ours, turns)
    return Result(tuple(turns.ours[1:]), tuple(turns.others[1:]), shares)


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
        start=Start(step=0, samples=0),
    )
    return list(islice(batches, number))


def bare_loop(
    config: DictConfig, trainer: Trainer, model: VideoLanguageModel, batches: Sequence[Batch]
) -> Iterator[None]:
    """What is written where no framework is at hand; pauses after each step."""
    accelerator = trainer.accelerator()
    optimiser = build_optimiser(config, model)
    scheduler = build_scheduler(config, optimiser)
    ema = None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    again = cycle(batches)
    model.train()
    while True:
        for _ in range(trainer.accumulate):
            with accelerator.autocast():
                loss = model(next(again).to(accelerator.device))["loss"]
            (loss / trainer.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(parameters, trainer.clip_norm)
        optimiser.step()
        model.end_step()
        scheduler.step()
        optimiser.zero_grad()
        if ema:
            ema.update()
        yield


def trainer_loop(
    config: DictConfig, trainer: Trainer, model: VideoLanguageModel, batches: Iterator[Batch]
) -> dict[str, float]:
    """`vtok.training.loop.fit` in a folder and a store of its own; returns the shares of its time by part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracking = config.tracking.copy()
        if "uri" in tracking:
            tracking.uri = f"sqlite:///{folder}/mlflow.db"
        tracker: Tracker = build(tracking)
        tracker.start(folder / "run", {}, [], "benchmark", None, None)
        optimiser = build_optimiser(config, model)
        run = TrainingRun(
            run_dir=folder / "run",
            seed=config.seed,
            trainer=trainer,
            accelerator=trainer.accelerator(),
            model=model,
            optimiser=optimiser,
            scheduler=build_scheduler(config, optimiser),
            ema=None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay),
            source=build(config.data),
            clips={},
            tracker=tracker,
            bad_files=BadFiles(clips=1, max_fraction=1.0),
            alignment=build(config.evaluation),
            generation=build(config.generation),
        )
        fit(run, batches, start=Start(step=0, samples=0), interrupt=Interrupt())
        tracker.finish("FINISHED")
        return shares_of(folder / "run" / JOURNAL)


def shares_of(journal: Path) -> dict[str, float]:
    """The mean shares of a step's time by part but data, out of what was tracked; empty where nothing was."""
    found: dict[str, list[float]] = {}
    for line in read_lines(journal):
        for name, value, _, _ in json.loads(line):
            part = name.removeprefix("train/time_")
            if part not in (name, "data"):
                found.setdefault(part, []).append(value)
    means = {part: statistics.mean(values) for part, values in found.items()}
    whole = sum(means.values())
    return {part: mean / whole for part, mean in means.items()}
