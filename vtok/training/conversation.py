"""Which questions of a clip a training sequence asks, and the batches made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from vtok.batch import Batch, stack_frames, stack_text
from vtok.data import Clip, ClipDataset, ClipSample, SampleKey
from vtok.data.stable import stable_hash
from vtok.errors import UserError
from vtok.mllm import ChatTokeniser
from vtok.model import DESCRIBE
from vtok.plan import StridePlanner

CAPTION_ALONE = 0.25


def training_turns(
    clip: Clip, *, rng: np.random.Generator, questions: int | None, yes_no_share: float
) -> list[tuple[str, str]]:
    """Turns of (question, answer): the clip's questions in a random order, then its caption; or the caption alone.

    The caption comes last because it holds the answers to the questions, and now and then alone because that is how it
    is asked for when the model is used.

    Args:
        clip: the clip.
        rng: decides the order and which questions are asked.
        questions: how many are asked at most; None asks all.
        yes_no_share: the share of the yes-or-no questions that is asked at all. A claim must be held against what is
            seen, which is learned late; until then these answers are noise.
    """
    describe = [(DESCRIBE, clip.caption)] if clip.caption else []
    if describe and rng.random() < CAPTION_ALONE:
        return describe
    order = rng.permutation(len(clip.questions))
    asked = [clip.questions[i] for i in order if clip.questions[i].kind != "yes_no" or rng.random() < yes_no_share]
    if not asked and not describe:
        asked = [clip.questions[order[0]]]
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


@dataclass(frozen=True)
class Collate:
    """Samples to a training batch; picklable, so that it runs in the processes that decode.

    The questions of a sample follow from (seed, epoch, clip): the same whatever process makes the batch.
    """

    chat: ChatTokeniser
    planner: StridePlanner
    questions_per_clip: int | None
    yes_no_share: float
    seed: int

    def __call__(self, samples: Sequence[ClipSample | UserError]) -> Batch | UserError:
        """The batch, or the error of a sample that could not be had."""
        good, chats = [], []
        for sample in samples:
            if isinstance(sample, UserError):
                return sample
            good.append(sample)
            rng = np.random.default_rng(stable_hash("questions", self.seed, sample.epoch, sample.clip.id))
            turns = training_turns(
                sample.clip, rng=rng, questions=self.questions_per_clip, yes_no_share=self.yes_no_share
            )
            chats.append(self.chat.encode(turns, num_video_tokens=self.planner.num_tokens(len(sample.frames))))
        return Batch(
            video=stack_frames(good),
            text=stack_text(chats, pad_id=self.chat.pad_id),
            bad=tuple(bad for sample in good for bad in sample.bad),
        )
