"""Judges: evaluators of generated videos."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.evaluation.judge.base import Judge, Verdict
    from vtok.evaluation.judge.oracle import OracleJudge
    from vtok.evaluation.judge.own import OwnJudge
    from vtok.evaluation.judge.vlm import VlmJudge

__all__ = ["Judge", "OracleJudge", "OwnJudge", "Verdict", "VlmJudge"]

__getattr__, __dir__ = lazy_exports(__name__)
