import math

import numpy as np
import pytest

from vtok.tokeniser import VisionZipTokeniser


def zipped(features: np.ndarray, tokens: int, share: float) -> list[list[int]]:
    """Dominant and contextual tokens, patch by patch; attention is that of the features themselves."""
    frames, places, channels = features.shape
    attention = {}
    for t in range(frames):
        received = np.zeros(places)
        for query in features[t]:
            exponents = np.array([math.exp(query @ key / math.sqrt(channels)) for key in features[t]])
            received += exponents / exponents.sum() / places
        attention |= {places * t + p: received[p] for p in range(places)}
    contextual = round(share * tokens)
    dominant = sorted(attention, key=lambda patch: -attention[patch])[: tokens - contextual]
    groups = [[patch] for patch in dominant]
    rest = [patch for patch in attention if patch not in dominant]
    if contextual == 0:
        return groups
    flat = features.reshape(-1, channels)
    targets = rest[:: max(1, len(rest) // contextual)][:contextual]
    joined = {target: [target] for target in targets}
    for patch in rest:
        if patch in targets:
            continue
        similarity = {
            target: flat[patch] @ flat[target] / (np.linalg.norm(flat[patch]) * np.linalg.norm(flat[target]))
            for target in targets
        }
        joined[max(similarity, key=lambda target: similarity[target])].append(patch)
    return [*groups, *joined.values()]


@pytest.mark.parametrize("share", [0.0, 0.19, 0.5, 1.0])
@pytest.mark.parametrize("tokens", [1, 20, 46, 80])
def test_tokens_are_those_of_the_formula(tokens: int, share: float, video, blocks, features, check) -> None:
    result = VisionZipTokeniser(blocks, stride=1, num_tokens=tokens, contextual_share=share).encode(video)
    for row, frames in enumerate(video):
        check(result, row, zipped(features(frames), tokens, share), frames, range(5))


def test_by_default_10_of_64_are_contextual_as_in_the_paper(video, blocks) -> None:
    result = VisionZipTokeniser(blocks, stride=1, num_tokens=64).encode(video[:1])
    # 54 patches of one place each, and 10 means of the other 26.
    assert result.weights[0].sort(descending=True).values[10:].tolist() == [1] * 54
    assert result.weights[0].sum() == 80
