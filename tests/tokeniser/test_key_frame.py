"""Key frames that are chosen by the frames' content."""

import torch

from vtok.tokeniser.key_frame import medoid


def test_medoid_of_many_similar_frames() -> None:
    # A clip without motion: differences are small beside the features.
    generator = torch.Generator().manual_seed(0)
    pooled = 10 + 1e-3 * torch.randn(4, 60, 64, generator=generator)
    mask = torch.ones(4, 60, dtype=torch.bool)
    mask[1, 40:] = False
    expected = []
    for clip, number in zip(pooled.double(), mask.sum(1).tolist(), strict=True):
        few = clip[:number]
        expected.append(int((few[:, None] - few).norm(dim=-1).sum(1).argmin()))
    assert medoid(pooled, mask).tolist() == expected
    assert [int(medoid(pooled[[i], :n], mask[[i], :n])) for i, n in enumerate((60, 40, 60, 60))] == expected
