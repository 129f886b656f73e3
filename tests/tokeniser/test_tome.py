import numpy as np
import pytest
import torch

from vtok.tokeniser import ToMeTokeniser, tome


def merged(features: np.ndarray, tokens: int) -> list[list[int]]:
    """Bipartite soft matching with lists of patches, pair by pair."""
    means = [one for frame in features for one in frame]
    groups = [[patch] for patch in range(len(means))]
    while len(groups) > tokens:
        number = len(groups)
        edges = []
        for a in range(0, number, 2):
            similarity = {
                b: means[a] @ means[b] / (np.linalg.norm(means[a]) * np.linalg.norm(means[b]))
                for b in range(1, number, 2)
            }
            b = max(similarity, key=lambda one: similarity[one])
            edges.append((similarity[b], a, b))
        edges.sort(key=lambda edge: -edge[0])
        gone = set()
        sums = [len(group) * mean for group, mean in zip(groups, means, strict=True)]
        joined = [list(group) for group in groups]
        for _, a, b in edges[: min(number - tokens, number // 2)]:
            sums[b] = sums[b] + sums[a]
            joined[b] += groups[a]
            gone.add(a)
        groups = [joined[one] for one in range(number) if one not in gone]
        means = [sums[one] / len(joined[one]) for one in range(number) if one not in gone]
    return groups


@pytest.mark.parametrize("tokens", [1, 2, 7, 20, 46, 79, 80])
def test_tokens_are_those_of_pairwise_merging(tokens: int, video, blocks, features, check) -> None:
    result = ToMeTokeniser(blocks, stride=1, num_tokens=tokens).encode(video)
    for row, frames in enumerate(video):
        check(result, row, merged(features(frames), tokens), frames, range(5))


def test_similarities_in_parts_are_the_same(video, blocks, monkeypatch) -> None:
    tokeniser = ToMeTokeniser(blocks, stride=1, num_tokens=7)
    whole = tokeniser(video)
    monkeypatch.setattr(tome, "SIMILARITIES_AT_ONCE", 3 * 40 * 7)
    assert (tokeniser(video) == whole).all()


def test_patches_of_one_colour_are_merged_before_those_of_two(blocks) -> None:
    # Four colours, a quarter of the frame each.
    frame = torch.zeros(3, 8, 8)
    frame[0, :4, :4] = frame[1, :4, 4:] = frame[2, 4:, :4] = frame[:, 4:, 4:] = 1
    result = ToMeTokeniser(blocks, stride=1, num_tokens=40).encode(frame.expand(1, 5, -1, -1, -1))
    assert result.weights.sum() == 80
    assert len(result.tokens[0].unique(dim=0)) == 4
