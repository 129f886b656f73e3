"""The context length of a language model, and whether a text and the tokens of a video fit it."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from vtok.common.errors import UserError
from vtok.mllm.chat import ChatTokeniser, EncodedChat

# Margin in tokens. A token is at least a byte of text, and the template's tokens are counted separately.
MARGIN = 16


@dataclass(frozen=True)
class LengthCheck:
    """Checks the length of texts for one language model. Picklable.

    Attributes:
        chat: tokeniser of conversations.
        context_length: number of tokens in the longest sequence.
    """

    chat: ChatTokeniser
    context_length: int

    def fits_for_sure(self, turn: tuple[str, str], *, num_video_tokens: int) -> bool:
        """Whether a (question, answer) certainly fits, by an upper bound that is faster than encoding it."""
        text = sum(len(self.chat.plain(part).encode()) for part in turn)
        return num_video_tokens + text + self.chat.turn_length + MARGIN <= self.context_length

    def too_long(self, chat: EncodedChat, *, num_video_tokens: int) -> str | None:
        """Why an encoded text does not fit; None: it fits."""
        # The length is the number of tokens at most, and takes longer to find where turns share their words.
        if len(chat.ids) <= self.context_length or chat.length <= self.context_length:
            return None
        return (
            f"{num_video_tokens} video tokens and the text make {chat.length} tokens, more than "
            f"mllm.context_length={self.context_length}. Shorten the text, or raise mllm.context_length"
        )


def checked_context_length(model: PreTrainedModel, wanted: int | None) -> int:
    """`wanted` if the model takes sequences of this length; None: the model's own limit.

    Raises:
        UserError: the model's limit is lower, or `wanted` is None and the model has no limit.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if wanted is None:
        if longest is not None:
            return int(longest)
        raise UserError("mllm.context_length=null: the config of this model has no limit. Set a number of tokens.")
    if longest is not None and wanted > longest:
        raise UserError(f"mllm.context_length={wanted}: this model takes {longest} tokens. Use {longest} or fewer.")
    return wanted
