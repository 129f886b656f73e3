"""What the generation branch passes on: hidden states at video tokens, generated tokens, and settings of sampling."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling.

    Attributes:
        steps: number of the decoder's integration steps from noise to video.
        guidance: scale of the decoder's classifier-free guidance; 1: no guidance.
        temperature: temperature of the visual head; 0: the most likely tokens.
    """

    steps: int
    guidance: float
    temperature: float


@dataclass(frozen=True)
class VisualStates:
    """Hidden states of the generation branch.

    Attributes:
        before: (B, L, D), at the position before each video token; they predict the token.
        condition: (B, N, D), the decoder's condition: at the video tokens, preceded by those at the caption if
            `Objective.condition_on_caption`.
        mask: (B, N), False at the padding of `condition`, on the right.
    """

    before: Tensor
    condition: Tensor
    mask: Tensor


@dataclass(frozen=True)
class GeneratedTokens:
    """Video tokens generated from captions.

    Attributes:
        tokens: (B, L, d).
        condition, mask: see `VisualStates`.
    """

    tokens: Tensor
    condition: Tensor
    mask: Tensor
