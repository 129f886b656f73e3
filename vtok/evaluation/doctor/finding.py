"""What a check of a tokeniser has found."""

from dataclasses import dataclass

OK, FAILED, NOT_CHECKED, INFORMATION = "ok", "FAILED", "not checked", "information"


class Defect(Exception):
    """A check has failed.

    Args:
        expected: what should have come.
        got: what came.
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")


class NotApplicable(Exception):
    """A check does not apply to the tokeniser; the message says why."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: name of the check.
        claim: sentence that says what was checked.
        status: "ok", "FAILED", "not checked" or "information".
        detail: what was expected and what came, why the check does not apply, or the information.
    """

    check: str
    claim: str
    status: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.detail or self.claim}"
