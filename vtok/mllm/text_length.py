"""How much text a language model takes beside a video."""

from collections.abc import Sequence
from dataclasses import dataclass

from vtok.mllm.chat import ChatTokeniser, EncodedChat

# A token is a byte of text or more; what the chat template adds is counted apart, with so many bytes a turn to spare.
SPARE = 16


@dataclass(frozen=True)
class Room:
    """Of one language model. Picklable.

    Attributes:
        chat: its tokeniser.
        context_length: the tokens that it takes.
    """

    chat: ChatTokeniser
    context_length: int

    def is_ample(self, turns: Sequence[tuple[str, str]], *, num_video_tokens: int) -> bool:
        """Whether turns of (question, answer) fit for certain; found without encoding them, which takes longer."""
        text = sum(len(self.chat.plain(part).encode()) for turn in turns for part in turn)
        return num_video_tokens + text + (self.chat.turn_length + SPARE) * len(turns) <= self.context_length

    def lack(self, chat: EncodedChat, *, num_video_tokens: int) -> str | None:
        """Why an encoded text does not fit; None where it does."""
        if len(chat.ids) <= self.context_length:
            return None
        return (
            f"{num_video_tokens} video tokens and the text make {len(chat.ids)} tokens, more than "
            f"mllm.context_length={self.context_length}; shorten the text or raise the length"
        )
