"""Which questions of a clip a training sequence asks, and the batches made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vtok.batch import Batch, stack_frames, stack_text
from vtok.data import Clip, ClipSample
from vtok.data.stable import stable_hash
from vtok.mllm import ChatTokeniser
from vtok.model import DESCRIBE
from vtok.plan import StridePlanner


def training_turns(clip: Clip, *, rng: np.random.Generator, questions: int | None) -> list[tuple[str, str]]:
    """Turns of (question, answer): the clip's questions in a random order, at most `questions` of them, then its caption.

    The caption comes last because it holds the answers to the questions.
    """
    order = rng.permutation(len(clip.questions))[:questions]
    turns = [(clip.questions[i].text, clip.questions[i].answer) for i in order]
    return [*turns, (DESCRIBE, clip.caption)] if clip.caption else turns


@dataclass(frozen=True)
class Collate:
    """Samples to a training batch; picklable, so that it runs in the processes that decode.

    The questions of a sample follow from (seed, epoch, clip): the same whatever process makes the batch.
    """

    chat: ChatTokeniser
    planner: StridePlanner
    questions_per_clip: int | None
    seed: int

    def __call__(self, samples: Sequence[ClipSample]) -> Batch:
        chats = []
        for sample in samples:
            rng = np.random.default_rng(stable_hash("questions", self.seed, sample.epoch, sample.clip.id))
            turns = training_turns(sample.clip, rng=rng, questions=self.questions_per_clip)
            chats.append(self.chat.encode(turns, num_video_tokens=self.planner.num_tokens(len(sample.frames))))
        return Batch(
            video=stack_frames(samples),
            text=stack_text(chats, pad_id=self.chat.pad_id),
            bad=tuple(bad for sample in samples for bad in sample.bad),
        )
