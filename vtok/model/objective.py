"""The training objective: the weights of the losses (VTok, section 3.4)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vtok.common.setting_types import Fraction, NotNegative

# The names of the losses, and of the share of answer tokens that are predicted right, which comes with "under".
LOSSES = ("under", "visLM", "dec")
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Objective:
    """L = lambda_under L_under + lambda_visLM L_visLM + lambda_dec L_dec; a loss of weight 0 is not computed.

    Attributes:
        lambda_under: weight of understanding: predict the answers' tokens from the video.
        lambda_visLM: weight of visual language modelling: predict each video token from the caption and the tokens
            before it.
        lambda_dec: weight of decoding: predict the video from the hidden states at its tokens.
        caption_dropout: share of captions that are dropped in the generation branch, in [0, 1], so that the decoder
            learns to use the video tokens alone, as in reconstruction.
        condition_on_caption: whether the decoder also gets the hidden states at the caption.
    """

    lambda_under: NotNegative = 1.0
    lambda_visLM: NotNegative = 1.0
    lambda_dec: NotNegative = 1.0
    caption_dropout: Fraction = 0.0
    condition_on_caption: bool = False

    @property
    def understands(self) -> bool:
        return self.lambda_under > 0

    @property
    def generates(self) -> bool:
        return self.lambda_visLM > 0 or self.lambda_dec > 0

    def total(self, losses: Mapping[str, Tensor], shares: Mapping[str, float]) -> Tensor:
        """The weighted sum of the losses.

        Args:
            losses: losses by name, each a mean over a micro-batch.
            shares: further factor of each loss by name: the micro-batch's share of the items in the step; default 1.
        """
        weights = {"under": self.lambda_under, "visLM": self.lambda_visLM, "dec": self.lambda_dec}
        terms = [weights[name] * shares.get(name, 1.0) * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])
