"""Which questions of a clip a training sequence asks, and the batches made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data import Clip, ClipDataset, ClipSample, SampleKey
from vtok.data.plan import StridePlanner
from vtok.mllm import ChatTokeniser, EncodedChat, LengthCheck
from vtok.mllm.chat import MAKE_VIDEO
from vtok.model import Objective
from vtok.model.batch import Batch, Text, stack_frames, stack_latents, stack_targets, stack_text
from vtok.model.video_language_model import DESCRIBE, VideoLanguageModel

CAPTION_ALONE = 0.25


def training_turns(
    clip: Clip, *, rng: np.random.Generator, questions: int | None, yes_no_share: float
) -> list[tuple[str, str]]:
    """Turns of (question, answer): the clip's questions in a random order, then its caption; or the caption alone.

    The caption comes last because it holds the answers to the questions, and now and then alone because that is how it
    is asked for when the model is used. A category that has yes-or-no questions and others is asked in one of the two
    ways: "is it red? yes" would answer "what colour is it?".

    Args:
        clip: the clip.
        rng: decides the order and which questions are asked.
        questions: how many are asked at most; None asks all.
        yes_no_share: how often a category is asked by its yes-or-no questions, where it has others. A claim must be
            held against what is seen, which is learned late; until then these answers are noise.
    """
    describe = [(DESCRIBE, clip.caption)] if clip.caption else []
    if describe and rng.random() < CAPTION_ALONE:
        return describe
    claims = {question.category for question in clip.questions if question.kind == "yes_no"}
    both = claims & {question.category for question in clip.questions if question.kind != "yes_no"}
    as_claim = {category for category in sorted(both) if rng.random() < yes_no_share}
    order = [clip.questions[index] for index in rng.permutation(len(clip.questions))]
    asked = [one for one in order if one.category not in both or (one.kind == "yes_no") == (one.category in as_claim)]
    return [(question.text, question.answer) for question in asked[:questions]] + describe


class Guarded(Dataset[ClipSample | UserError]):
    """A data set whose mistakes are values.

    Raised in a process that decodes, they would arrive wrapped in its traceback.
    """

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __getitem__(self, key: SampleKey) -> ClipSample | UserError:
        try:
            return self.clips[key]
        except UserError as error:
            return error


def collate_of(
    model: VideoLanguageModel, questions_per_clip: int | None, yes_no_share: float, *, seed: int
) -> "Collate":
    """How batches are made for a model."""
    return Collate(
        chat=model.mllm.chat,
        planner=model.tokeniser.planner,
        context_length=model.mllm.context_length,
        questions_per_clip=questions_per_clip,
        yes_no_share=yes_no_share,
        seed=seed,
        objective=model.objective,
    )


@dataclass(frozen=True)
class Collate:
    """Samples to a training batch; picklable, so that it runs in the processes that decode.

    The questions of a sample, and whether its caption is left out, follow from (seed, epoch, clip): the same whatever
    process makes the batch.
    """

    chat: ChatTokeniser
    planner: StridePlanner
    context_length: int
    questions_per_clip: int | None
    yes_no_share: float
    seed: int
    objective: Objective

    def __call__(self, samples: Sequence[ClipSample | UserError]) -> Batch | UserError:
        """The batch, or the error of a sample that could not be had."""
        good: list[ClipSample] = []
        for sample in samples:
            if isinstance(sample, UserError):
                return sample
            good.append(sample)
        generates = self.objective.generates
        prompts = tuple(self.prompt(one) for one in good) if generates else None
        try:
            return Batch(
                video=stack_frames(good),
                text=self._stack([self.conversation(one) for one in good]) if self.objective.understands else None,
                captions=self._stack([self.caption(one) for one in good]) if generates else None,
                target=stack_targets(good) if good[0].latents is None else stack_latents(good),
                prompts=prompts,
                bad=tuple(bad for sample in good for bad in sample.bad),
            )
        except UserError as error:
            return error

    def unfit(self, sample: ClipSample) -> str | None:
        """Why the text of a sample cannot be used, for `ClipDataset`; None where it can."""
        tokens = self.planner.num_tokens(sample.num_planned)
        try:
            if self.objective.understands and not self.room.fits_for_sure(self.turns(sample), num_video_tokens=tokens):
                self.conversation(sample)
            if self.objective.generates and not self.room.fits_for_sure(
                [(MAKE_VIDEO, self.prompt(sample))], num_video_tokens=tokens
            ):
                self.caption(sample)
        except UserError as error:
            return str(error).rstrip(".")
        return None

    @property
    def room(self) -> LengthCheck:
        return LengthCheck(self.chat, self.context_length)

    def turns(self, sample: ClipSample) -> list[tuple[str, str]]:
        """Questions and answers about a clip, as many as are asked for."""
        rng = np.random.default_rng(stable_hash("questions", self.seed, sample.epoch, sample.clip.id))
        return training_turns(sample.clip, rng=rng, questions=self.questions_per_clip, yes_no_share=self.yes_no_share)

    def conversation(self, sample: ClipSample) -> EncodedChat:
        """Questions and answers about a clip; of a conversation that is too long the first questions are left out.

        Raises:
            UserError: one turn alone is too long.
        """
        turns = self.turns(sample)
        tokens = self.planner.num_tokens(sample.num_planned)
        chat = self.chat.encode(turns, num_video_tokens=tokens)
        while len(chat.ids) > self.context_length and len(turns) > 1:
            turns = turns[1:]
            chat = self.chat.encode(turns, num_video_tokens=tokens)
        return self._short_enough(chat, sample)

    def caption(self, sample: ClipSample) -> EncodedChat:
        """A clip's caption, or none, and the places of its tokens.

        Raises:
            UserError: it is too long.
        """
        tokens = self.planner.num_tokens(sample.num_planned)
        return self._short_enough(self.chat.encode_video(self.prompt(sample), num_video_tokens=tokens), sample)

    def prompt(self, sample: ClipSample) -> str:
        """A clip's caption; "" where it has none or it is left out."""
        rng = np.random.default_rng(stable_hash("caption", self.seed, sample.epoch, sample.clip.id))
        left_out = rng.random() < self.objective.caption_dropout
        return "" if left_out else sample.clip.caption or ""

    def _short_enough(self, chat: EncodedChat, sample: ClipSample) -> EncodedChat:
        tokens = self.planner.num_tokens(sample.num_planned)
        if (lack := self.room.too_long(chat, num_video_tokens=tokens)) is not None:
            raise UserError(f"{lack}.")
        return chat

    def _stack(self, chats: Sequence[EncodedChat]) -> Text:
        return stack_text(chats, pad_id=self.chat.pad_id)
