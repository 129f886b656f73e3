import math

import numpy as np
import pytest

from vtok.tokeniser import VidCom2Tokeniser


def kept(features: np.ndarray, tokens: int, temperature: float) -> list[list[int]]:
    """Quotas of the paper, made whole by giving the tokens one at a time (Sainte-Lague)."""
    frames, places, channels = features.shape
    variance = features.reshape(-1, channels).var(0)
    features = features[:, :, np.sort(np.argsort(variance)[: channels // 2])]
    features = features / np.linalg.norm(features, axis=2, keepdims=True)

    def like(feature: np.ndarray, centre: np.ndarray) -> float:
        distance = sum((one - two) ** 2 for one, two in zip(feature, centre, strict=True))
        return sum(math.exp(-distance / (2 * 2.0**power)) for power in (-3, -2, -1, 0, 1))

    video = features.reshape(-1, channels // 2).mean(0)
    to_video = [[like(features[t, p], video) for p in range(places)] for t in range(frames)]
    to_frame = [[like(features[t, p], features[t].mean(0)) for p in range(places)] for t in range(frames)]
    logits = [-sum(row) / places / temperature for row in to_video]
    exponents = [math.exp(one - max(logits)) for one in logits]
    quota = [tokens / frames * (1 + one / sum(exponents) - 1 / frames) for one in exponents]
    assert sum(quota) == pytest.approx(tokens)
    given = [0] * frames
    for _ in range(tokens):
        open_frames = [t for t in range(frames) if given[t] < places]
        given[max(open_frames, key=lambda t: quota[t] / (given[t] + 0.5))] += 1
    groups = []
    for t in range(frames):
        order = sorted(range(places), key=lambda p: to_video[t][p] + to_frame[t][p])
        groups += [[places * t + p] for p in order[: given[t]]]
    return groups


@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("tokens", [3, 20, 46, 79])
def test_tokens_are_those_of_the_formula(tokens: int, temperature: float, video, blocks, features, check) -> None:
    tokeniser = VidCom2Tokeniser(blocks, stride=1, num_tokens=tokens, temperature=temperature)
    result = tokeniser.encode(video)
    for row, frames in enumerate(video):
        check(result, row, kept(features(frames), tokens, temperature), frames, range(5))


def test_the_frame_that_differs_has_the_most_tokens(video, blocks) -> None:
    clip = video[2:].clone()
    clip[:, 3] = 1 - clip[:, 3]
    result = VidCom2Tokeniser(blocks, stride=1, num_tokens=20).encode(clip)
    # Its quota is 20 / 5 * (1 + 1 - 1 / 5) = 7.2, that of each other frame 3.2.
    assert result.timestamps[0].long().bincount(minlength=5).tolist() == [3, 3, 3, 8, 3]
