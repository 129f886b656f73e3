"""Conversations about a video to token ids: the chat template, the video's places, and which tokens are answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from transformers import BatchEncoding, PreTrainedTokenizerBase

from vtok.errors import UserError

IGNORED = -100
MAKE_VIDEO = "make a video: "


@dataclass(frozen=True)
class EncodedChat:
    """Token ids of a conversation and its labels, of the same length.

    A label is the id where an answer is to be predicted, else IGNORED.
    """

    ids: list[int]
    labels: list[int]


class ChatTokeniser:
    """Wraps a Hugging Face fast tokenizer that has a chat template with `{% generation %}` marks.

    Args:
        tokenizer: the tokenizer; its vocabulary holds `video_token`.
        video_token: the text that stands for one video token; the first user turn begins with as many as the video has.

    Raises:
        UserError: no chat template, no generation marks in it, or no such video token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, video_token: str = "<video>") -> None:
        template = tokenizer.chat_template
        if not isinstance(template, str) or "{% generation %}" not in template:
            raise UserError(
                "the language model's tokenizer has no chat template with {% generation %} marks around its answers."
            )
        self.tokenizer = tokenizer
        self.video_token = video_token
        video_id = tokenizer.convert_tokens_to_ids(video_token)
        if not isinstance(video_id, int) or video_id == tokenizer.unk_token_id:
            raise UserError(f"the language model's tokenizer has no token {video_token}.")
        self.video_id = video_id

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    def encode(self, turns: Sequence[tuple[str, str]], *, num_video_tokens: int) -> EncodedChat:
        """Whole turns of (question, answer) about one video; labels at the answers, their end token included."""
        messages = []
        for number, (question, answer) in enumerate(turns):
            video = self.video_token * num_video_tokens if number == 0 else ""
            messages += [
                {"role": "user", "content": video + self._plain(question)},
                {"role": "assistant", "content": self._plain(answer)},
            ]
        encoded = self.tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        encoded = cast(BatchEncoding, encoded)
        ids, answers = encoded["input_ids"], encoded["assistant_masks"]
        return EncodedChat(ids, [token if answer else IGNORED for token, answer in zip(ids, answers, strict=True)])

    def encode_prompt(self, question: str, *, num_video_tokens: int) -> list[int]:
        """A question about one video, up to where the answer begins."""
        content = self.video_token * num_video_tokens + self._plain(question)
        messages = [{"role": "user", "content": content}]
        encoded = self.tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        return cast(BatchEncoding, encoded)["input_ids"]

    def encode_video(self, caption: str, *, num_video_tokens: int) -> EncodedChat:
        """A wish for a video, and the places of its tokens as the answer; labels at the places."""
        messages = [{"role": "user", "content": self._plain(MAKE_VIDEO + caption)}]
        encoded = self.tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        prompt = cast(BatchEncoding, encoded)["input_ids"]
        places = [self.video_id] * num_video_tokens
        return EncodedChat(prompt + places, [IGNORED] * len(prompt) + places)

    def decode(self, ids: list[int]) -> str:
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _plain(self, text: str) -> str:
        """The text without anything that the tokenizer would read as a special token: captions come from strangers."""
        for special in self.tokenizer.all_special_tokens:
            text = text.replace(special, " ")
        return text
