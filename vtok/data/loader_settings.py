"""Settings of the data loader."""

from dataclasses import dataclass

from vtok.common.setting_types import Count, CountOrZero, Fraction


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """Settings of the data loader.

    Args:
        batch_size: number of clips in a batch of each process.
        num_workers: number of processes that decode; 0: the main process decodes.
        memory_mb: memory in MB of each training process in which decoded training clips stay after their first epoch.
            Each of its workers keeps a copy of all clips. If they do not fit, or augmentation changes them, they are
            read again in each epoch; 0: always read again.
        max_bad_fraction: share of broken clips above which a run stops.
    """

    batch_size: Count = 16
    num_workers: CountOrZero = 1
    memory_mb: CountOrZero = 1000
    max_bad_fraction: Fraction = 0.1
