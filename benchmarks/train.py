"""Seconds a step of vtok's training loop, compared with a bare PyTorch loop that does the same arithmetic.

    python benchmarks/train.py steps=200 trainer.ema_decay=0.999

from the root of a checkout, with vtok installed.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path

import torch
from omegaconf import DictConfig

from vtok.cli.main import run_script
from vtok.common.errors import UserError
from vtok.common.files import check_writable, write_text
from vtok.common.setting_types import Count
from vtok.common.weights import check_available
from vtok.config import check, compose
from vtok.config.weights import weights_of_run
from vtok.data import BadFiles, DataSource
from vtok.evaluation.cost.timing import now
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.model.build import build, build_model, build_optimiser, build_scheduler
from vtok.tracking import Tracker
from vtok.tracking.sender import JOURNAL, read_lines
from vtok.training import Trainer
from vtok.training.batches import training_batches
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.loop import Start, run_loop
from vtok.training.training_run import TrainingRun

MAX_BATCHES = 8


def train(*, steps: Count = 200, out: str | None = None, overrides: Sequence[str] = ()) -> str:
    """Seconds a step of the trainer, with tracking, weight averaging and log, and of a bare loop.

    The two loops take turns of trainer.log_every steps. Takes train's overrides. The batches are in memory, so
    decoding is not measured.

    Args:
        steps: optimiser steps of each loop.
        out: JSON file for the metrics.
        overrides: overrides of the configuration.

    Raises:
        UserError: if there are too few steps, or the configuration cannot run.
    """
    if out is not None:
        check_writable(Path(out), suffix=".json")
    config = compose(overrides)
    check_available(weights_of_run(config))
    check(config)
    turn = config.trainer.log_every
    if steps < (least := min_steps(turn)):
        raise UserError(
            f"steps={steps}: too few to compare turns of trainer.log_every={turn} steps. "
            f"Use {least} or more, or set a smaller trainer.log_every."
        )
    result = measure(config, steps=steps)
    if out is not None:
        metrics = {"trainer": result.trainer, "bare": result.bare, "ratios": result.ratios, "shares": result.shares}
        write_text(Path(out), json.dumps({"overrides": overrides, "steps": steps, "turn": turn, **metrics}, indent=1))
    ratios = result.ratios
    low, middle, high = statistics.quantiles(ratios) if len(ratios) > 1 else 3 * ratios
    lines = [
        f"trainer    {1000 * statistics.mean(result.trainer):.1f} ms a step",
        f"bare loop  {1000 * statistics.mean(result.bare):.1f} ms a step",
        f"ratio      {result.ratio:.3f} in all; median of {len(ratios)} turns of {turn} steps {middle:.3f}, "
        f"quartiles {low:.3f} and {high:.3f}",
    ]
    if result.shares:
        lines.append("trainer's  " + ", ".join(f"{part} {share:.1%}" for part, share in result.shares.items()))
    return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """The measured times.

    Attributes:
        trainer: seconds a step in each of the trainer's turns, without the first, which warms up.
        bare: seconds a step in each of the bare loop's turns before and after them, one more.
        shares: share of the trainer's time by part (forward, backward, ...), without waiting for data.
    """

    trainer: tuple[float, ...]
    bare: tuple[float, ...]
    shares: dict[str, float]

    @property
    def ratio(self) -> float:
        """All of the trainer's time divided by the bare loop's."""
        return sum(self.trainer) / sum(statistics.mean(bare) for bare in pairwise(self.bare))

    @property
    def ratios(self) -> list[float]:
        """Each turn of the trainer divided by the bare loop's before and after it, so that a slow drift cancels."""
        around = pairwise(self.bare)
        return [ours / statistics.mean(bare) for ours, bare in zip(self.trainer, around, strict=True)]


def measure(config: DictConfig, *, steps: int) -> Result:
    """Time `steps` optimiser steps of the trainer and of a bare loop, in turns, on the same batches.

    The trainer tracks, averages weights, shows its bar (which counts the bare loop's turns as waiting for data) and
    logs as the configuration says. The bare loop only computes.
    """
    config = config.copy()
    config.trainer.max_steps, config.trainer.evaluate_every = steps, 0
    trainer: Trainer = build(config.trainer)
    # Batches differ in length: each turn must see each of them equally often.
    batches_per_turn = trainer.log_every * trainer.accumulate
    number = max(count for count in range(1, MAX_BATCHES + 1) if batches_per_turn % count == 0)
    batches = first_batches(config, trainer, build_model(config), number=number)
    device = trainer.accelerator().device
    bare_model, trainer_model = build_model(config).to(device), build_model(config).to(device)
    turns = Turns(
        batches,
        bare_loop(config, trainer, bare_model, batches),
        turn=trainer.log_every,
        accumulate=trainer.accumulate,
        device=device,
    )
    shares = trainer_loop(config, trainer, trainer_model, turns)
    return Result(tuple(turns.trainer_seconds[1:]), tuple(turns.bare_seconds[1:]), shares)


class Turns(Iterator[Batch]):
    """The trainer's batches, over and over; after every `turn` steps of the trainer the bare loop takes as many.

    It does so midway between two of the trainer's logs, so that work that a log leaves to a thread is done in the
    trainer's time.

    Args:
        batches: batches in memory.
        bare: the bare loop, which takes a step when it is advanced.
        turn: number of steps in a turn.
        accumulate: number of batches in a step of the trainer.
        device: device of both loops.
    """

    def __init__(
        self, batches: Sequence[Batch], bare: Iterator[None], *, turn: int, accumulate: int, device: torch.device
    ) -> None:
        self._batches, self._bare, self._turn, self._device = cycle(batches), bare, turn, device
        self._batches_until_switch = turn // 2 * accumulate
        self._batches_per_turn = turn * accumulate
        self._started: float | None = None
        self.trainer_seconds: list[float] = []
        self.bare_seconds: list[float] = []

    def __next__(self) -> Batch:
        if self._batches_until_switch == 0:
            self._take_bare_turn()
            self._batches_until_switch = self._batches_per_turn
        self._batches_until_switch -= 1
        return next(self._batches)

    def _take_bare_turn(self) -> None:
        began = now(self._device)
        if self._started is not None:
            self.trainer_seconds.append((began - self._started) / self._turn)
        for _ in range(self._turn):
            next(self._bare)
        self._started = now(self._device)
        self.bare_seconds.append((self._started - began) / self._turn)


def min_steps(turn: int) -> int:
    """Steps for one ratio: half a turn, a turn that warms up, a measured turn, and a step before which it ends."""
    return turn // 2 + 2 * turn + 1


def bare_loop(
    config: DictConfig, trainer: Trainer, model: VideoLanguageModel, batches: Sequence[Batch]
) -> Iterator[None]:
    """A training loop in plain PyTorch; yields after each step."""
    accelerator = trainer.accelerator()
    optimiser = build_optimiser(config, model)
    scheduler = build_scheduler(config, optimiser)
    ema = None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    endless = cycle(batches)
    model.train()
    # Before its first step the trainer measures the scale of the tokens.
    for batch in batches[: trainer.accumulate]:
        with accelerator.autocast():
            model.measure(batch.to(accelerator.device))
    model.end_step()
    scale_is_new = True
    while True:
        for _ in range(trainer.accumulate):
            with accelerator.autocast():
                loss = model(next(endless).to(accelerator.device))["loss"]
            (loss / trainer.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(parameters, trainer.clip_norm)
        optimiser.step()
        model.end_step(discard=scale_is_new)
        scale_is_new = False
        scheduler.step()
        optimiser.zero_grad()
        if ema:
            ema.update()
        yield


def shares_of_time(journal: Path) -> dict[str, float]:
    """Mean share of a step's time by part, without data, from the tracked metrics; empty if nothing was tracked."""
    found: dict[str, list[float]] = {}
    for line in read_lines(journal):
        for name, value, _, _ in json.loads(line):
            part = name.removeprefix("train/time_")
            if part not in (name, "data"):
                found.setdefault(part, []).append(value)
    means = {part: statistics.mean(values) for part, values in found.items()}
    total = sum(means.values())
    return {part: mean / total for part, mean in means.items()}


# The code below depends on the internals of vtok.training.


def first_batches(config: DictConfig, trainer: Trainer, model: VideoLanguageModel, *, number: int) -> list[Batch]:
    """The first batches of a run; raises UserError if there are none."""
    source: DataSource = build(config.data)
    source.prepare()
    batches = training_batches(
        trainer=trainer,
        model=model,
        source=source,
        loader=build(config.loader),
        clips=source.clips("train"),
        seed=config.seed,
        start=Start(step=0, samples=0),
    )
    return list(islice(batches, number))


def trainer_loop(
    config: DictConfig, trainer: Trainer, model: VideoLanguageModel, batches: Iterator[Batch]
) -> dict[str, float]:
    """Train in a temporary folder with a tracking store of its own; returns the shares of the time by part."""
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
            loader=build(config.loader),
            clips={},
            evaluated=(),
            tracker=tracker,
            bad_files=BadFiles(clips=1, max_fraction=1.0),
            alignment=build(config.evaluation),
            generation=build(config.generation),
        )
        run_loop(run, batches, start=Start(step=0, samples=0), interrupt=Interrupt())
        tracker.finish("FINISHED")
        return shares_of_time(folder / "run" / JOURNAL)


if __name__ == "__main__":
    sys.exit(run_script(train))
