"""What a trained model can do, in numbers."""

from vtok.evaluation.alignment import Alignment, Evaluation
from vtok.evaluation.loading import heldout_loader

__all__ = ["Alignment", "Evaluation", "heldout_loader"]
