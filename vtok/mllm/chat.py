"""Conversations about a video to token ids: chat template, positions of video tokens, labels of the answers."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedTokenizerBase

from vtok.common.errors import UserError
from vtok.mllm.template import ChatTemplate

IGNORED = -100
MAKE_VIDEO = "make a video: "
# Turns whose tokens are remembered, so that a text is rendered once and captions of millions of clips take no memory.
REMEMBERED = 4096


@dataclass(frozen=True)
class EncodedChat:
    """Token ids of a conversation, and labels of the same length.

    Attributes:
        ids: token ids.
        labels: the id of each token that the model learns to predict, IGNORED for the others.
        branch: number of the branch of each token, 0 before the first branch, see `ChatTokeniser.encode_branches`;
            None: one conversation.
    """

    ids: list[int]
    labels: list[int]
    branch: list[int] | None = None

    @property
    def length(self) -> int:
        """Number of tokens that the last token of the longest branch sees, itself included."""
        if self.branch is None:
            return len(self.ids)
        sizes = Counter(self.branch)
        return sizes.pop(0, 0) + max(sizes.values(), default=0)


class ChatTokeniser:
    """Wraps a Hugging Face fast tokenizer that has a chat template, with or without `{% generation %}` marks.

    Args:
        tokenizer: fast tokenizer whose vocabulary has `video_token`.
        video_token: text that stands for one video token; the first user turn begins with one for each.

    Attributes:
        turn_length: greatest number of tokens that the template adds to a question and an answer.

    Raises:
        UserError: the vocabulary has no such video token, or the answers cannot be found in the chat template, see
            `ChatTemplate`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, video_token: str = "<video>") -> None:
        self.tokenizer = tokenizer
        self.video_token = video_token
        video_id = tokenizer.convert_tokens_to_ids(video_token)
        if not isinstance(video_id, int) or video_id == tokenizer.unk_token_id:
            raise UserError(
                f"The language model's tokenizer has no token {video_token}. Choose other mllm.weights, or mllm=tiny."
            )
        self.video_id = video_id
        self.template = ChatTemplate(tokenizer)
        special = self.template.special_ids
        marks = (
            {cast(str, tokenizer.convert_ids_to_tokens(one)) for one in special} | self.template.tags | {video_token}
        )
        # Longest first, because one may contain another.
        self._marks = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
        ids, answers = self.template.conversation([("a", "b")])
        self.turn_length = len(ids)
        ends = [token for token, answer in zip(ids, answers, strict=True) if answer and token in special]
        self._end_id = ends[-1] if ends else tokenizer.eos_token_id
        self._encoded: dict[tuple[str, str], EncodedChat] = {}

    @property
    def pad_id(self) -> int:
        """The padding token; any token will do, because it is masked."""
        padding = self.tokenizer.pad_token_id
        return int(self.end_id if padding is None else padding)

    @property
    def end_id(self) -> int:
        """The token that ends an answer. It may differ from the tokenizer's `eos_token`, which can end a document."""
        return int(self._end_id)

    @property
    def stop_ids(self) -> list[int]:
        """The tokens that end generation."""
        end_of_text = self.tokenizer.eos_token_id
        return [self.end_id] if end_of_text in (None, self.end_id) else [self.end_id, int(end_of_text)]

    def encode(self, turns: Sequence[tuple[str, str]], *, num_video_tokens: int) -> EncodedChat:
        """Turns of (question, answer) about one video, with labels at the answers and their end tokens."""
        plain = [
            ((self.video_token * num_video_tokens if number == 0 else "") + self.plain(question), self.plain(answer))
            for number, (question, answer) in enumerate(turns)
        ]
        ids, answers = self.template.conversation(plain)
        return EncodedChat(ids, [token if answer else IGNORED for token, answer in zip(ids, answers, strict=True)])

    def encode_branches(self, turns: Sequence[tuple[str, str]], *, num_video_tokens: int) -> EncodedChat:
        """Turns of (question, answer) about one video, none of which sees another.

        The text up to the last video token comes first, once. The rest of each turn is a branch, which sees this text
        and itself, so that a turn is read as if it were alone (as in Molmo, arXiv 2409.17146, section 3).
        """
        ids: list[int] = []
        labels: list[int] = []
        branch: list[int] = []
        for number, turn in enumerate(turns, start=1):
            alone = self._encode_once(turn)
            # The one video token marks where the branch begins.
            start = alone.ids.index(self.video_id) + 1
            if not ids:
                ids = [*alone.ids[: start - 1], *[self.video_id] * num_video_tokens]
                labels, branch = [IGNORED] * len(ids), [0] * len(ids)
            ids += alone.ids[start:]
            labels += alone.labels[start:]
            branch += [number] * (len(alone.ids) - start)
        return EncodedChat(ids, labels, branch)

    def _encode_once(self, turn: tuple[str, str]) -> EncodedChat:
        """A turn with one video token. Questions come again and again, and rendering takes time."""
        if turn not in self._encoded:
            if len(self._encoded) >= REMEMBERED:
                self._encoded.clear()
            self._encoded[turn] = self.encode([turn], num_video_tokens=1)
        return self._encoded[turn]

    def encode_prompt(self, question: str, *, num_video_tokens: int) -> list[int]:
        """Token ids of a question about one video, up to the beginning of the answer."""
        return self.template.prompt(self.video_token * num_video_tokens + self.plain(question))

    def encode_video(self, caption: str, *, num_video_tokens: int) -> EncodedChat:
        """A request for a video, answered by the positions of its tokens, which have the labels."""
        prompt = self.template.prompt(self.plain(MAKE_VIDEO + caption))
        places = [self.video_id] * num_video_tokens
        return EncodedChat(prompt + places, [IGNORED] * len(prompt) + places)

    def decode(self, ids: list[int]) -> str:
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def plain(self, text: str) -> str:
        """The text, with special tokens and template tags turned into plain words.

        Captions are untrusted. A special token gets a space after its first character: "< video>".
        """
        split = self._marks.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)
        # Remove what is left, such as special tokens of one character.
        return self._marks.sub(" ", split)
