import random

import torch

from vtok.mllm.branches import Branch, longest_path, mask_and_positions, tree_of


def test_a_tree_has_each_beginning_once_and_each_branch_along_one_path() -> None:
    """Random branches of three kinds of tokens, so that many begin alike and some are equal."""
    draw = random.Random(0)
    for _ in range(200):
        branches = []
        for number in range(draw.randrange(1, 9)):
            ids = [9, *(draw.randrange(3) for _ in range(draw.randrange(1, 8)))]
            branches.append(
                Branch(ids, [100 * number + place for place in range(len(ids))], draw.randrange(1, len(ids)))
            )
        tree = tree_of(branches)
        paths = []
        for number, branch in enumerate(branches, start=1):
            last = max(place for place, turn in enumerate(tree.turn) if turn == number)
            paths.append([place for place, seen_until in enumerate(tree.seen_until) if place <= last < seen_until])
            assert [tree.ids[place] for place in paths[-1]] == branch.ids
            own = paths[-1][branch.shareable :]
            assert [tree.targets[place] for place in own] == branch.targets[branch.shareable :]
            assert {tree.turn[place] for place in own} == {number}
        # A trie by its definition: the distinct beginnings of the shared parts, and the own parts.
        beginnings = {tuple(one.ids[:end]) for one in branches for end in range(1, one.shareable + 1)}
        assert len(tree.ids) == len(beginnings) + sum(len(one.ids) - one.shareable for one in branches)
        assert longest_path(tree.seen_until) == max(len(one.ids) for one in branches)


def test_a_token_sees_the_tokens_of_its_path() -> None:
    seen_until = torch.tensor([[5, 5, 4, 4, 5], [3, 3, 3, 0, 0]])
    mask, positions = mask_and_positions(seen_until, torch.zeros(2, 5, 3), attention="sdpa")
    expected = [
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]],
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]],
    ]
    assert mask.int().squeeze(1).tolist() == expected
    # A model may have no position for the long padding beside a row of many branches.
    assert positions.tolist() == [[0, 1, 2, 3, 2], [0, 1, 2, 0, 0]]
