"""Commands and losses without a question, for which tokens that depend on one cannot be made."""

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.config.nodes import constant_of


def check_unasked(config: DictConfig, *, override: str, instead: str) -> None:
    """Refuse a tokeniser that reads the question where there is none.

    Args:
        config: the configuration.
        override: setting or argument that asks for tokens without a question, such as "objective.lambda_dec=1".
        instead: what to set instead, as a sentence.

    Raises:
        UserError: if the tokens depend on a question.
    """
    if constant_of(config.tokeniser, "reads_question", False):
        raise UserError(
            f"{override}: the tokens of {config.tokeniser._target_} depend on a question, and here there is none. "
            f"{instead}"
        )
