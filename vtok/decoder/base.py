"""The contract of all decoders: the language model's hidden states at the video tokens in, a video out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from vtok.data.plan import TargetPlan


class Decoder(nn.Module, ABC):
    """Generates videos of `num_frames` square frames of `size` pixels, evenly spread over a clip.

    Gradients flow through a frozen decoder to its condition.

    Attributes:
        num_frames: number of frames of a video.
        size: side of the frames in pixels.
        condition_layer: index of the hidden states that are the condition, in transformers' `hidden_states`: -1 for the
            last ones, after the final norm.
    """

    num_frames: int
    size: int
    condition_layer: int = -1

    @property
    def target(self) -> TargetPlan:
        """The frames of a clip that this decoder learns from."""
        return TargetPlan(num_frames=self.num_frames, size=self.size)

    @property
    def offloaded(self) -> Sequence[nn.Module]:
        """Modules that stay on the CPU until they are used."""
        return []

    @abstractmethod
    def loss(self, video: Tensor, condition: Tensor, mask: Tensor, *, captions: Sequence[str] | None = None) -> Tensor:
        """Flow-matching loss: the squared error of the velocity, averaged over clips; random numbers are torch's own.

        Args:
            video: (B, num_frames, 3, size, size) uint8; a decoder with a VAE accepts its float32 latents as well.
            condition: (B, L, D), the language model's hidden states of `condition_layer` at the video tokens.
            mask: (B, L), False at padding, which is on the right.
            captions: caption of each video, "" if a video has none; None: no captions. Only decoders with a text
                encoder of their own read them.
        """

    @abstractmethod
    def sample(
        self,
        condition: Tensor,
        mask: Tensor,
        *,
        captions: Sequence[str] | None = None,
        seeds: Sequence[int],
        steps: int,
        guidance: float,
    ) -> Tensor:
        """Videos (B, num_frames, 3, size, size) uint8, one for each row of the condition.

        Args:
            condition: (B, L, D).
            mask: (B, L).
            captions: as in `loss`.
            seeds: random seed of each video; it alone determines the noise that the video starts from.
            steps: number of integration steps from noise to video.
            guidance: scale of classifier-free guidance; 1: no guidance.
        """
