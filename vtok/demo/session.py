"""What the page of vtok demo does with a run; nothing here needs gradio."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock

import torch
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.style import LIGHT
from vtok.data import Clip, ClipSample, DataSource, Question
from vtok.data.plan import TargetPlan
from vtok.data.video.write import write_video
from vtok.evaluation.answers import best_choice
from vtok.evaluation.choice import Chooser
from vtok.evaluation.token_picture import draw_tokens
from vtok.hub.files import is_exported
from vtok.inference.answer import check_text
from vtok.inference.clip import duration, read_clip
from vtok.inference.explain import write_explanation
from vtok.inference.load import load_run
from vtok.inference.picture import picture_of
from vtok.inference.video_outputs import pixel_scale, sampling_of
from vtok.mllm.text_length import LengthCheck
from vtok.model import VideoLanguageModel
from vtok.model.batch import stack_frames
from vtok.model.build import build
from vtok.tokeniser import PlannedFrames, VideoTokens

MAX_NEW_TOKENS = 64
# Frames and side in pixels of the clip that is shown, and side of a frame in the picture of its tokens.
SHOWN, FRAME_SIZE = (64, 256), 140
# More choices make the page slow; a question of a benchmark has 4.
MOST_CHOICES = 20
SEQUENCES_AT_ONCE = 16


@dataclass(frozen=True)
class DemoAnswer:
    """An answer to a question.

    Attributes:
        question: the question.
        text: the answer: the most likely choice if there are choices.
        likelihoods: for each choice the geometric mean of the probabilities of its tokens; empty without choices.
    """

    question: str
    text: str
    likelihoods: dict[str, float]


class DemoRun:
    """A loaded run, and what can be done with it. The model serves one request at a time.

    Args:
        run_dir: folder of the run.
        config: configuration of the run.
        model: model of the run, in evaluation mode.
        folder: folder to which pictures and videos are written.
        lock: held while a model is used; runs on one device share it.
    """

    def __init__(
        self, run_dir: Path, config: DictConfig, model: VideoLanguageModel, *, folder: Path, lock: Lock
    ) -> None:
        self.run_dir, self.config, self.model = run_dir, config, model
        self.folder, self.lock = folder, lock
        self.source: DataSource = build(config.data)
        self.understands = model.objective.understands
        self.reconstructs = model.decodes
        self.generates = model.decodes and model.predicts_tokens

    @classmethod
    def load(cls, run: str, *, outputs: str, allowed_targets: Sequence[str], folder: Path, lock: Lock) -> "DemoRun":
        """Load a run; see `load_run`.

        Raises:
            UserError: see `load_run`.
        """
        run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
        return cls(run_dir, config, model, folder=folder, lock=lock)

    @property
    def name(self) -> str:
        """The run's folder and tokeniser, as a heading."""
        return f"{self.run_dir.resolve().name} · {type(self.model.tokeniser).__name__}"

    def test_clips(self) -> Sequence[Clip]:
        """The test clips of the run's data; none for an exported folder, which names no clips.

        Raises:
            UserError: the data cannot be found.
        """
        if is_exported(self.run_dir):
            return []
        self.source.prepare()
        return self.source.clips("test")

    def check_reads(self, clips: Sequence[Clip]) -> None:
        """Raise UserError if clips of another run's data cannot be read by this run."""
        for clip in {clip.source: clip for clip in clips}.values():
            try:
                self.source.source_of(clip)
            except KeyError as error:
                raise UserError(
                    f"runs={self.run_dir}: its data has no source {clip.source}. Use runs of the same data."
                ) from error

    def show_clip(self, video: str | Clip) -> Path:
        """An mp4 of the clip as it is read: the run's number of frames from the start.

        Raises:
            UserError: the video cannot be read.
        """
        _, seconds = read_clip(self.config, self.model.tokeniser.planner, video)
        number, size = SHOWN
        # More frames than a short video has would be repeated.
        plan = TargetPlan(num_frames=min(number, len(seconds)), size=size)
        shown = read_clip(self.config, self.model.tokeniser.planner, video, target=plan)[0].target
        assert shown is not None
        path = self._new_file("clip", ".mp4")
        write_video(path, shown, fps=len(shown) / (duration(seconds) or 1.0))
        return path

    def draw_clip(self, video: str | Clip) -> Path:
        """A picture of where the tokens of a clip come from.

        Raises:
            UserError: the video cannot be read or drawn.
        """
        with self.lock:
            tokeniser = self.model.tokeniser
            sample, times = read_clip(self.config, tokeniser.planner, video)
            picture = picture_of(self.config, tokeniser, video, sample, times, frame_size=FRAME_SIZE)
        path = self._new_file("tokens", ".png")
        draw_tokens(picture, path, theme=LIGHT)
        return path

    @torch.no_grad()
    def answer(self, video: str | Clip, question: str, choices: Sequence[str] = ()) -> DemoAnswer:
        """The answer to a question: the most likely choice, or without choices the greedy answer.

        Raises:
            UserError: the video cannot be read, a text is not valid, or the texts are too long.
        """
        check_text("question", question)
        choices = list(dict.fromkeys(choice.strip() for choice in choices if choice.strip()))
        if len(choices) == 1 or len(choices) > MOST_CHOICES:
            raise UserError(
                f"choices: there are {len(choices)}. Use 2 to {MOST_CHOICES} different choices, one on each line, "
                "or leave the field empty."
            )
        with self.lock:
            tokens = self._tokens(video)
            for choice in choices or [""]:
                check_text("choices", choice)
                self._check_length(question, choice, tokens)
            if not choices:
                (text,) = self.model.answer(tokens, [question], max_new_tokens=MAX_NEW_TOKENS)
                return DemoAnswer(question, text, {})
            asked = Question("own", "choice", question, "", tuple(choices))
            scores = Chooser(self.model, SEQUENCES_AT_ONCE, scores=("token",))(tokens, [(0, asked)])[0]["token"]
        likelihoods = {choice: math.exp(score) for choice, score in zip(choices, scores, strict=True)}
        return DemoAnswer(question, best_choice(choices, scores), likelihoods)

    def explain(self, video: str | Clip, answer: DemoAnswer) -> Path:
        """A picture of which tokens an answer used.

        Raises:
            UserError: the video cannot be read or drawn, or the texts are too long.
        """
        path = self._new_file("explained", ".png")
        with self.lock:
            write_explanation(
                self.config, self.model, video, prompt=answer.question, answer=answer.text, path=path, theme=LIGHT
            )
        return path

    def generate(self, prompt: str) -> Path:
        """An mp4 generated from a sentence.

        Raises:
            UserError: the text is not valid, or too long.
        """
        check_text("sentence", prompt)
        clip, sampling = self.source.clip, sampling_of(self.config, steps=None, guidance=None, temperature=None)
        with self.lock:
            planned = len(self.model.tokeniser.plan(clip.num_frames).indices)
            (video,) = self.model.generate([prompt], num_planned=planned, seeds=[0], sampling=sampling).cpu()
        return self._write("generated", video, clip.num_frames / self.source.rate)

    def reconstruct(self, video: str | Clip) -> Path:
        """An mp4 decoded from the tokens of a clip.

        Raises:
            UserError: the video cannot be read.
        """
        sampling = sampling_of(self.config, steps=None, guidance=None, temperature=None)
        with self.lock:
            sample, seconds = read_clip(self.config, self.model.tokeniser.planner, video)
            (decoded,) = self.model.reconstruct(self._stacked(sample), seeds=[0], sampling=sampling).cpu()
        return self._write("reconstructed", decoded, duration(seconds) or 1.0)

    def _write(self, name: str, video: torch.Tensor, seconds: float) -> Path:
        path = self._new_file(name, ".mp4")
        write_video(path, video, fps=len(video) / seconds, scale=pixel_scale(self.model.decoder, None))
        return path

    def _stacked(self, sample: ClipSample) -> PlannedFrames:
        return stack_frames([sample]).to(next(self.model.parameters()).device)

    def _tokens(self, video: str | Clip) -> VideoTokens:
        sample, _ = read_clip(self.config, self.model.tokeniser.planner, video)
        return self.model.tokeniser.encode_planned(self._stacked(sample))

    def _check_length(self, question: str, answer: str, tokens: VideoTokens) -> None:
        mllm, number = self.model.mllm, int(tokens.mask.sum())
        chat = mllm.chat.encode([(question, answer)], num_video_tokens=number)
        if reason := LengthCheck(mllm.chat, mllm.context_length).too_long(chat, num_video_tokens=number):
            raise UserError(f"question: {reason}.")

    def _new_file(self, name: str, suffix: str) -> Path:
        return Path(mkdtemp(dir=self.folder)) / f"{name}{suffix}"
