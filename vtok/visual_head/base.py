"""The contract of all visual heads: a hidden state in, the next video token out."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class VisualHead(nn.Module, ABC):
    """Predicts standardised video tokens (mean 0, standard deviation 1 in every dimension) from hidden states.

    Attributes:
        token_dim: width d of the video tokens.
    """

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.token_dim = token_dim

    def loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """The mean error of the predictions from hidden states (N, D) of tokens (N, d); 0 if N is 0."""
        errors = self.errors(hidden, target)
        return errors.sum() / max(1, len(errors))

    @abstractmethod
    def errors(self, hidden: Tensor, target: Tensor) -> Tensor:
        """The error (N,) of each prediction from hidden states (N, D) of tokens (N, d), a mean over d."""

    @abstractmethod
    def mean(self, hidden: Tensor) -> Tensor:
        """The expected tokens (N, d) after hidden states (N, D)."""

    @abstractmethod
    def sample(self, hidden: Tensor, *, noise: Tensor, temperature: float) -> Tensor:
        """Tokens (N, d) after hidden states (N, D), drawn at random if the head models a distribution.

        Args:
            hidden: (N, D).
            noise: (N, noise_dim), standard normal; the only source of randomness.
            temperature: factor on the standard deviation; 0: the head's approximation of the most likely token.
        """

    @property
    @abstractmethod
    def noise_dim(self) -> int:
        """Number of random numbers for one token."""
