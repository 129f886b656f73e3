"""The model `vtok` of lmms-eval: a run, or what was exported of one, answers about videos."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from vtok.common.errors import UserError
from vtok.common.finite import check_finite
from vtok.inference.answer import check_understands
from vtok.inference.clip import read_clip
from vtok.inference.load import load_run
from vtok.lmms.question import Limits, Question, chunks, limits_of, question_of
from vtok.mllm import IGNORED
from vtok.model.batch import stack_frames, stack_text
from vtok.tokeniser import PlannedFrames


class VTokModel(lmms):
    """A run's model behind the interface of lmms-eval (`lmms_eval.api.model.lmms`, its "simple" kind).

    A question is about one video file, whose frames are those that the run's own plan takes: by default of the clip
    with which the video begins, as `vtok describe` sees it.

    Args:
        run: a run folder, a checkpoint of one, or an exported folder; see `vtok.cli.dispatch`.
        outputs: where runs are looked for, for run=latest.
        whole: spread the clip's frames evenly over the whole video, however long it is.
        batch_size: questions answered at once.
        device: where the model is put; None takes the GPU where there is one.
        allowed_targets: packages of one's own whose components are built, with a ; between them.

    Raises:
        UserError: there is no such run, it did not learn to answer, or the batch size is none.
    """

    is_simple = True

    def __init__(
        self,
        *,
        run: str = "latest",
        outputs: str = "outputs",
        whole: bool = False,
        batch_size: int | str = 1,
        device: str | None = None,
        allowed_targets: str = "",
    ) -> None:
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise UserError(f"--batch_size {batch_size}: allowed are whole numbers from 1 on.")
        # Of several processes each has its own GPU from here on; lmms-eval gathers by it.
        self.accelerator = Accelerator()
        # lmms-eval reads a folder such as 2026 as a number.
        own = [name for name in allowed_targets.split(";") if name]
        run_dir, self.config, self.model = load_run(str(run), outputs=str(outputs), allowed_targets=own)
        check_understands(run_dir, self.model)
        if device is not None:
            self.model.place(device)
        self.whole = whole
        self.batch_size = int(batch_size)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answers to questions, in their order, written greedily.

        Raises:
            UserError: a question is not about one video, its video cannot be read, it is too long, or it wants to be
                answered in another way.
        """
        asked: list[Question] = []
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
            for rows in chunks(numbers, self.batch_size):
                questions = [asked[row] for row in rows]
                frames, texts = self._frames(questions), [question.text for question in questions]
                lengths = [
                    len(self.model.mllm.chat.encode_prompt(text, num_video_tokens=self._video_tokens(int(planned))))
                    for text, planned in zip(texts, frames.mask.sum(1), strict=True)
                ]
                self._check_lengths(questions, lengths)
                told = self.model.describe(frames, texts, max_new_tokens=tokens)
                for row, answer in zip(rows, told, strict=True):
                    answers[row] = limits[row].cut(answer)
                    self.cache_hook.add_partial("generate_until", requests[row].args[:2], answers[row])
                bar.update(len(rows))
        bar.close()
        return answers

    @torch.no_grad()
    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(loss, greedy) of answers that are given.

        The loss is minus the log-probability of the answer and its end token: lmms-eval takes the choice with the least
        of what it is given, whatever its base class says. Greedy: whether each token is the likeliest.

        Raises:
            UserError: see `generate_until`.
        """
        results: list[tuple[float, bool]] = []
        for rows in tqdm(chunks(range(len(requests)), self.batch_size), desc="scoring", disable=self.rank != 0):
            asked, answers = [], []
            for row in rows:
                text, answer, doc_to_visual, doc_id, task, split = requests[row].args
                asked.append(self._question(text, doc_to_visual, doc_id, task, split))
                given = answer(self.task_dict[task][split][doc_id]) if callable(answer) else answer
                # A template puts its own space before an answer.
                answers.append(str(given).strip())
            results += self._score(asked, answers)
        return results

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise UserError("vtok answers one question about a video; choose tasks of a single round with --tasks.")

    def _question(self, text: str, doc_to_visual, doc_id: int, task: str, split: str) -> Question:
        doc = self.task_dict[task][split][doc_id]
        return question_of(text, doc, doc_to_visual, where=f"{task} {doc_id}")

    def _frames(self, asked: Sequence[Question]) -> PlannedFrames:
        planner = self.model.tokeniser.planner
        read = {
            video: read_clip(self.config, planner, video, start=0.0, whole=self.whole)[0]
            for video in dict.fromkeys(question.video for question in asked)
        }
        return stack_frames([read[question.video] for question in asked]).to(self.device)

    def _video_tokens(self, num_planned: int) -> int:
        return len(self.model.tokeniser.kinds(num_planned))

    def _check_lengths(self, asked: Sequence[Question], lengths: Sequence[int]) -> None:
        most = self.model.mllm.context_length
        for question, length in zip(asked, lengths, strict=True):
            if length > most:
                raise UserError(
                    f"{question.where}: the question and the video's tokens make {length} tokens, more than the run's "
                    f"mllm.context_length={most}; leave the task out, or take a run with a longer context."
                )

    def _score(self, asked: Sequence[Question], answers: Sequence[str]) -> list[tuple[float, bool]]:
        mllm = self.model.mllm
        video = self.model.tokeniser.encode_planned(self._frames(asked))
        chats = [
            mllm.chat.encode([(question.text, answer)], num_video_tokens=int(mask.sum()))
            for question, answer, mask in zip(asked, answers, video.mask, strict=True)
        ]
        self._check_lengths(asked, [len(chat.ids) for chat in chats])
        text = stack_text(chats, pad_id=mllm.chat.pad_id).to(self.device)
        hidden = mllm.hidden_states(mllm.embed(text.ids, self.model.projector(video.tokens), video.mask), text.mask)
        losses = -mllm.answer_logprobs(hidden, text.labels).sum(1)
        check_finite(losses, what="the language model's log-probabilities of answers")
        wanted = text.labels[:, 1:] != IGNORED
        likeliest = torch.zeros_like(wanted)
        likeliest[wanted] = mllm.logits(hidden[:, :-1][wanted]).argmax(-1) == text.labels[:, 1:][wanted]
        greedy = (likeliest | ~wanted).all(1)
        return list(zip(losses.tolist(), greedy.tolist(), strict=True))
