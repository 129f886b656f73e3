"""Sends metrics to an MLflow store from a thread, and retries while the store cannot be reached."""

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

JOURNAL, SENT_COUNT = "metrics.jsonl", "metrics.sent"
RETRY_SECONDS = 5.0
# Errors that a retry cannot fix: the run was deleted, or MLflow does not accept a metric.
PERMANENT_ERRORS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST")


class Sender:
    """Sends batches of metrics in order, in a thread of its own.

    Every batch is first appended to `metrics.jsonl` in the run folder, as a line of [name, value, milliseconds, step]
    entries. `metrics.sent` holds the number of lines that the store has. A failed batch is sent again every few
    seconds. The next process that opens the folder sends the batches that this one could not.

    Args:
        client: client of the store.
        run_id: id of the run in the store.
        folder: the run folder.
    """

    def __init__(self, client: MlflowClient, run_id: str, folder: Path) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder
        self._queue: queue.SimpleQueue[Sequence[Metric] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        lines = read_lines(folder / JOURNAL)
        self._written, self._sent = len(lines), min(sent_lines(folder), len(lines))
        for line in lines[self._sent :]:
            self._queue.put([Metric(*entry) for entry in parse_entries(line, folder / JOURNAL)])
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def put(self, batch: Sequence[Metric]) -> None:
        """Queue a batch, without waiting for the store."""
        entries = [[metric.key, metric.value, metric.timestamp, metric.step] for metric in batch]
        with (self._folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entries) + "\n")
        self._written += 1
        self._queue.put(batch)

    def close(self, timeout: float) -> int:
        """Wait at most `timeout` seconds until all batches are sent; returns the number of unsent batches."""
        self._queue.put(None)
        self._thread.join(timeout)
        self._stop.set()
        return self._written - self._sent

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None and self._send(batch):
            self._sent += 1
            write_text(self._folder / SENT_COUNT, str(self._sent))

    def _send(self, batch: Sequence[Metric]) -> bool:
        """Send a batch, with retries; False if `close` stops the retries."""
        down_since: float | None = None
        while not self._stop.is_set():
            try:
                self._client.log_batch(self._run_id, metrics=batch)
            except MlflowException as error:
                if error.error_code in PERMANENT_ERRORS:
                    logger.error("the MLflow store refused metrics, and they are not sent again: %s", error)
                    return True
                if down_since is None:
                    down_since = time.monotonic()
                    logger.warning(
                        "the MLflow store cannot be reached (%s). Metrics are saved in %s and sent later.",
                        first_line(error), JOURNAL,
                    )  # fmt: skip
                self._stop.wait(RETRY_SECONDS)
            else:
                if down_since is not None:
                    logger.info("the MLflow store can be reached again after %.0f s", time.monotonic() - down_since)
                return True
        return False


def sent_lines(folder: Path) -> int:
    """The number of lines of the folder's journal that the store has.

    Raises:
        UserError: `metrics.sent` cannot be read, or is not a number.
    """
    file = folder / SENT_COUNT
    text = read_text(file) if file.exists() else "0"
    if not re.fullmatch(r"[0-9]{1,12}", text.strip()):
        raise UserError(
            f"{file} must hold the number of lines of {JOURNAL} that were sent. Delete it to send all again."
        )
    return int(text)


def read_lines(journal: Path) -> list[str]:
    """The complete lines of a journal. A process that is killed may leave an incomplete last line.

    Raises:
        UserError: the journal cannot be read.
    """
    if not journal.exists():
        return []
    return [line for line in read_text(journal).splitlines(keepends=True) if line.endswith("\n")]


def parse_entries(line: str, journal: Path) -> list[tuple[str, float, int, int]]:
    """The metrics of a line of a journal, each as (name, value, milliseconds, step).

    Raises:
        UserError: the line is not a list of such entries.
    """
    try:
        entries = parse_json(line)
    except ValueError as error:
        raise UserError(f"{journal} is damaged: {error}. Remove the damaged line.") from error
    if not isinstance(entries, list):
        entries = [None]
    for entry in entries:
        match entry:
            case [str(), int() | float(), int(), int()]:
                pass
            case _:
                raise UserError(
                    f"{journal} is damaged: {line[:80]!r} is not a list of [name, value, milliseconds, step]. "
                    "Remove that line."
                )
    return [(name, value, milliseconds, step) for name, value, milliseconds, step in entries]


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
