"""Assigns clips to splits: by the split that is given for them, or by a hash of their group."""

import logging
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data.sources.base import SPLITS

log = logging.getLogger(__name__)

SplitFraction = Annotated[float, Gt(0), Lt(1)]

# Splits as numbers, and the number of a clip whose split is not given.
TRAIN, VALIDATION, TEST = (SPLITS.index(split) for split in ("train", "validation", "test"))
NOT_GIVEN = -1


def rank_of(group: str) -> float:
    """A hash of a group in [0, 1), by which its clips are assigned to a split."""
    return stable_hash(group) / 2**63


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise UserError if the fractions are not shares of clips, or leave nothing for training."""
    for name, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 < fraction < 1:
            raise UserError(f"data.{name}={fraction}: it is a share of clips. Use a fraction between 0 and 1.")
    if validation_fraction + test_fraction >= 1:
        raise UserError(
            f"data.validation_fraction={validation_fraction} and data.test_fraction={test_fraction} leave no training "
            "clips. Use fractions whose sum is below 1."
        )


def assign_splits(
    given: np.ndarray, ranks: np.ndarray, *, validation_fraction: float, test_fraction: float
) -> np.ndarray:
    """The split of each clip.

    Clips without a given split are assigned by the rank of their group: test clips below `test_fraction`, validation
    clips in the next `validation_fraction`, training clips above. So a group is in one split, and stays there as the
    data set grows. Of three groups or more, each split has at least one; of two, one is for training and one for the
    test.

    If all clips have a given split, and only one of validation and test is given, those clips are the test clips.
    Validation clips are then taken from the training clips, by the rank of their group.

    Args:
        given: index in SPLITS of each clip's given split, or NOT_GIVEN; int (N,).
        ranks: `rank_of` each clip's group; NaN for a clip that keeps its given split; float (N,).
        validation_fraction: share of the groups in the validation split.
        test_fraction: share of the groups in the test split.

    Returns:
        The index in SPLITS of each clip's split, int (N,).
    """
    has_train, has_validation, has_test = (bool((given == split).any()) for split in (TRAIN, VALIDATION, TEST))
    free = given == NOT_GIVEN
    if not free.any() and has_validation != has_test:
        return _with_validation(given, ranks, validation_fraction)
    # In the order of their ranks: groups for the test, for validation, for training.
    groups = np.unique(ranks[free])
    most = max(0, len(groups) - (not has_train))
    end_of_test = min(max(int((groups < test_fraction).sum()), not has_test), most)
    end = int((groups < test_fraction + validation_fraction).sum())
    end = min(max(end, end_of_test + (not has_validation)), most)
    if not has_validation and end == end_of_test and end > 1:
        end_of_test -= 1
    places = np.searchsorted(groups, ranks)
    by_rank = np.where(places < end_of_test, TEST, np.where(places < end, VALIDATION, TRAIN))
    return np.where(free, by_rank, given)


def _with_validation(given: np.ndarray, ranks: np.ndarray, fraction: float) -> np.ndarray:
    """The splits of clips that have only one given split besides training: see `assign_splits`."""
    found = np.where(given == VALIDATION, TEST, given)
    groups = np.unique(ranks[(given == TRAIN) & ~np.isnan(ranks)])
    # At least one, and at least one is left for training.
    number = max(0, min(max(1, int((groups < fraction).sum())), len(groups) - 1))
    chosen = (given == TRAIN) & np.isin(ranks, groups[:number])
    log.warning(
        "The clips have a given split, and none is a %s clip. The %d %s clips are the test clips, which are reported; "
        "%d of %d training clips are validation clips instead (data.validation_fraction=%g). To choose them yourself, "
        "give the splits train, validation and test.",
        *("test" if (given == VALIDATION).any() else "validation", (found == TEST).sum()),
        *("validation" if (given == VALIDATION).any() else "test", chosen.sum(), (given == TRAIN).sum(), fraction),
    )
    return np.where(chosen, VALIDATION, found)
