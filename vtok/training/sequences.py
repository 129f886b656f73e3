"""Training sequences: the questions about a clip, and the batches of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data import Clip, ClipDataset, ClipSample, Question, SampleKey
from vtok.data.plan import StridePlanner
from vtok.mllm import ChatTokeniser, EncodedChat, LengthCheck
from vtok.mllm.chat import MAKE_VIDEO
from vtok.model import Objective
from vtok.model.batch import Batch, Text, stack_frames, stack_latents, stack_targets, stack_text
from vtok.model.video_language_model import DESCRIBE, VideoLanguageModel

CAPTION_ALONE = 0.25
Layout = Literal["conversation", "branches", "rows"]


def separate_turns(
    clip: Clip, *, rng: np.random.Generator, questions: int | None, yes_no_share: float
) -> list[tuple[str, str]]:
    """Turns of (question, answer), each for a sequence of its own, in which no other turn gives its answer away.

    Every question in a random order, then the caption. A category with both yes-or-no questions and others is asked by
    the others, and with probability `yes_no_share` also by one of the yes-or-no questions.

    Args:
        clip: clip with questions and a caption.
        rng: source of the random choices.
        questions: greatest number of questions; None: all.
        yes_no_share: probability of a claim about each category, in [0, 1].
    """
    claims = defaultdict(list)
    for question in clip.questions:
        if question.kind == "yes_no":
            claims[question.category].append(question)
    others = {question.category for question in clip.questions if question.kind != "yes_no"}
    asked = [one for one in clip.questions if one.kind != "yes_no" or one.category not in others]
    asked += [draw_claim(claims[one], rng) for one in sorted(others & claims.keys()) if rng.random() < yes_no_share]
    turns = [(asked[index].text, asked[index].answer) for index in rng.permutation(len(asked))[:questions]]
    return [*turns, *([(DESCRIBE, clip.caption)] if clip.caption else [])]


def training_turns(
    clip: Clip, *, rng: np.random.Generator, questions: int | None, yes_no_share: float
) -> list[tuple[str, str]]:
    """Turns of (question, answer): the clip's questions in a random order, then its caption; or only the caption.

    The caption comes last because it contains the answers. It is sometimes alone, as in `describe`. A category with
    both yes-or-no questions and others is asked in one of the two ways, because "is it red? yes" would answer "what
    colour is it?". Only one category is asked by a yes-or-no question, and by one of them: of claims about several
    categories a model learns only some.

    Args:
        clip: clip with questions and a caption.
        rng: source of the random choices.
        questions: greatest number of questions; None: all.
        yes_no_share: share of sequences in which one of the categories with both kinds is asked by a yes-or-no
            question, in [0, 1].
    """
    describe = [(DESCRIBE, clip.caption)] if clip.caption else []
    if describe and rng.random() < CAPTION_ALONE:
        return describe
    kinds = defaultdict(set)
    for question in clip.questions:
        kinds[question.category].add(question.kind == "yes_no")
    both = sorted(category for category, found in kinds.items() if len(found) > 1)
    claim = None
    if both and rng.random() < yes_no_share:
        category = both[rng.integers(len(both))]
        claim = draw_claim([one for one in clip.questions if one.category == category and one.kind == "yes_no"], rng)
    asked = []
    for question in (clip.questions[index] for index in rng.permutation(len(clip.questions))):
        by_claim = claim is not None and question.category == claim.category
        if question.category not in both or (question is claim if by_claim else question.kind != "yes_no"):
            asked.append(question)
    return [(question.text, question.answer) for question in asked[:questions]] + describe


def draw_claim(claims: Sequence[Question], rng: np.random.Generator) -> Question:
    """One of several yes-or-no questions, those with each answer together equally likely."""
    answers = sorted({one.answer for one in claims})
    answer = answers[rng.integers(len(answers))]
    possible = [one for one in claims if one.answer == answer]
    return possible[rng.integers(len(possible))]


class ReturnErrors(Dataset[ClipSample | UserError]):
    """A data set that returns user errors instead of raising them.

    An error that is raised in a worker process would arrive wrapped in a traceback.
    """

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __getitem__(self, key: SampleKey) -> ClipSample | UserError:
        try:
            return self.clips[key]
        except UserError as error:
            return error


def make_collate(
    model: VideoLanguageModel,
    *,
    questions_per_clip: int | None,
    yes_no_share: float,
    separate_questions: bool,
    seed: int,
) -> "Collate":
    """The collate function of a model; for the settings see `Trainer`."""
    layout: Layout = "conversation"
    if model.tokeniser.reads_question:
        layout = "rows"
    elif separate_questions:
        layout = "branches" if model.mllm.reads_branches else "rows"
    return Collate(
        chat=model.mllm.chat,
        planner=model.tokeniser.planner.for_training(),
        context_length=model.mllm.context_length,
        questions_per_clip=questions_per_clip,
        yes_no_share=yes_no_share,
        seed=seed,
        objective=model.objective,
        layout=layout,
    )


@dataclass(frozen=True)
class Collate:
    """Collates samples to a training batch. Picklable, because it runs in worker processes.

    The questions of a sample, and whether its caption is dropped, depend only on (seed, epoch, clip).

    Attributes:
        layout: how the turns about a clip are read: all in one conversation, or each alone, as a branch of one row or
            as a row of its own.
    """

    chat: ChatTokeniser
    planner: StridePlanner
    context_length: int
    questions_per_clip: int | None
    yes_no_share: float
    seed: int
    objective: Objective
    layout: Layout = "conversation"

    def __call__(self, samples: Sequence[ClipSample | UserError]) -> Batch | UserError:
        """The batch, or the error of a sample."""
        good: list[ClipSample] = []
        for sample in samples:
            if isinstance(sample, UserError):
                return sample
            good.append(sample)
        # By the batch, not by the clip: its clips then have the same grid and the same length.
        number = stable_hash("budget", self.seed, good[0].epoch, good[0].clip.id)
        if (drawn := self.planner.drawn(number)) is not self.planner:
            good = [one.at(drawn.kept(one.num_planned)) for one in good]
            return replace(self, planner=drawn).batch(good, key_tokens=drawn.key_tokens)
        return self.batch(good)

    def batch(self, good: Sequence[ClipSample], *, key_tokens: int | None = None) -> Batch | UserError:
        """The batch of samples, or the error of a text; `key_tokens`: see `PlannedFrames`."""
        generates = self.objective.generates
        prompts = tuple(self.prompt(one) for one in good) if generates else None
        try:
            chats = [self.chats(one) for one in good] if self.objective.understands else []
            rows = [row for row, own in enumerate(chats) for _ in own]
            return Batch(
                video=replace(stack_frames(good), key_tokens=key_tokens),
                text=self._stack([chat for own in chats for chat in own]) if chats else None,
                clip_of_row=torch.tensor(rows) if chats and self.layout == "rows" else None,
                captions=self._stack([self.caption(one) for one in good]) if generates else None,
                target=stack_targets(good) if good[0].latents is None else stack_latents(good),
                prompts=prompts,
                bad=tuple(bad for sample in good for bad in sample.bad),
            )
        except UserError as error:
            return error

    def text_error(self, sample: ClipSample) -> str | None:
        """The reason why the text of a sample cannot be used, for `ClipDataset`; None: it can be used."""
        tokens = self.planner.num_tokens(sample.num_planned)
        try:
            if self.objective.understands and not self.length_check.fits_for_sure(
                self.turns(sample), num_video_tokens=tokens
            ):
                self.chats(sample)
            if self.objective.generates and not self.length_check.fits_for_sure(
                [(MAKE_VIDEO, self.prompt(sample))], num_video_tokens=tokens
            ):
                self.caption(sample)
        except UserError as error:
            return str(error).rstrip(".")
        return None

    @property
    def length_check(self) -> LengthCheck:
        return LengthCheck(self.chat, self.context_length)

    def turns(self, sample: ClipSample) -> list[tuple[str, str]]:
        """The questions and answers about a clip."""
        rng = np.random.default_rng(stable_hash("questions", self.seed, sample.epoch, sample.clip.id))
        draw = training_turns if self.layout == "conversation" else separate_turns
        return draw(sample.clip, rng=rng, questions=self.questions_per_clip, yes_no_share=self.yes_no_share)

    def chats(self, sample: ClipSample) -> list[EncodedChat]:
        """The rows about a clip: one, or one for each of its turns.

        Raises:
            UserError: a single turn is too long.
        """
        if self.layout == "conversation":
            return [self.conversation(sample)]
        turns, tokens = self.turns(sample), self.planner.num_tokens(sample.num_planned)
        if self.layout == "branches":
            chats = [self.chat.encode_branches(turns, num_video_tokens=tokens)]
        else:
            chats = [self.chat.encode([turn], num_video_tokens=tokens) for turn in turns]
        return [self._check_length(chat, sample) for chat in chats]

    def conversation(self, sample: ClipSample) -> EncodedChat:
        """The conversation about a clip; if it is too long, the first questions are dropped.

        Raises:
            UserError: a single turn is too long.
        """
        turns = self.turns(sample)
        tokens = self.planner.num_tokens(sample.num_planned)
        chat = self.chat.encode(turns, num_video_tokens=tokens)
        while len(chat.ids) > self.context_length and len(turns) > 1:
            turns = turns[1:]
            chat = self.chat.encode(turns, num_video_tokens=tokens)
        return self._check_length(chat, sample)

    def caption(self, sample: ClipSample) -> EncodedChat:
        """A clip's caption, which may be dropped, and the places of its video tokens.

        Raises:
            UserError: it is too long.
        """
        tokens = self.planner.num_tokens(sample.num_planned)
        return self._check_length(self.chat.encode_video(self.prompt(sample), num_video_tokens=tokens), sample)

    def prompt(self, sample: ClipSample) -> str:
        """A clip's caption; "" if it has none or it is dropped."""
        rng = np.random.default_rng(stable_hash("caption", self.seed, sample.epoch, sample.clip.id))
        dropped = rng.random() < self.objective.caption_dropout
        return "" if dropped else sample.clip.caption or ""

    def _check_length(self, chat: EncodedChat, sample: ClipSample) -> EncodedChat:
        tokens = self.planner.num_tokens(sample.num_planned)
        if (reason := self.length_check.too_long(chat, num_video_tokens=tokens)) is not None:
            raise UserError(f"{reason}.")
        return chat

    def _stack(self, chats: Sequence[EncodedChat]) -> Text:
        return stack_text(chats, pad_id=self.chat.pad_id)
