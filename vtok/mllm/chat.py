"""Conversations about a video to token ids: the chat template, the video's places, and which tokens are answers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedTokenizerBase

from vtok.common.errors import UserError
from vtok.mllm.template import ChatTemplate

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
    """Wraps a Hugging Face fast tokenizer that has a chat template, with `{% generation %}` marks or without.

    Args:
        tokenizer: the tokenizer; its vocabulary holds `video_token`.
        video_token: the text that stands for one video token; the first user turn begins with as many as the video has.

    Attributes:
        turn_length: tokens that the template puts around a question and an answer, at most.

    Raises:
        UserError: no such video token, or no chat template in which the answers can be told, see `ChatTemplate`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, video_token: str = "<video>") -> None:
        self.tokenizer = tokenizer
        self.video_token = video_token
        video_id = tokenizer.convert_tokens_to_ids(video_token)
        if not isinstance(video_id, int) or video_id == tokenizer.unk_token_id:
            raise UserError(f"the language model's tokenizer has no token {video_token}.")
        self.video_id = video_id
        self.template = ChatTemplate(tokenizer)
        special = self.template.special_ids
        marks = (
            {cast(str, tokenizer.convert_ids_to_tokens(one)) for one in special} | self.template.tags | {video_token}
        )
        # Longest first: one may be a part of another.
        self._marks = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
        ids, answers = self.template.conversation([("a", "b")])
        self.turn_length = len(ids)
        ends = [token for token, answer in zip(ids, answers, strict=True) if answer and token in special]
        self._end_id = ends[-1] if ends else tokenizer.eos_token_id

    @property
    def pad_id(self) -> int:
        """The token that fills rows up; what it is does not matter, for it is masked."""
        padding = self.tokenizer.pad_token_id
        return int(self.end_id if padding is None else padding)

    @property
    def end_id(self) -> int:
        """The token that ends an answer: not always the tokenizer's `eos_token`, which may end whole texts."""
        return int(self._end_id)

    @property
    def stop_ids(self) -> list[int]:
        """The tokens after which nothing more is to be written."""
        end_of_text = self.tokenizer.eos_token_id
        return [self.end_id] if end_of_text in (None, self.end_id) else [self.end_id, int(end_of_text)]

    def encode(self, turns: Sequence[tuple[str, str]], *, num_video_tokens: int) -> EncodedChat:
        """Whole turns of (question, answer) about one video; labels at the answers, their end token included."""
        plain = [
            ((self.video_token * num_video_tokens if number == 0 else "") + self.plain(question), self.plain(answer))
            for number, (question, answer) in enumerate(turns)
        ]
        ids, answers = self.template.conversation(plain)
        return EncodedChat(ids, [token if answer else IGNORED for token, answer in zip(ids, answers, strict=True)])

    def encode_prompt(self, question: str, *, num_video_tokens: int) -> list[int]:
        """A question about one video, up to where the answer begins."""
        return self.template.prompt(self.video_token * num_video_tokens + self.plain(question))

    def encode_video(self, caption: str, *, num_video_tokens: int) -> EncodedChat:
        """A wish for a video, and the places of its tokens as the answer; labels at the places."""
        prompt = self.template.prompt(self.plain(MAKE_VIDEO + caption))
        places = [self.video_id] * num_video_tokens
        return EncodedChat(prompt + places, [IGNORED] * len(prompt) + places)

    def decode(self, ids: list[int]) -> str:
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def plain(self, text: str) -> str:
        """The text with nothing in it that the tokenizer or the template would read as a mark of its own.

        Captions come from strangers. A mark stays as words, with a space after its first character: "< video>".
        """
        split = self._marks.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)
        # What is left, such as a mark of one character, cannot stay.
        return self._marks.sub(" ", split)
