"""Figures on their way to an MLflow store, which may be away for a while."""

import json
import logging
import queue
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import parse_json, read_text

logger = logging.getLogger(__name__)

JOURNAL, MARK = "metrics.jsonl", "metrics.sent"
RETRY_SECONDS = 5.0
# What no further try would change: the run was deleted, or a figure is none that MLflow takes.
HOPELESS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST")


class Sender:
    """Sends figures in their order, in a thread of its own.

    Every batch is first written to `metrics.jsonl` of the run folder, a line each of [name, value, milliseconds, step];
    `metrics.sent` says how many lines the store has. What it does not take is tried again every few seconds, and what
    is left in the end, or was left by a process that was killed, is sent by the next one that opens the folder.

    Args:
        client: of the store.
        run_id: of the run.
        folder: of the run.
    """

    def __init__(self, client: MlflowClient, run_id: str, folder: Path) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder
        self._waiting: queue.SimpleQueue[Sequence[Metric] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        lines = read_lines(folder / JOURNAL)
        self._written, self._sent = len(lines), min(sent_lines(folder), len(lines))
        for line in lines[self._sent :]:
            self._waiting.put([Metric(*entry) for entry in parse_entries(line, folder / JOURNAL)])
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def put(self, batch: Sequence[Metric]) -> None:
        """Have a batch sent; does not wait for the store."""
        entries = [[metric.key, metric.value, metric.timestamp, metric.step] for metric in batch]
        with (self._folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entries) + "\n")
        self._written += 1
        self._waiting.put(batch)

    def close(self, patience: float) -> int:
        """Wait until all is sent, `patience` seconds at most; returns how many batches are left."""
        self._waiting.put(None)
        self._thread.join(patience)
        self._stop.set()
        return self._written - self._sent

    def _work(self) -> None:
        while (batch := self._waiting.get()) is not None and self._deliver(batch):
            self._sent += 1
            write_text(self._folder / MARK, str(self._sent))

    def _deliver(self, batch: Sequence[Metric]) -> bool:
        """Send a batch, as often as it takes; False where the process ends before the store takes it."""
        away_since: float | None = None
        while not self._stop.is_set():
            try:
                self._client.log_batch(self._run_id, metrics=batch)
            except MlflowException as error:
                if error.error_code in HOPELESS:
                    logger.error("the MLflow store did not take figures, and will not: %s", error)
                    return True
                if away_since is None:
                    away_since = time.monotonic()
                    logger.warning("the MLflow store is away (%s); figures are kept and sent later", first_line(error))
                self._stop.wait(RETRY_SECONDS)
            else:
                if away_since is not None:
                    logger.info("the MLflow store is back after %.0f s", time.monotonic() - away_since)
                return True
        return False


def sent_lines(folder: Path) -> int:
    """How many lines of the folder's journal the store has; raises UserError where the mark cannot be read."""
    mark = folder / MARK
    text = read_text(mark) if mark.exists() else "0"
    if not re.fullmatch(r"[0-9]{1,12}", text.strip()):
        raise UserError(
            f"{mark}: it must be the number of lines of {JOURNAL} that were sent. Delete it to send all again."
        )
    return int(text)


def read_lines(journal: Path) -> list[str]:
    """The whole lines of a journal; one that was cut off by a kill is not among them.

    Raises:
        UserError: it cannot be read.
    """
    if not journal.exists():
        return []
    return [line for line in read_text(journal).splitlines(keepends=True) if line.endswith("\n")]


def parse_entries(line: str, journal: Path) -> list[tuple[str, float, int, int]]:
    """The figures of a line of a journal: name, value, milliseconds and step of each.

    Raises:
        UserError: it is no line of one.
    """
    try:
        entries = parse_json(line)
    except ValueError as error:
        raise UserError(f"{journal}: {error}.") from error
    if not isinstance(entries, list):
        entries = [None]
    for entry in entries:
        match entry:
            case [str(), int() | float(), int(), int()]:
                pass
            case _:
                raise UserError(f"{journal}: {line[:80]!r} is not a list of [name, value, milliseconds, step].")
    return [(name, value, when, step) for name, value, when, step in entries]


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
