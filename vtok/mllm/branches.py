"""Branches: texts about one video in one row, none of which sees another (see `ChatTokeniser.encode_branches`).

Texts that begin alike share their first tokens, so a row is a tree. Its tokens are in depth-first order: those that see
a token are the ones from itself up to some place, and one number a token describes the mask (as in FlashMask, Wang et
al. 2024, arXiv 2410.01359).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Branch:
    """A text.

    Attributes:
        ids: token ids.
        targets: the token to predict after each, or any number that stands for none.
        shareable: number of its first tokens that may be shared with other branches.
    """

    ids: list[int]
    targets: list[int]
    shareable: int


@dataclass(frozen=True)
class Tree:
    """Texts that share their common beginnings.

    Attributes:
        ids, targets: those of the branches, in depth-first order.
        turn: the branch of each token, counted from 1; of a shared token, one of its branches.
        seen_until: number of the first token after those that see each token.
    """

    ids: list[int]
    targets: list[int]
    turn: list[int]
    seen_until: list[int]


def tree_of(branches: Sequence[Branch]) -> Tree:
    """The tree of branches, each of which is read along one path from the root."""
    tree = Tree([], [], [], [])
    # The places of the tokens of the branch before, from the root. Neighbours in alphabetical order share the most.
    path: list[int] = []
    before: list[int] = []
    heads = [branch.ids[: branch.shareable] for branch in branches]
    for number in sorted(range(len(branches)), key=heads.__getitem__):
        branch = branches[number]
        shared = common_length(before, heads[number])
        _end(tree, path[shared:])
        path[shared:] = range(len(tree.ids), len(tree.ids) + len(branch.ids) - shared)
        tree.ids.extend(branch.ids[shared:])
        tree.targets.extend(branch.targets[shared:])
        tree.turn.extend([number + 1] * (len(branch.ids) - shared))
        tree.seen_until.extend([0] * (len(branch.ids) - shared))
        before = heads[number]
    _end(tree, path)
    return tree


def _end(tree: Tree, places: Sequence[int]) -> None:
    """No later token sees those at these places."""
    for place in places:
        tree.seen_until[place] = len(tree.ids)


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of tokens with which both texts begin."""
    return next(
        (place for place, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
        min(len(first), len(second)),
    )


def longest_path(seen_until: Sequence[int]) -> int:
    """The largest number of tokens that a token of a tree sees, itself included."""
    longest, path = 0, list[int]()
    for place, end in enumerate(seen_until):
        while path and path[-1] <= place:
            path.pop()
        path.append(end)
        longest = max(longest, len(path))
    return longest


def reads_branches(model: PreTrainedModel) -> bool:
    """Whether a model can read branches: all its layers attend to all tokens, by a mask, and positions can be given."""
    config = model.config.get_text_config()
    # A window or ALiBi would count tokens of other branches.
    counting = ("sliding_window", "attention_types", "alibi")
    return (
        set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}
        and not any(getattr(config, name, None) for name in counting)
        and model.config._attn_implementation in ("sdpa", "eager")
        and "position_ids" in signature(model.base_model.forward).parameters
    )


def mask_and_positions(seen_until: Tensor, embeddings: Tensor, *, attention: str | None) -> tuple[Tensor, Tensor]:
    """The mask (B, 1, N, N) and the position ids (B, N) with which a model reads each branch as if it were alone.

    The position of a token is the number of tokens that it sees before itself.

    Args:
        seen_until: (B, N), number of the first token after those that see each token; 0 at padding, which sees itself.
        embeddings: (B, N, D), whose type the mask has unless it is of True and False.
        attention: transformers' implementation of attention. Only PyTorch's own, "sdpa", takes True and False; the
            others add the mask to the logits of attention.
    """
    places = torch.arange(seen_until.shape[1], device=seen_until.device)
    reader, read = places.unsqueeze(1), places.unsqueeze(0)
    seen = (read == reader) | ((read < reader) & (reader < seen_until.unsqueeze(1)))
    # Padding has any position that every model has.
    positions = (seen.sum(-1) - 1).masked_fill(seen_until == 0, 0)
    pairs = seen.unsqueeze(1)
    if attention == "sdpa":
        return pairs, positions
    hidden = torch.finfo(embeddings.dtype).min
    return torch.zeros_like(pairs, dtype=embeddings.dtype).masked_fill(~pairs, hidden), positions
