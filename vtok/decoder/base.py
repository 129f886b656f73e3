"""The contract of all decoders: what the language model thought at the video's places in, a video out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from vtok.data.plan import TargetPlan


class Decoder(nn.Module, ABC):
    """Makes videos of `num_frames` square frames of `size` pixels, evenly spread over a clip.

    A frozen decoder passes the gradient on to its condition.

    Attributes:
        num_frames: number of frames of a video.
        size: side of the frames in pixels.
        condition_layer: the language model's hidden states that are the condition, as transformers counts them: -1 the
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
    def waiting(self) -> Sequence[nn.Module]:
        """Parts that are on the CPU until they are used."""
        return []

    @abstractmethod
    def loss(self, video: Tensor, condition: Tensor, mask: Tensor, *, captions: Sequence[str] | None = None) -> Tensor:
        """The flow-matching error of the velocity, the mean over clips; its randomness is torch's.

        Args:
            video: (B, num_frames, 3, size, size) uint8; a decoder with a VAE takes its float32 latents as well.
            condition: (B, L, D), the language model's hidden states of `condition_layer` at the video's places.
            mask: (B, L), False at padding, which is on the right.
            captions: what is said of each video, "" where nothing is; None: of none. It is for decoders that have a
                text encoder of their own, others pass over it.
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
        """Videos (B, num_frames, 3, size, size) uint8, one a row of the condition.

        Args:
            condition: (B, L, D).
            mask: (B, L).
            captions: as in `loss`.
            seeds: one a video; with it alone the noise that the video is made of is known.
            steps: of the integration from noise to video.
            guidance: how much further than the condition asks for (classifier-free guidance); 1 is none.
        """
