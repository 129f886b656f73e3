"""Signals that arrive while a run trains or evaluates."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from vtok.training.interrupt import Interrupt


@pytest.fixture
def arrived() -> Iterator[list[int]]:
    """Signals that act as usual."""
    numbers: list[int] = []
    before = {
        one: signal.signal(one, lambda number, _: numbers.append(number)) for one in (signal.SIGTERM, signal.SIGINT)
    }
    yield numbers
    for one, handler in before.items():
        signal.signal(one, handler)


def test_a_signal_is_stored_and_acts_at_the_end(arrived: list[int]) -> None:
    """One that came during the last evaluation was lost, and a sweep started its next run."""
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.signal == signal.SIGTERM
        assert not arrived
    assert arrived == [signal.SIGTERM]


def test_a_signal_that_stopped_the_run_does_not_act_again(arrived: list[int]) -> None:
    def stop() -> None:
        with Interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("saved")

    with pytest.raises(RuntimeError, match="saved"):
        stop()
    assert not arrived


@pytest.mark.usefixtures("arrived")
def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_in_a_thread_nothing_is_handled(arrived: list[int]) -> None:
    def run() -> None:
        with Interrupt():
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert arrived == [signal.SIGTERM]
