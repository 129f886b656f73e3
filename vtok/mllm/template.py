"""A tokenizer's chat template: turns of questions and answers to token ids, and which tokens are answers."""

import re
from collections.abc import Sequence
from typing import Any, cast

from jinja2 import TemplateError
from transformers import BatchEncoding, PreTrainedTokenizerBase

from vtok.common.errors import UserError

MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Such as <think>: a template may look for it in answers although it is not a special token.
TAG = re.compile(r"<[^<>\s'\"{}]+>")
Turns = Sequence[tuple[str, str]]


class ChatTemplate:
    """Renders conversations, and finds the tokens of their answers.

    A template with `{% generation %}` marks shows where the answers are. For any other template, placeholders are
    rendered instead of the answers, and their positions are those of the answers. An answer also includes the text
    between the end of the generation prompt and the answer, and the special token that ends the turn. Thinking is
    switched off (`enable_thinking=False`, which templates of other models ignore).

    Args:
        tokenizer: fast tokenizer with a chat template.

    Attributes:
        tags: all `<...>` in the template's source, which it writes or looks for in messages.

    Raises:
        UserError: the tokenizer is not fast, has no chat template, or has one in which answers cannot be found.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        try:
            template = tokenizer.get_chat_template()
        except ValueError:
            raise unsuitable("the tokenizer has no chat template") from None
        if not tokenizer.is_fast:
            raise unsuitable("the tokenizer is not a fast one, which is needed for the positions of tokens in the text")
        self.has_marks = MARKS.search(template) is not None
        self.tags = frozenset(TAG.findall(template))
        # Whether a message's content is a list of parts, as in the templates of vision-language models.
        self.content_is_list = False
        if not self._renders_both():
            self.content_is_list = True
            if not self._renders_both():
                raise unsuitable("the chat template does not render a question and its answer once each")
        self.answer_prefix = "" if self.has_marks else self._find_answer_prefix()
        self._check_prompt()

    @property
    def special_ids(self) -> set[int]:
        """The ids of all special tokens, including those without a role in the tokenizer."""
        added = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return added | set(self.tokenizer.all_special_ids)

    def prompt(self, question: str) -> list[int]:
        """The ids of a question, up to the beginning of its answer."""
        return self._tokenise(self._render([(question, None)], prompt=True))[0]

    def conversation(self, turns: Turns) -> tuple[list[int], list[bool]]:
        """The ids of turns of (question, answer), and which of them belong to answers, end tokens included.

        Raises:
            UserError: the template changes the answers, or ends them without a special token.
        """
        if self.has_marks:
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
        pieces = self._text_around_answers(turns)
        spans = []
        end = 0
        for piece, (_, answer) in zip(pieces, turns, strict=False):
            start = end + len(piece)
            end = start + len(answer)
            spans.append((start - len(self.answer_prefix) if piece.endswith(self.answer_prefix) else start, end))
        if text != "".join(piece + answer for piece, (_, answer) in zip(pieces, [*turns, ("", "")], strict=True)):
            raise unsuitable("the chat template changes the text of an answer")
        ids, offsets = self._tokenise(text)
        return ids, self._tokens_in_spans(text, ids, offsets, spans)

    def _tokens_in_spans(
        self, text: str, ids: list[int], offsets: list[tuple[int, int]], spans: Sequence[tuple[int, int]]
    ) -> list[bool]:
        """Which tokens overlap a span, or follow one up to the special token that ends the turn."""
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
                raise unsuitable("the chat template ends an answer without a special token")
            covered[token] = True
            token += 1
        return covered

    def _text_around_answers(self, turns: Turns) -> list[str]:
        """The rendered text before, between and after the answers."""
        placeholders = [placeholder(number) for number in range(len(turns))]
        rest = self._render([(question, mark) for (question, _), mark in zip(turns, placeholders, strict=True)])
        pieces = []
        for mark in placeholders:
            piece, found, rest = rest.partition(mark)
            if not found:
                raise unsuitable("the chat template leaves out an answer")
            pieces.append(piece)
        return [*pieces, rest]

    def _renders_both(self) -> bool:
        """Whether the template renders a question and an answer, each once."""
        question, answer = placeholder(0), placeholder(1)
        try:
            text = self._render([(question, answer)])
        except (TemplateError, TypeError):
            return False
        return text.count(question) == text.count(answer) == 1

    def _find_answer_prefix(self) -> str:
        """The text that the template adds between its generation prompt and the answer, often nothing or a space."""
        before, prompt = self._text_around_answers([("a", "b")])[0], self._render([("a", None)], prompt=True)
        if not before.startswith(prompt):
            raise unsuitable("an answer does not begin where the chat template's generation prompt ends")
        return before[len(prompt) :]

    def _check_prompt(self) -> None:
        """Check that conversations, which the model is trained on, begin with the prompt that it is used with."""
        prompt = self.prompt("a")
        ids, answers = self.conversation([("a", "b")])
        if ids[: len(prompt)] != prompt or any(answers[: len(prompt)]) or not any(answers):
            raise unsuitable("an answer does not begin where the chat template's generation prompt ends")

    def _messages(self, turns: Sequence[tuple[str, str | None]]) -> list[dict[str, Any]]:
        """The conversation as a list of messages; an answer that is None is left out."""
        messages = [(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self.content_is_list else text}
            for role, text in messages
            if text is not None
        ]

    def _render(self, turns: Sequence[tuple[str, str | None]], *, prompt: bool = False) -> str:
        rendered = self.tokenizer.apply_chat_template(
            self._messages(turns), tokenize=False, add_generation_prompt=prompt, enable_thinking=False
        )
        return cast(str, rendered)

    def _tokenise(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and (start, end) of each token in the text. No special tokens are added: the template has its own."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return cast(list[int], encoded["input_ids"]), cast(list[tuple[int, int]], encoded["offset_mapping"])


def placeholder(number: int) -> str:
    """Text that no template changes and no message contains: a number in Unicode private-use characters."""
    return f"\ue000{number}\ue001"


def unsuitable(reason: str) -> UserError:
    return UserError(f"mllm.weights: {reason}. Choose other mllm.weights (an instruction-tuned model), or mllm=tiny.")
