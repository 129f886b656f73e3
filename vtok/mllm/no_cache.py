"""A cache that stores nothing: it tells a transformers model that each row of a batch is one new sequence."""

from torch import Tensor
from transformers import Cache, PreTrainedConfig

# Layers of transformers' `layer_types` that only attend. Others, such as linear attention, want a cache of their own.
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


class NoCache(Cache):
    """Keys and values pass through.

    Given neither a mask nor a cache, transformers reads the position ids to see whether a row holds several sequences,
    for which the host waits for the device in each step.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The keys and values. `layer_idx` is not read: torch.compile would compile each layer anew."""
        return key_states, value_states

    @staticmethod
    def fits(config: PreTrainedConfig) -> bool:
        """Whether all layers of a model only attend."""
        return set(getattr(config.get_text_config(), "layer_types", None) or ()) <= ATTENTION
