"""Training sequences: the questions about a clip, and the batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
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


def training_turns(
    clip: Clip, *, rng: np.random.Generator, questions: int | None, yes_no_share: float
) -> list[tuple[str, str]]:
    """Turns of (question, answer) that do not see each other: the questions in a random order, then the caption.

    Args:
        clip: clip with questions and a caption.
        rng: source of the random choices.
        questions: greatest number of questions; None: all.
        yes_no_share: probability of each yes-or-no question about a category that also has others, in [0, 1].
    """
    others = {question.category for question in clip.questions if question.kind != "yes_no"}
    asked = [
        one
        for one in clip.questions
        if one.kind != "yes_no" or one.category not in others or rng.random() < yes_no_share
    ]
    turns = [(asked[index].text, asked[index].answer) for index in rng.permutation(len(asked))[:questions]]
    return [*turns, *([(DESCRIBE, clip.caption)] if clip.caption else [])]


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
    seed: int,
) -> "Collate":
    """The collate function of a model; for the settings see `Trainer`."""
    return Collate(
        chat=model.mllm.chat,
        planner=model.tokeniser.planner.for_training(),
        context_length=model.mllm.context_length,
        questions_per_clip=questions_per_clip,
        yes_no_share=yes_no_share,
        seed=seed,
        objective=model.objective,
        row_per_turn=not model.reads_branches,
    )


@dataclass(frozen=True)
class Collate:
    """Collates samples to a training batch. Picklable, because it runs in worker processes.

    The questions of a sample, and whether its caption is dropped, depend only on (seed, epoch, clip).

    Attributes:
        row_per_turn: whether each turn about a clip is a row of its own, with the clip's tokens; otherwise it is a
            branch of the clip's row, which has them once.
    """

    chat: ChatTokeniser
    planner: StridePlanner
    context_length: int
    questions_per_clip: int | None
    yes_no_share: float
    seed: int
    objective: Objective
    row_per_turn: bool = False

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
                clip_of_row=torch.tensor(rows) if chats and self.row_per_turn else None,
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
        turns = self.turns(sample) if self.objective.understands else []
        fits = turns and all(self.length_check.fits_for_sure(turn, num_video_tokens=tokens) for turn in turns)
        try:
            if self.objective.understands and not fits:
                self.chats(sample)
            if self.objective.generates and not self.length_check.fits_for_sure(
                (MAKE_VIDEO, self.prompt(sample)), num_video_tokens=tokens
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
        return training_turns(sample.clip, rng=rng, questions=self.questions_per_clip, yes_no_share=self.yes_no_share)

    def chats(self, sample: ClipSample) -> list[EncodedChat]:
        """The rows about a clip: one, or one for each of its turns.

        Raises:
            UserError: a turn is too long, or there is none.
        """
        turns, tokens = self.turns(sample), self.planner.num_tokens(sample.num_planned)
        if not turns:
            raise UserError("it has neither a caption nor a question. Add one of them.")
        if self.row_per_turn:
            chats = [self.chat.encode_branches([turn], num_video_tokens=tokens) for turn in turns]
        else:
            chats = [self.chat.encode_branches(turns, num_video_tokens=tokens)]
        return [self._check_length(chat, sample) for chat in chats]

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
