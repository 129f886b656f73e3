"""vtok doctor: checks what a tokeniser must not get wrong."""

from collections.abc import Sequence
from functools import partial

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.tables import named_values
from vtok.config import check, compose
from vtok.evaluation.doctor import FAILED, examine
from vtok.feature_cache import without_cache
from vtok.model.build import build_tokeniser, device_of
from vtok.tokeniser import Tokeniser


def doctor(*, overrides: Sequence[str] = ()) -> None:
    """Check what a tokeniser must not get wrong: counts, batches, padding, places, times, gradients, caches.

    A built-in tokeniser or one of your own, untrained, is run on clips of noise whose frames, times and places are
    changed one at a time. Each check says what was expected and what came. Takes train's overrides, such as
    tokeniser=slow_fast.

    Args:
        overrides: overrides of the configuration.

    Raises:
        UserError: if the configuration cannot run, or a check failed.
    """
    config = compose(overrides)
    without_cache(config)
    check(config)
    findings = examine(partial(built, config), num_frames=config.clip.num_frames)
    print(named_values([(one.check, str(one)) for one in findings]))
    if failed := [one.check for one in findings if one.status == FAILED]:
        raise UserError(
            f"{config.tokeniser._target_}: {len(failed)} of {len(findings)} checks failed ({', '.join(failed)}). "
            "Repair the tokeniser, and run vtok doctor again."
        )


def built(config: DictConfig) -> Tokeniser:
    return build_tokeniser(config).to(device_of(config))
