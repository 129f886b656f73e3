"""What a trained model can do, in numbers."""

from vtok.evaluation.alignment import Alignment, Evaluation
from vtok.evaluation.generation import Generation, GenerationResult
from vtok.evaluation.heldout import evaluate_generation_heldout, evaluate_heldout
from vtok.evaluation.sheet import write_generation_sheet

__all__ = [
    "Alignment",
    "Evaluation",
    "Generation",
    "GenerationResult",
    "evaluate_generation_heldout",
    "evaluate_heldout",
    "write_generation_sheet",
]
