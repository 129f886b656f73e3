import pytest
import torch

from vtok.model import Objective

LOSSES = {"under": torch.tensor(2.0), "visLM": torch.tensor(3.0), "dec": torch.tensor(5.0)}


def test_the_total_is_the_weighted_sum() -> None:
    objective = Objective(lambda_under=1.0, lambda_visLM=0.5, lambda_dec=10.0)
    assert objective.total(LOSSES, {}).item() == 2 + 1.5 + 50


def test_each_loss_counts_by_its_own_share_of_the_step() -> None:
    objective = Objective(lambda_under=1.0, lambda_visLM=0.5, lambda_dec=10.0)
    assert objective.total(LOSSES, {"under": 0.25, "visLM": 0.5, "dec": 0.1}).item() == pytest.approx(0.5 + 0.75 + 5)
    assert objective.total(LOSSES, {"under": 0.25}).item() == 0.5 + 1.5 + 50


def test_missing_losses_are_not_added() -> None:
    assert Objective(lambda_dec=7.0).total({"dec": torch.tensor(2.0)}, {"under": 0.5}).item() == 14


def test_the_gradient_of_each_loss_has_its_weight() -> None:
    losses = {name: loss.clone().requires_grad_() for name, loss in LOSSES.items()}
    Objective(lambda_under=1.0, lambda_visLM=0.5, lambda_dec=0.0).total(losses, {"under": 0.25}).backward()
    assert [loss.grad.item() for loss in losses.values()] == [0.25, 0.5, 0]


@pytest.mark.parametrize(
    ("under", "vis_lm", "dec", "understands", "generates"),
    [
        (1, 1, 1, True, True),
        (1, 0, 0, True, False),
        (0, 1, 0, False, True),
        (0, 0, 1, False, True),
        (0.01, 0, 0.01, True, True),
        (0, 0, 0, False, False),
    ],
)
def test_a_weight_of_0_switches_a_branch_off(
    under: float, vis_lm: float, dec: float, understands: bool, generates: bool
) -> None:
    objective = Objective(lambda_under=under, lambda_visLM=vis_lm, lambda_dec=dec)
    assert (objective.understands, objective.generates) == (understands, generates)
