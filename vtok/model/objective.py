"""What a model is trained for: the weights of the losses (VTok, section 3.4)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vtok.common.setting_types import Fraction, NotNegative

# The names of the losses.
LOSSES = ("under", "visLM", "dec")


@dataclass(frozen=True)
class Objective:
    """L = lambda_under L_under + lambda_visLM L_visLM + lambda_dec L_dec; a weight of 0 skips the work, too.

    Attributes:
        lambda_under: weight of understanding: the answers' tokens, given the video.
        lambda_visLM: weight of visual language modelling: every video token, given the caption and the tokens
            before it.
        lambda_dec: weight of decoding: the video, given the hidden states at its tokens' places.
        caption_dropout: how often the caption is left out in the generation branch, in 0..1, so that the video's tokens
            alone must do, as they must when a clip is reconstructed.
        condition_on_caption: give the decoder the hidden states at the caption, too.
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
        """The weighted sum of the losses by name.

        Args:
            losses: means over a micro-batch.
            shares: by the same names, the micro-batch's part of what the whole step's batch has to be averaged over.
        """
        weights = {"under": self.lambda_under, "visLM": self.lambda_visLM, "dec": self.lambda_dec}
        terms = [weights[name] * shares.get(name, 1.0) * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])
