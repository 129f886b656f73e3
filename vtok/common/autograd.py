"""What autograd's graph says about a tensor."""

from collections.abc import Sequence

from torch import Tensor


def leaves_of(outputs: Sequence[Tensor]) -> set[int]:
    """The ids of the leaf tensors that get a gradient from the outputs, read from autograd's graph."""
    leaves, seen = set(), set()
    pending = [output.grad_fn for output in outputs]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Only the node that accumulates a leaf's gradient has the attribute.
        if (leaf := getattr(node, "variable", None)) is not None:
            leaves.add(id(leaf))
        pending += [following for following, _ in node.next_functions]
    return leaves
