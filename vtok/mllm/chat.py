"""Conversations about a video to token ids: chat template, positions of video tokens, and what is to be predicted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedTokenizerBase

from vtok.common.errors import UserError
from vtok.mllm.branches import Branch, longest_path, tree_of
from vtok.mllm.template import ChatTemplate, unsuitable

IGNORED = -100
MAKE_VIDEO = "make a video: "
# Turns whose tokens are remembered, so that a text is rendered once and captions of millions of clips take no memory.
REMEMBERED = 4096


@dataclass(frozen=True)
class EncodedChat:
    """Token ids of a conversation, or of several turns that do not see each other.

    Attributes:
        ids: token ids.
        targets: the token that the model learns to predict after each, or IGNORED.
        turn: the turn of each token, counted from 1, see `vtok.mllm.branches.Tree`; None: one conversation.
        seen_until: number of the first token after those that see each token; None: all later ones see it.
    """

    ids: list[int]
    targets: list[int]
    turn: list[int] | None = None
    seen_until: list[int] | None = None

    @property
    def length(self) -> int:
        """Number of tokens that the last token of the longest turn sees, itself included."""
        return len(self.ids) if self.seen_until is None else longest_path(self.seen_until)


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
        if self.template.prompt(video_token)[-1] == video_id:
            raise unsuitable("the chat template writes nothing between a question and its answer")
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
        self._turns: dict[tuple[str, str], tuple[list[int], Branch]] = {}

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
        """Turns of (question, answer) about one video; the targets are the answers and their end tokens."""
        plain = [
            ((self.video_token * num_video_tokens if number == 0 else "") + self.plain(question), self.plain(answer))
            for number, (question, answer) in enumerate(turns)
        ]
        ids, answers = self.template.conversation(plain)
        following = zip(ids[1:], answers[1:], strict=True)
        return EncodedChat(ids, [*(token if answer else IGNORED for token, answer in following), IGNORED])

    def encode_branches(self, turns: Sequence[tuple[str, str]], *, num_video_tokens: int) -> EncodedChat:
        """Turns of (question, answer) about one video, none of which sees another.

        The text up to the last video token comes first, once. Each turn sees this text and itself, so that it is read
        as if it were alone (as in Molmo, arXiv 2409.17146, section 3). Questions that begin alike share their first
        words. The end of an answer is predicted, but not read.
        """
        rendered = [self._rendered(turn) for turn in turns]
        # Of the first turn: a template may write the time of day, which differs between them.
        start = [*rendered[0][0], *[self.video_id] * num_video_tokens] if rendered else []
        tree = tree_of([branch for _, branch in rendered])
        total = len(start) + len(tree.ids)
        return EncodedChat(
            ids=start + tree.ids,
            targets=[IGNORED] * len(start) + tree.targets,
            turn=[1] * len(start) + tree.turn,
            seen_until=[total] * len(start) + [len(start) + end for end in tree.seen_until],
        )

    def _rendered(self, turn: tuple[str, str]) -> tuple[list[int], Branch]:
        """The tokens before the video, and a branch after it. Questions come again and again, and rendering is slow."""
        if turn not in self._turns:
            if len(self._turns) >= REMEMBERED:
                self._turns.clear()
            chat = self.encode([turn], num_video_tokens=1)
            video = chat.ids.index(self.video_id)
            ids, targets = chat.ids[video + 1 :], chat.targets[video + 1 :]
            predicts = [place for place, target in enumerate(targets) if target != IGNORED]
            # Nothing follows from what comes after these. The first of them predicts one answer, so it is not shared.
            end = predicts[-1] + 1 if predicts else len(ids)
            branch = Branch(ids[:end], targets[:end], shareable=predicts[0] if predicts else end)
            self._turns[turn] = chat.ids[:video], branch
        return self._turns[turn]

    def encode_prompt(self, question: str, *, num_video_tokens: int) -> list[int]:
        """Token ids of a question about one video, up to the beginning of the answer."""
        return self.template.prompt(self.video_token * num_video_tokens + self.plain(question))

    def encode_video(self, caption: str, *, num_video_tokens: int) -> EncodedChat:
        """A request for a video, answered by the positions of its tokens, which are the targets."""
        prompt = self.template.prompt(self.plain(MAKE_VIDEO + caption))
        places = [self.video_id] * num_video_tokens
        return EncodedChat(prompt + places, [*[IGNORED] * (len(prompt) - 1), *places, IGNORED])

    def decode(self, ids: list[int]) -> str:
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def plain(self, text: str) -> str:
        """The text, with special tokens and template tags turned into plain words.

        Captions are untrusted. A special token gets a space after its first character: "< video>".
        """
        split = self._marks.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)
        # Remove what is left, such as special tokens of one character.
        return self._marks.sub(" ", split)
