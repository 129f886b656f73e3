"""A tokenizer's chat template: questions and answers to token ids, and which of them are answers."""

import re
from collections.abc import Sequence
from typing import Any, cast

from jinja2 import TemplateError
from transformers import BatchEncoding, PreTrainedTokenizerBase

from vtok.common.errors import UserError

MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Such as <think>, which a template may look for in answers although it is no special token.
TAG = re.compile(r"<[^<>\s'\"{}]+>")
OTHER_WEIGHTS = "choose other mllm.weights (an instruction-tuned model), or mllm=tiny."
Turns = Sequence[tuple[str, str]]


class ChatTemplate:
    """Renders conversations and tells their answers.

    A template with `{% generation %}` marks says itself what an answer is. Of one without them the answers are where
    stand-ins come out that are put in their places; to each belongs what the template adds between the end of its
    generation prompt and the answer, and what follows up to the special token that ends the turn. Models that can
    think are asked not to (`enable_thinking=False`, which other templates do not read).

    Args:
        tokenizer: a fast tokenizer with a chat template.

    Attributes:
        tags: `<...>` in the template's source: what it writes, or looks for in what is said.

    Raises:
        UserError: it is not fast, has no template, or one in which the answers cannot be told.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        try:
            template = tokenizer.get_chat_template()
        except ValueError:
            raise refusal("the tokenizer has no chat template") from None
        if not tokenizer.is_fast:
            raise refusal("the tokenizer is not a fast one, so that the places of its tokens in the text are not known")
        self.marked = MARKS.search(template) is not None
        self.tags = frozenset(TAG.findall(template))
        self.in_parts = False
        if not self._carries():
            self.in_parts = True
            if not self._carries():
                raise refusal("the chat template does not hold a question and its answer once each")
        self.lead = "" if self.marked else self._lead()
        self._check_prompt()

    @property
    def special_ids(self) -> set[int]:
        """The tokens that are no text, those without a role of their own in the tokenizer included."""
        added = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return added | set(self.tokenizer.all_special_ids)

    def prompt(self, question: str) -> list[int]:
        """The ids of a question, up to where its answer begins."""
        return self._tokenise(self._render([(question, None)], prompt=True))[0]

    def conversation(self, turns: Turns) -> tuple[list[int], list[bool]]:
        """The ids of whole turns of (question, answer), and which of them are to be predicted: answers and their ends.

        Raises:
            UserError: the template makes something else of the answers, or ends them without a special token.
        """
        if self.marked:
            encoded = self.tokenizer.apply_chat_template(
                self._messages(turns),
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
                enable_thinking=False,
            )
            encoded = cast(BatchEncoding, encoded)
            return encoded["input_ids"], [bool(one) for one in encoded["assistant_masks"]]
        turns = [(question, answer.strip()) for question, answer in turns]
        text = self._render(turns)
        pieces = self._pieces(turns)
        spans = []
        end = 0
        for piece, (_, answer) in zip(pieces, turns, strict=False):
            start = end + len(piece)
            end = start + len(answer)
            spans.append((start - len(self.lead) if piece.endswith(self.lead) else start, end))
        if text != "".join(piece + answer for piece, (_, answer) in zip(pieces, [*turns, ("", "")], strict=True)):
            raise refusal("the chat template makes something else of an answer than its text")
        ids, offsets = self._tokenise(text)
        return ids, self._cover(text, ids, offsets, spans)

    def _cover(
        self, text: str, ids: list[int], offsets: list[tuple[int, int]], spans: Sequence[tuple[int, int]]
    ) -> list[bool]:
        """Which tokens touch a span, or follow one up to the special token that ends the turn."""
        special = self.special_ids
        covered = [False] * len(ids)
        token = 0
        for start, end in spans:
            while token < len(ids) and offsets[token][1] <= start:
                token += 1
            while token < len(ids) and offsets[token][0] < end:
                covered[token] = True
                token += 1
            while token < len(ids) and ids[token] not in special and not text[slice(*offsets[token])].strip():
                covered[token] = True
                token += 1
            if token == len(ids) or ids[token] not in special:
                raise refusal("the chat template ends an answer without a special token that could tell its end")
            covered[token] = True
            token += 1
        return covered

    def _pieces(self, turns: Turns) -> list[str]:
        """What the template puts before, between and after the answers."""
        stand_ins = [stand_in(number) for number in range(len(turns))]
        rest = self._render([(question, mark) for (question, _), mark in zip(turns, stand_ins, strict=True)])
        pieces = []
        for mark in stand_ins:
            piece, found, rest = rest.partition(mark)
            if not found:
                raise refusal("the chat template leaves out an answer")
            pieces.append(piece)
        return [*pieces, rest]

    def _carries(self) -> bool:
        """Whether a question and an answer come out of the template, each once."""
        question, answer = stand_in(0), stand_in(1)
        try:
            text = self._render([(question, answer)])
        except (TemplateError, TypeError):
            return False
        return text.count(question) == text.count(answer) == 1

    def _lead(self) -> str:
        """What the template puts between the end of its generation prompt and the answer: often nothing or a space."""
        before, prompt = self._pieces([("a", "b")])[0], self._render([("a", None)], prompt=True)
        if not before.startswith(prompt):
            raise refusal("an answer does not begin where the chat template's generation prompt ends")
        return before[len(prompt) :]

    def _check_prompt(self) -> None:
        """A model that was trained on the whole is asked by the prompt: the one must begin as the other does."""
        prompt = self.prompt("a")
        ids, answers = self.conversation([("a", "b")])
        if ids[: len(prompt)] != prompt or any(answers[: len(prompt)]) or not any(answers):
            raise refusal("an answer does not begin where the chat template's generation prompt ends")

    def _messages(self, turns: Sequence[tuple[str, str | None]]) -> list[dict[str, Any]]:
        """The conversation as templates want it; an answer that is None is left out."""
        spoken = [(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self.in_parts else text}
            for role, text in spoken
            if text is not None
        ]

    def _render(self, turns: Sequence[tuple[str, str | None]], *, prompt: bool = False) -> str:
        rendered = self.tokenizer.apply_chat_template(
            self._messages(turns), tokenize=False, add_generation_prompt=prompt, enable_thinking=False
        )
        return cast(str, rendered)

    def _tokenise(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and each token's place in the text. The template brings its own special tokens."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return cast(list[int], encoded["input_ids"]), cast(list[tuple[int, int]], encoded["offset_mapping"])


def stand_in(number: int) -> str:
    """Text that no template changes and no text holds: between characters of Unicode's private use."""
    return f"\ue000{number}\ue001"


def refusal(reason: str) -> UserError:
    return UserError(f"mllm.weights: {reason}; {OTHER_WEIGHTS}")
