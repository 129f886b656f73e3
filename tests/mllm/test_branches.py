import torch

from vtok.mllm.branches import mask_and_positions


def test_a_token_sees_the_text_before_the_branches_and_its_own_branch() -> None:
    branch = torch.tensor([[0, 0, 1, 1, 2], [0, 0, 1, -1, -1]])
    mask, positions = mask_and_positions(branch, torch.zeros(2, 5, 3), attention="sdpa")
    expected = [
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]],
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]],
    ]
    assert mask.int().squeeze(1).tolist() == expected
    # A model may have no position for the long padding beside a row of many branches.
    assert positions.tolist() == [[0, 1, 2, 3, 2], [0, 1, 2, 0, 0]]
