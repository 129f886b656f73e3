"""Where and when a video token stands, as a part of what the language model reads."""

import math

import torch
from torch import Tensor, nn

from vtok.tokeniser import VideoTokens

# Frequencies for each of row and column: from half a wave over the frame to 8 waves, which 16 cells a side resolve.
PLACE_FREQUENCIES = 5
# Wavelengths of time in seconds: from that which 4 frames a second resolve to half a wave over a minute.
SHORTEST_WAVE, TIME_FREQUENCIES = 0.5, 9
NUM_FEATURES = 2 * (2 * PLACE_FREQUENCIES + TIME_FREQUENCIES)


class PlaceEncoder(nn.Module):
    """Adds to each video token a linear function of Fourier features of its row, column and time.

    The language model numbers the tokens one after the other, and so does not see where the tokens of a tokeniser that
    selects or merges patches were. Some published selectors (EVS in vLLM) give a kept token the position ids that it
    had in the full sequence. This encoding gives the tokens of all tokenisers the same knowledge.

    The features are sines and cosines (Tancik et al. 2020, arXiv 2006.10739) with wavelengths that double: 1/8 to 2
    sides of the frame for row and column, and 0.5 to 128 seconds for the time since the clip's first frame.
    Seconds, not frame numbers: a speed is a distance a second at every frame rate and stride. A token that represents
    an entire frame or the difference of two, whose place is NaN, has zeros for row and column.

    The weights start at 0, so an untrained encoder changes nothing. They are a matrix, not an `nn.Linear`: no random
    numbers are drawn, and they are optimised as learned positions are (`parameter_groups`).

    The sum over features is divided by their number, so that a step of AdamW moves an encoding as fast as a learned
    position: by at most the learning rate. Without that, many features that are nearly alike, such as the long waves
    in a short clip, move an encoding up to 27 times as fast, and frames were not learnt in 3,000 steps
    (experiments/LOG.md).

    Args:
        width: width D of the language model's embeddings.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(width, NUM_FEATURES))

    def forward(self, video: VideoTokens) -> Tensor:
        """The encodings (B, L, D) to add to the embeddings of tokens; they depend on places and timestamps alone."""
        # Padding may hold anything, and in the gradient 0 x NaN is NaN.
        features = place_features(video).masked_fill(~video.mask.unsqueeze(-1), 0.0)
        return nn.functional.linear(features, self.matrix) / NUM_FEATURES


def place_features(video: VideoTokens) -> Tensor:
    """Fourier features (B, L, NUM_FEATURES), float32, of the tokens' rows, columns and times."""
    octaves = torch.arange(max(PLACE_FREQUENCIES, TIME_FREQUENCIES), device=video.places.device)
    # (B, L, 2, PLACE_FREQUENCIES)
    turns = video.places.float().unsqueeze(-1) * 2.0 ** (octaves[:PLACE_FREQUENCIES] - 1)
    place = waves(turns.flatten(2)).masked_fill(video.places.isnan().any(-1, keepdim=True), 0.0)
    wavelengths = SHORTEST_WAVE * 2.0 ** octaves[:TIME_FREQUENCIES]
    return torch.cat([place, waves(video.timestamps.float().unsqueeze(-1) / wavelengths)], dim=-1)


def waves(turns: Tensor) -> Tensor:
    """Sines, then cosines, of angles (..., n) in full turns: (..., 2 n)."""
    angles = 2 * math.pi * turns
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
