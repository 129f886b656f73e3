import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

from vtok.tokeniser import KMeansTokeniser
from vtok.tokeniser.kmeans import fill_empty


def clustered(features: np.ndarray, tokens: int, iterations: int) -> list[list[int]]:
    """scipy's Lloyd iterations from the same first centroids."""
    patches = features.reshape(-1, features.shape[2])
    first = patches[[(2 * one + 1) * len(patches) // (2 * tokens) for one in range(tokens)]]
    _, labels = kmeans2(patches, first, iter=iterations + 1, minit="matrix", missing="raise")
    return [np.flatnonzero(labels == one).tolist() for one in range(tokens)]


@pytest.mark.parametrize("iterations", [1, 10])
@pytest.mark.parametrize("tokens", [1, 7, 20, 80])
def test_clusters_are_scipys(tokens: int, iterations: int, video, blocks, features, check) -> None:
    result = KMeansTokeniser(blocks, stride=1, num_tokens=tokens, iterations=iterations).encode(video)
    # In the third clip clusters become empty, which scipy refuses.
    for row, frames in enumerate(video[:2]):
        check(result, row, clustered(features(frames), tokens, iterations), frames, range(5))


def test_an_empty_cluster_takes_the_patch_that_is_furthest_from_its_centroid() -> None:
    numbers = torch.tensor([[1, 1, 1, 3, 3, 0], [2, 2, 2, 2, 2, 2]])
    distance = torch.tensor([[5.0, 1.0, 2.0, 9.0, 8.0, -torch.inf], [0.0, 4.0, 1.0, 3.0, 2.0, 0.0]])
    exists = torch.tensor([[True, True, True, False], [True] * 4])
    # Of cluster 3 the nearest patch stays, although it is further than those of cluster 1.
    assert fill_empty(numbers, distance, exists).tolist() == [[1, 1, 1, 2, 3, 0], [2, 1, 2, 3, 4, 2]]


@pytest.mark.parametrize("tokens", [1, 20, 46, 80])
def test_patches_that_are_the_same_still_make_all_tokens(tokens: int, blocks) -> None:
    frames = torch.full((2, 5, 3, 8, 8), 0.25)
    frames[1, :, :, :4] = 0.75
    result = KMeansTokeniser(blocks, stride=1, num_tokens=tokens).encode(frames)
    assert result.mask.all()
    assert result.weights.min() >= 1
    assert result.weights.sum(1).tolist() == [80, 80]


def test_an_object_that_moves_is_one_token(blocks) -> None:
    frames = torch.full((1, 4, 3, 8, 8), 0.1)
    for frame in range(4):
        frames[0, frame, :, 2:4, 2 * frame : 2 * frame + 2] = 0.9
    result = KMeansTokeniser(blocks, stride=1, num_tokens=2).encode(frames)
    few = int(result.weights[0].argmin())
    assert result.weights[0, few] == 4
    assert result.places[0, few].tolist() == [0.375, 0.5]
    assert result.timestamps[0, few] == 1.5
