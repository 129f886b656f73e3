"""Each visual head against torch's losses and distributions, and on a target with two modes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional as F

from vtok.common.errors import UserError
from vtok.visual_head import FlowHead, MixtureHead, RegressionHead, VisualHead

MAKE: dict[str, Callable[[int, int], VisualHead]] = {
    "mse": lambda hidden, token: RegressionHead(hidden, token),
    "cosine": lambda hidden, token: RegressionHead(hidden, token, loss="cosine"),
    "mixture": lambda hidden, token: MixtureHead(hidden, token, components=4),
    "flow": lambda hidden, token: FlowHead(hidden, token, width=32, steps=12),
}


def make(name: str, token_dim: int = 3) -> VisualHead:
    torch.manual_seed(0)
    return MAKE[name](8, token_dim)


def rows(number: int, dim: int, seed: int = 1) -> Tensor:
    return torch.randn(number, dim, generator=torch.Generator().manual_seed(seed))


def distribution(head: MixtureHead, hidden: Tensor) -> MixtureSameFamily:
    weights, centres, log_spreads = head.mixture(hidden)
    return MixtureSameFamily(Categorical(logits=weights), Independent(Normal(centres, log_spreads.exp()), 1))


def train_on_two_modes(name: str, steps: int) -> VisualHead:
    """Train a head on tokens that are all +1 or all -1 at random, after the same hidden state."""
    head = make(name, token_dim=4)
    generator = torch.Generator().manual_seed(2)
    optimiser = torch.optim.AdamW(head.parameters(), lr=5e-3)
    for _ in range(steps):
        sign = 2.0 * torch.randint(0, 2, (256, 1), generator=generator) - 1
        loss = head.loss(torch.ones(256, 8), sign.expand(-1, 4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head


def test_the_squared_error_is_torchs() -> None:
    head, hidden, target = make("mse"), rows(7, 8), rows(7, 3, seed=2)
    torch.testing.assert_close(head.loss(hidden, target), F.mse_loss(head.mean(hidden), target))


def test_the_cosine_error_is_torchs_plus_an_error_of_the_length() -> None:
    head, hidden, target = make("cosine"), rows(7, 8), rows(7, 3, seed=2)
    predicted = head.mean(hidden).detach()
    same_length = target * (predicted.norm(dim=-1) / target.norm(dim=-1)).unsqueeze(-1)
    angle = F.cosine_embedding_loss(predicted, target, torch.ones(7))
    torch.testing.assert_close(head.loss(hidden, same_length), angle)
    length = F.mse_loss(predicted.norm(dim=-1), target.norm(dim=-1)) / 3
    torch.testing.assert_close(head.loss(hidden, target), angle + length)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(UserError, match=r"visual_head\.loss=l1 is unknown\. Use mse or cosine"):
        RegressionHead(8, 3, loss="l1")


def test_the_mixtures_loss_is_the_negative_log_likelihood_per_dimension() -> None:
    head, hidden, target = make("mixture"), rows(7, 8), rows(7, 3, seed=2)
    expected = -distribution(head, hidden).log_prob(target).mean() / 3
    torch.testing.assert_close(head.loss(hidden, target), expected)


def test_the_mixtures_samples_are_of_its_distribution() -> None:
    head, hidden = make("mixture"), rows(1, 8)
    nn.init.normal_(head.layers[2].weight, generator=torch.Generator().manual_seed(4))
    truth = distribution(head, hidden)
    assert truth.mixture_distribution.probs.max().item() < 0.8, "one component alone would be no test"
    number = 40_000
    drawn = head.sample(hidden.expand(number, -1), noise=rows(number, head.noise_dim), temperature=1.0)
    error = (truth.variance[0] / number).sqrt()
    assert ((drawn.mean(0) - truth.mean[0]).abs() < 5 * error).all()
    torch.testing.assert_close(drawn.var(0), truth.variance[0], rtol=0.05, atol=0)
    torch.testing.assert_close(head.mean(hidden), truth.mean)


def test_at_temperature_0_the_mixture_gives_the_centre_of_its_heaviest_component() -> None:
    head, hidden = make("mixture"), rows(5, 8)
    truth = distribution(head, hidden)
    heaviest = truth.mixture_distribution.probs.argmax(-1)
    drawn = head.sample(hidden, noise=rows(5, head.noise_dim), temperature=0.0)
    assert torch.equal(drawn, truth.component_distribution.mean[range(5), heaviest])


@pytest.mark.parametrize(("name", "steps"), [("mixture", 150), ("flow", 300)])
def test_heads_with_a_distribution_draw_both_modes_and_not_their_mean(name: str, steps: int) -> None:
    head = train_on_two_modes(name, steps)
    with torch.no_grad():
        drawn = head.sample(torch.ones(1000, 8), noise=rows(1000, head.noise_dim), temperature=1.0)
        mean = head.mean(torch.ones(1, 8))
    sides = drawn.sign().sum(-1).abs() == 4
    assert float((sides & ((drawn.abs() - 1).abs() < 0.4).all(-1)).float().mean()) > 0.9
    assert 0.35 < float((drawn.mean(-1) > 0).float().mean()) < 0.65
    assert mean.abs().max() < 0.3


def test_regression_predicts_the_mean_of_both_modes() -> None:
    head = train_on_two_modes("mse", 150)
    drawn = head.sample(torch.ones(3, 8), noise=rows(3, head.noise_dim), temperature=1.0)
    assert drawn.abs().max() < 0.2


@pytest.mark.parametrize("name", MAKE)
def test_samples_depend_on_the_given_noise_only(name: str) -> None:
    head, hidden = make(name), rows(6, 8)
    noise = rows(6, head.noise_dim, seed=3)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    drawn = head.sample(hidden, noise=noise, temperature=1.0)
    assert torch.equal(torch.get_rng_state(), state), "torch's random numbers were used"
    assert drawn.shape == (6, 3)
    torch.manual_seed(6)
    assert torch.equal(head.sample(hidden, noise=noise, temperature=1.0), drawn)
    order = torch.tensor([3, 0, 5])
    torch.testing.assert_close(head.sample(hidden[order], noise=noise[order], temperature=1.0), drawn[order])
    if head.noise_dim:
        assert not torch.allclose(head.sample(hidden, noise=noise.flip(0), temperature=1.0), drawn)


@pytest.mark.parametrize("name", MAKE)
def test_at_temperature_0_the_noise_has_no_effect(name: str) -> None:
    head, hidden = make(name), rows(6, 8)
    one, other = (head.sample(hidden, noise=rows(6, head.noise_dim, seed), temperature=0.0) for seed in (1, 2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", MAKE)
def test_the_loss_is_a_mean_over_tokens_and_0_without_tokens(name: str) -> None:
    head, hidden, target = make(name), rows(4, 8), rows(4, 3, seed=2)
    torch.manual_seed(0)
    errors = head.errors(hidden, target)
    torch.manual_seed(0)
    torch.testing.assert_close(head.loss(hidden, target), errors.mean())
    assert errors.shape == (4,)
    nothing = hidden[:0].requires_grad_()
    loss = head.loss(nothing, target[:0])
    assert loss.item() == 0
    loss.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in head.parameters())


@pytest.mark.parametrize("name", MAKE)
def test_the_loss_trains_every_weight_and_the_hidden_states(name: str) -> None:
    head, hidden = make(name), rows(16, 8).requires_grad_()
    head.loss(hidden, rows(16, 3, seed=2)).backward()
    for parameter in (*head.parameters(), hidden):
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", MAKE)
def test_it_works_within_bf16_autocast(name: str) -> None:
    head, hidden, target = make(name), rows(6, 8), rows(6, 3, seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.loss(hidden, target)
        drawn = head.sample(hidden, noise=rows(6, head.noise_dim), temperature=1.0)
    assert (loss.dtype, drawn.dtype) == (torch.float32, torch.float32)
    assert loss.isfinite()
    assert drawn.isfinite().all()


def test_the_error_of_the_flow_head_is_that_of_its_velocity() -> None:
    """The velocity on the straight path from token to noise is constant: their difference."""
    head, hidden, target = make("flow"), rows(6, 8), rows(6, 3, seed=2)
    asked: list[tuple[Tensor, Tensor]] = []

    def right(point: Tensor, sigma: Tensor, states: Tensor) -> Tensor:
        asked.append((sigma, states))
        clean = target.repeat(head.repeats, 1)
        return (point - clean) / sigma

    head.velocity = right
    assert head.loss(hidden, target).item() < 1e-6
    ((sigma, states),) = asked
    assert torch.equal(states, hidden.repeat(head.repeats, 1))
    assert ((sigma > 0) & (sigma < 1)).all()
    assert len(sigma.unique()) == len(sigma)
    drawn = FlowHead.sample(head, states, noise=rows(len(states), 3), temperature=1.0)
    torch.testing.assert_close(drawn, target.repeat(head.repeats, 1), atol=1e-4, rtol=1e-4)


def test_the_flow_head_finds_the_mean_of_gaussian_tokens() -> None:
    """Against the closed form of the velocity, which is given only near the length of the noise in training."""
    head, hidden, mean = make("flow", token_dim=64), rows(5, 8), rows(5, 64, seed=2)

    def velocity(point: Tensor, sigma: Tensor, states: Tensor) -> Tensor:
        """E[noise - token | point] of tokens N(mean, 0.25): the regression of one Gaussian on another."""
        variance = (1 - sigma) ** 2 * 0.25 + sigma**2
        away = (point - (1 - sigma) * mean) / variance
        known = (point.norm(dim=-1, keepdim=True) - 8).abs() < 3
        return torch.where(known, sigma * away - mean - (1 - sigma) * 0.25 * away, 99.0)

    head.velocity = velocity
    torch.manual_seed(0)
    state = torch.get_rng_state()
    torch.testing.assert_close(head.mean(hidden), mean, atol=1e-4, rtol=1e-4)
    assert torch.equal(torch.get_rng_state(), state), "torch's random numbers were used"


def test_the_expected_tokens_of_heads_can_be_compared() -> None:
    """On tokens that are half noise, the flow head's errors are about those of a regression."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(8, 32, generator=generator) / 4
    errors = {}
    for name, head in (("flow", FlowHead(8, 32, width=64)), ("mse", RegressionHead(8, 32))):
        optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
        torch.manual_seed(0)
        for _ in range(150):
            hidden = torch.randn(256, 8, generator=generator)
            loss = head.loss(hidden, hidden @ mix + 0.7 * torch.randn(256, 32, generator=generator))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        hidden = torch.randn(500, 8, generator=generator)
        with torch.no_grad():
            errors[name] = float((head.mean(hidden) - hidden @ mix).norm() / (hidden @ mix).norm())
    assert errors["flow"] < 0.5
    assert errors["flow"] < errors["mse"] + 0.2
