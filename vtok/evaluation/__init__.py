"""Evaluation of trained models."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.evaluation.alignment import Alignment, Evaluation
    from vtok.evaluation.generation import Generation
    from vtok.evaluation.generation_result import GenerationResult
    from vtok.evaluation.generation_sheet import write_generation_sheet
    from vtok.evaluation.held_out import check_files, evaluate_generation_heldout, evaluate_heldout, missing_files

__all__ = [
    "Alignment",
    "Evaluation",
    "Generation",
    "GenerationResult",
    "check_files",
    "evaluate_generation_heldout",
    "evaluate_heldout",
    "missing_files",
    "write_generation_sheet",
]

__getattr__, __dir__ = lazy_exports(__name__)
