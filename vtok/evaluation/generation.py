"""`generation`: do the videos that the model makes show what they ought to?

Three videos of every held-out clip, each judged against what is true of the clip: `reconstruct` is made of the clip's
own tokens without its caption (what the tokens hold and the decoder can show), `generate` of its caption alone, and
`control` of the caption of any clip (what a video gets right that has nothing to do with the clip). Beside them stand
the errors of the visual head: every token after the true ones before it, and after tokens of the head's own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vtok.common.finite import check_figures
from vtok.common.hashing import stable_hash
from vtok.common.setting_types import Count, NotNegative, Seed
from vtok.common.tables import table
from vtok.data import Clip, ClipSample
from vtok.evaluation.accuracy import Tally, accuracy_table, cluster_of, figures, join_findings, names_of
from vtok.evaluation.choice import chunks
from vtok.evaluation.clips import Loaded
from vtok.evaluation.control import Controls
from vtok.evaluation.judge import Judge, Verdict
from vtok.model.batch import stack_frames
from vtok.model.video_language_model import Imagined, Sampling, VideoLanguageModel
from vtok.tokeniser import MOTION, SPATIAL, VideoTokens

KINDS = ("reconstruct", "generate", "control")
PARTS = {"_spatial": SPATIAL, "_motion": MOTION}


@dataclass
class Mean:
    """A running mean."""

    total: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.total += float(values.double().sum())
        self.count += values.numel()

    def join(self, other: "Mean") -> None:
        self.total += other.total
        self.count += other.count

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass(frozen=True)
class Made:
    """One held-out clip and the videos made of it, for a contact sheet.

    Attributes:
        caption: of the clip.
        truth: uint8 (F, 3, H, W), the clip's own frames as a decoder is to make them.
        reconstructed: uint8 (F, 3, H, W).
        generated: uint8 (F, 3, H, W); None of a model that makes no tokens out of text.
        verdicts: on the generated video, or on the reconstructed one where there is no other.
    """

    caption: str
    truth: Tensor
    reconstructed: Tensor
    generated: Tensor | None
    verdicts: Mapping[str, Verdict]


@dataclass
class GenerationResult:
    """The result.

    Attributes:
        tallies: of right verdicts, by (kind of video, category).
        errors: squared errors of standardised tokens by name; 1 is as good as always saying the mean.
        examples: the first clips.
        clips: judged ones.
        bad: (path, reason) of broken clips.
    """

    tallies: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    errors: dict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))
    examples: list[Made] = field(default_factory=list)
    clips: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        clips: Sequence[Clip],
        verdicts: Sequence[Mapping[str, Verdict]],
        chances: Sequence[Mapping[str, float]] | None = None,
    ) -> None:
        """Count verdicts; `chances` by category, where they are others than those of guessing."""
        for row, (clip, verdict) in enumerate(zip(clips, verdicts, strict=True)):
            for category, one in verdict.items():
                chance = one.chance if chances is None else chances[row][category]
                for name in names_of(category, clip):
                    self.tallies[kind, name].add(
                        one.right, chance, clip=cluster_of(clip), truth=one.truth, choices=one.choices
                    )

    @classmethod
    def joined(cls, parts: Sequence["GenerationResult"], *, examples: int) -> "GenerationResult":
        """The result on all clips, of those of processes that took every n-th of them."""
        whole = cls()
        join_findings(whole, parts, examples=examples)
        for part in parts:
            for name, mean in part.errors.items():
                whole.errors[name].join(mean)
        return whole

    def metrics(self) -> dict[str, float]:
        """Flat figures: `generate/colour`, `visual/rollout` and the like.

        What stands beside each share is told by `vtok.evaluation.accuracy.figures`.
        """
        errors = {name: error.value for name, error in self.errors.items()}
        numbers = {"generation/clips": float(self.clips), **figures(self._named()), **errors}
        check_figures(numbers)
        return numbers

    def table(self) -> str:
        """The figures for a person."""
        shown, errors = accuracy_table(self._named()), [(name, f"{one.value:.3f}") for name, one in self.errors.items()]
        if errors:
            shown += f"\n{table([('', 'error'), *errors])}\nerror: 1 is as good as always saying the mean."
        return shown

    def _named(self) -> dict[str, Tally]:
        order = sorted(self.tallies, key=lambda name: (KINDS.index(name[0]), "/" in name[1], name[1]))
        return {f"{kind}/{category}": self.tallies[kind, category] for kind, category in order}


@dataclass(frozen=True)
class Generation:
    """Settings of the evaluation, and the evaluation: call it.

    Args:
        judge: evaluator that says what a generated video shows.
        max_clips: largest number of held-out clips, of those that can be judged; null: all.
        clips_while_training: number of clips in the evaluations during training.
        batch_size: clips in a batch.
        steps: sampling steps of the decoder, from noise to video.
        guidance: scale of the decoder's classifier-free guidance; 1: no guidance.
        temperature: sampling temperature of the visual head; 0: the likeliest tokens.
        seed: random seed of the noise.
    """

    judge: Judge
    max_clips: Count | None = 200
    clips_while_training: Count = 32
    batch_size: Count = 32
    steps: Count = 20
    guidance: NotNegative = 1.0
    temperature: NotNegative = 1.0
    seed: Seed = 0

    def while_training(self) -> "Generation":
        """The same for fewer clips: a look in between."""
        return replace(self, max_clips=self.clips_while_training)

    def takes(self, clip: Clip, *, judged: bool = True) -> bool:
        """Whether a clip is evaluated: it has a caption and, where videos are `judged`, something to judge."""
        return bool(clip.caption) and (not judged or self.judge.judges(clip))

    @torch.no_grad()
    def __call__(
        self,
        model: VideoLanguageModel,
        batches: Iterable[Loaded],
        *,
        num_frames: int,
        everyone: Sequence[Clip],
        examples: int = 0,
        progress: bool = True,
    ) -> GenerationResult:
        """Make and judge the videos of all clips of `batches` that this evaluation takes.

        Args:
            model: a model that makes videos, or video tokens alone, of which then the errors are found; it is left in
                eval mode.
            batches: the clips, with the frames that the decoder is to make.
            num_frames: frames of the clips that are made.
            everyone: all clips that are evaluated, those of other processes too: controls are made of their captions.
            examples: of so many clips the videos are kept.
            progress: show bars.

        Raises:
            UserError: the judge's own, or the model makes what is no number.
        """
        model.eval()
        result = GenerationResult()
        bar = partial(tqdm, unit="batch", leave=False, disable=None if progress else True)
        clips: list[Clip] = []
        for loaded in bar(batches, desc="making videos"):
            result.bad += loaded.bad
            samples = [sample for sample in loaded.samples if self.takes(sample.clip, judged=model.decodes)]
            if samples:
                self._follow(model, samples, result, num_frames=num_frames, examples=examples)
                clips += [sample.clip for sample in samples]
        result.clips = len(clips)
        if model.predicts_tokens and model.decodes:
            controls = Controls(everyone, self.judge.truths)
            others = [controls.caption(clip) for clip in clips]
            for part in bar(list(chunks(len(clips), self.batch_size)), desc="making controls"):
                made = self._imagine(model, clips[part], others[part], num_frames)
                videos = model.decode(
                    made, captions=others[part], seeds=self._seeds(clips[part]), sampling=self._sampling
                )
                verdicts = self.judge(model, videos, clips[part], num_frames=num_frames)
                chances = [controls.chances(*one) for one in zip(clips[part], verdicts, strict=True)]
                result.add("control", clips[part], verdicts, chances)
        return result

    def _follow(
        self,
        model: VideoLanguageModel,
        samples: Sequence[ClipSample],
        result: GenerationResult,
        *,
        num_frames: int,
        examples: int,
    ) -> None:
        """Reconstruct and generate clips into `result`."""
        clips = [sample.clip for sample in samples]
        planned = stack_frames(samples).to(next(model.parameters()).device)
        captions, seeds = captions_of(clips), self._seeds(clips)
        reconstructed = generated = imagined = None
        verdicts: list[dict[str, Verdict]] = [{} for _ in clips]
        if model.decodes:
            reconstructed = model.reconstruct(planned, seeds=seeds, sampling=self._sampling)
            verdicts = self.judge(model, reconstructed, clips, num_frames=num_frames)
            result.add("reconstruct", clips, verdicts)
        if model.predicts_tokens:
            imagined = self._imagine(model, clips, captions, num_frames)
            self._errors(model, model.tokeniser.encode_planned(planned), clips, imagined.tokens, result)
        if model.decodes and imagined is not None:
            generated = model.decode(imagined, captions=captions, seeds=seeds, sampling=self._sampling)
            verdicts = self.judge(model, generated, clips, num_frames=num_frames)
            result.add("generate", clips, verdicts)
        if reconstructed is not None:
            for row in range(min(len(clips), examples - len(result.examples))):
                made, truth = None if generated is None else generated[row].cpu(), samples[row].target
                if truth is not None:
                    result.examples.append(Made(captions[row], truth, reconstructed[row].cpu(), made, verdicts[row]))

    def _imagine(
        self, model: VideoLanguageModel, clips: Sequence[Clip], captions: Sequence[str], num_frames: int
    ) -> Imagined:
        """Tokens of captions, with the noise of clips."""
        return model.imagine(
            captions,
            num_planned=len(model.tokeniser.plan(num_frames).indices),
            seeds=self._seeds(clips),
            temperature=self.temperature,
        )

    def _errors(
        self,
        model: VideoLanguageModel,
        video: VideoTokens,
        clips: Sequence[Clip],
        tokens: Tensor,
        result: GenerationResult,
    ) -> None:
        """Squared errors of expected and of imagined `tokens` (B, L, d) against the true ones, a token at a time.

        Expected tokens are means, imagined ones are drawn: drawn from the truth itself they would have twice the error.
        """
        head: Any = model.visual_head
        captions, kind = captions_of(clips), video.kind.expand(len(clips), -1)[video.mask]
        states = model.visual_states(video, model.caption_text(captions, video))
        # A clip may be shorter than those that are made.
        imagined = head.scale.standardise(tokens[:, : len(video.kind)], video.kind)[video.mask]
        truth = head.scale.standardise(video.tokens, video.kind)[video.mask]
        for name, guess in (("teacher_forced", head.mean(states.before[video.mask])), ("rollout", imagined)):
            errors = (guess - truth).square().mean(-1)
            result.errors[f"visual/{name}"].add(errors)
            for part, number in PARTS.items():
                if (kind == number).any():
                    result.errors[f"visual/{name}{part}"].add(errors[kind == number])

    def _seeds(self, clips: Sequence[Clip]) -> list[int]:
        return [stable_hash("generate", self.seed, clip.id) for clip in clips]

    @property
    def _sampling(self) -> Sampling:
        return Sampling(steps=self.steps, guidance=self.guidance, temperature=self.temperature)


def captions_of(clips: Sequence[Clip]) -> list[str]:
    return [clip.caption or "" for clip in clips]
