"""Checks that what counts as trained is trained, and nothing else."""

import torch

from vtok.evaluation.doctor.case import Case, batch_of
from vtok.evaluation.doctor.finding import Defect, NotApplicable
from vtok.tokeniser import Tokeniser


def gradient(case: Case) -> None:
    """A gradient of the tokens reaches all weights that are to be trained."""
    tokeniser = case.make().train()
    trained = {name: one for name, one in tokeniser.named_parameters() if one.requires_grad}
    if not trained:
        raise NotApplicable("nothing is trained")
    backward(case, tokeniser)
    without = [name for name, one in trained.items() if one.grad is None or not one.grad.isfinite().all()]
    if without:
        raise Defect(f"a finite gradient of {len(trained)} trained weights", f"none of {', '.join(without[:3])}")


def frozen_backbone(case: Case) -> None:
    """A frozen backbone has no gradient, stays in evaluation mode, and keeps its weights and statistics."""
    tokeniser = case.make()
    backbone = tokeniser.backbone
    if not backbone.frozen:
        backbone.set_frozen(True)
    tokeniser.train()
    if trained := [name for name, one in backbone.named_parameters() if one.requires_grad]:
        raise Defect("no trained weights in a frozen backbone", f"{len(trained)}, such as {trained[0]}")
    if backbone.training:
        raise Defect("a frozen backbone in evaluation mode", "one in training mode after `train()`")
    before = {name: one.clone() for name, one in backbone.state_dict().items()}
    backward(case, tokeniser)
    for name, one in backbone.state_dict().items():
        if not torch.equal(one, before[name]):
            raise Defect("the same weights and statistics of a frozen backbone", f"another {name}")


def backward(case: Case, tokeniser: Tokeniser) -> None:
    """A forward and a backward pass of two clips, as in training."""
    tokens = case.asked(tokeniser.encode_planned(batch_of([case.clip(), case.clip(seed=1)])), tokeniser).tokens
    # Tokens of a frozen backbone may have no gradient at all.
    if tokens.requires_grad:
        tokens.square().sum().backward()
