"""The micro-batches of an optimiser step, and the processes' reports before the step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vtok.common.distributed import gathered, summed
from vtok.common.errors import UserError
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.model.objective import LOSSES
from vtok.training.interrupt import Interrupt


@dataclass(frozen=True)
class Report:
    """The report of a process, or of all processes together, before a step.

    Attributes:
        counts: number of items that each loss is a mean over, by the loss's name, in all micro-batches.
        unmeasured: whether there are tokens of a kind whose scale is not known.
        bad: (label, reason) of clips that were replaced.
        signal: number of the signal that asks the run to stop, if any.
        mistake: message of the user error that prevented a batch, if any.
    """

    counts: Mapping[str, int]
    unmeasured: bool = False
    bad: Sequence[tuple[str, str]] = ()
    signal: int | None = None
    mistake: str | None = None

    @property
    def has_details(self) -> bool:
        """Whether it has more than numbers."""
        return bool(self.bad) or self.signal is not None or self.mistake is not None


def take_batches(
    batches: Iterator[Batch], number: int, *, model: VideoLanguageModel, interrupt: Interrupt
) -> tuple[list[Batch], Report]:
    """The next `number` micro-batches of this process, and its report; no batches after a signal."""
    try:
        micro = [] if interrupt.signal is not None else [next(batches) for _ in range(number)]
    except UserError as error:
        return [], Report(counts=dict.fromkeys(LOSSES, 0), mistake=str(error))
    counts = [batch.counts() for batch in micro]
    return micro, Report(
        counts={name: sum(count[name] for count in counts) for name in LOSSES},
        unmeasured=any(model.is_unmeasured(batch) for batch in micro),
        bad=[bad for batch in micro for bad in batch.bad],
        # A signal that came while the process waited for data stops the run now, too.
        signal=interrupt.signal,
    )


def combine_reports(own: Report) -> Report:
    """The reports of all processes in one; all of them must call it.

    A step costs one small sum over the processes, on the CPU, so that none waits for its GPU. Texts and signals are
    sent only when some process has one.

    Raises:
        UserError: a process has no batch, and no signal stops the run; raised by all processes.
    """
    numbers = summed([own.has_details, own.unmeasured, *(own.counts[name] for name in LOSSES)])
    details, unmeasured, *counts = numbers
    reports = gathered(own) if details else [own]
    signal = next((one.signal for one in reports if one.signal is not None), None)
    mistake = next((one.mistake for one in reports if one.mistake is not None), None)
    if mistake is not None and signal is None:
        raise UserError(mistake)
    return Report(
        counts=dict(zip(LOSSES, counts, strict=True)),
        unmeasured=unmeasured > 0,
        bad=[bad for one in reports for bad in one.bad],
        signal=signal,
        mistake=mistake,
    )
