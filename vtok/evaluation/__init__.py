"""What a trained model can do, in numbers."""

from vtok.evaluation.alignment import Alignment, Evaluation
from vtok.evaluation.heldout import evaluate_heldout

__all__ = ["Alignment", "Evaluation", "evaluate_heldout"]
