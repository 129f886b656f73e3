"""The model `vtok` of lmms-eval: a run, or an exported model, answers questions about videos."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from vtok.common.chunks import chunks
from vtok.common.errors import UserError
from vtok.common.finite import check_finite
from vtok.inference.answer import check_understands
from vtok.inference.clip import read_clip
from vtok.inference.load import load_run
from vtok.lmms.question import Limits, VideoQuestion, limits_of, question_of
from vtok.mllm import IGNORED
from vtok.model.batch import stack_frames, stack_text
from vtok.tokeniser import PlannedFrames


class VTokModel(lmms):
    """A run's model with the interface of lmms-eval (`lmms_eval.api.model.lmms`, its "simple" kind).

    A question is about one video file. Its frames are chosen by the run's frame plan: by default from the clip at the
    start of the video, as in `vtok describe`.

    Args:
        run: run folder, a checkpoint of one, an exported folder, or latest.
        outputs: folder in which run=latest is looked for.
        spread: whether the clip's frames are spread evenly over the full video, however long it is.
        batch_size: number of questions answered at once, >= 1.
        device: device of the model; None: the GPU if there is one.
        allowed_targets: packages of the user's own whose components may be built, separated by ;.

    Raises:
        UserError: if there is no such run, it was not trained to answer questions, or an argument is not valid.
    """

    is_simple = True

    def __init__(
        self,
        *,
        run: str = "latest",
        outputs: str = "outputs",
        spread: bool = False,
        batch_size: int | str = 1,
        device: str | None = None,
        allowed_targets: str = "",
    ) -> None:
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise UserError(f"--batch_size {batch_size}: must be an integer >= 1. Use --batch_size 1.")
        # Gives each of several processes its own GPU; lmms-eval gathers with it.
        self.accelerator = Accelerator()
        # lmms-eval parses a folder name such as 2026 as a number.
        own = [name for name in allowed_targets.split(";") if name]
        run_dir, self.config, self.model = load_run(str(run), outputs=str(outputs), allowed_targets=own)
        check_understands(run_dir, self.model)
        if device is not None:
            self.model.place(device)
        self.spread = spread
        self.batch_size = int(batch_size)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answers to questions, in their order, with greedy decoding.

        Raises:
            UserError: if a question is not about one video, its video cannot be read, it is too long, or its task asks
                for another kind of decoding.
        """
        asked: list[VideoQuestion] = []
        limits: list[Limits] = []
        for request in requests:
            text, settings, doc_to_visual, doc_id, task, split = request.args
            asked.append(self._question(text, doc_to_visual, doc_id, task, split))
            limits.append(limits_of(settings, where=asked[-1].where))
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, limit in enumerate(limits):
            by_length[limit.max_new_tokens].append(number)
        answers = [""] * len(asked)
        bar = tqdm(total=len(asked), desc="answering", unit="question", disable=self.rank != 0)
        for tokens, numbers in by_length.items():
            for part in chunks(len(numbers), self.batch_size):
                rows = numbers[part]
                questions = [asked[row] for row in rows]
                frames, texts = self._frames(questions), [question.text for question in questions]
                lengths = [
                    len(self.model.mllm.chat.encode_prompt(text, num_video_tokens=self._video_tokens(int(planned))))
                    for text, planned in zip(texts, frames.mask.sum(1), strict=True)
                ]
                self._check_lengths(questions, lengths)
                replies = self.model.describe(frames, texts, max_new_tokens=tokens)
                for row, reply in zip(rows, replies, strict=True):
                    answers[row] = limits[row].truncate(reply)
                    self.cache_hook.add_partial("generate_until", requests[row].args[:2], answers[row])
                bar.update(len(rows))
        bar.close()
        return answers

    @torch.no_grad()
    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The loss of each given answer, and whether greedy decoding would give that answer.

        The loss is the negative log-likelihood of the answer and its end token. lmms-eval chooses the answer with the
        lowest value, although its base class documents a log-likelihood.

        Raises:
            UserError: as in `generate_until`.
        """
        results: list[tuple[float, bool]] = []
        for part in tqdm(chunks(len(requests), self.batch_size), desc="scoring", disable=self.rank != 0):
            asked, answers = [], []
            for request in requests[part]:
                text, answer, doc_to_visual, doc_id, task, split = request.args
                asked.append(self._question(text, doc_to_visual, doc_id, task, split))
                given = answer(self.task_dict[task][split][doc_id]) if callable(answer) else answer
                # The chat template adds the space before an answer.
                answers.append(str(given).strip())
            results += self._score(asked, answers)
        return results

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise UserError("vtok answers one question about a video. Choose tasks with a single round in --tasks.")

    def _question(self, text: str, doc_to_visual, doc_id: int, task: str, split: str) -> VideoQuestion:
        doc = self.task_dict[task][split][doc_id]
        return question_of(text, doc, doc_to_visual, where=f"{task} {doc_id}")

    def _frames(self, asked: Sequence[VideoQuestion]) -> PlannedFrames:
        planner = self.model.tokeniser.planner
        read = {
            video: read_clip(self.config, planner, video, start=0.0, spread=self.spread)[0]
            for video in dict.fromkeys(question.video for question in asked)
        }
        return stack_frames([read[question.video] for question in asked]).to(self.device)

    def _video_tokens(self, num_planned: int) -> int:
        return len(self.model.tokeniser.kinds(num_planned))

    def _check_lengths(self, asked: Sequence[VideoQuestion], lengths: Sequence[int]) -> None:
        most = self.model.mllm.context_length
        for question, length in zip(asked, lengths, strict=True):
            if length > most:
                raise UserError(
                    f"{question.where}: the question and the video make {length} tokens, more than the run's "
                    f"mllm.context_length={most}. Leave the task out, or use a run with a longer context."
                )

    def _score(self, asked: Sequence[VideoQuestion], answers: Sequence[str]) -> list[tuple[float, bool]]:
        mllm = self.model.mllm
        video = self.model.tokeniser.encode_planned(self._frames(asked))
        chats = [
            mllm.chat.encode([(question.text, answer)], num_video_tokens=int(mask.sum()))
            for question, answer, mask in zip(asked, answers, video.mask, strict=True)
        ]
        self._check_lengths(asked, [len(chat.ids) for chat in chats])
        text = stack_text(chats, pad_id=mllm.chat.pad_id).to(self.device)
        scores = self.model.text_scores(video, text)
        losses = -scores.logprobs.sum(1)
        check_finite(losses, what="the language model's log-probabilities of answers")
        greedy = (scores.likeliest | (text.targets == IGNORED)).all(1)
        return list(zip(losses.tolist(), greedy.tolist(), strict=True))
