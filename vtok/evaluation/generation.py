"""`generation`: do the generated videos show what they should?

Three videos are generated for every held-out clip, and each is compared with what is true of the clip:

- `reconstruct`: from the clip's tokens, without its caption. It shows what the tokens hold and the decoder can draw.
- `generate`: from the clip's caption only; `unseen`, if the clip's combination of attributes was kept out of training.
- `control`: from the caption of a random clip. It shows how much is right by coincidence.

The errors of the visual head are measured too: of every token predicted from the true tokens before it (teacher
forcing), and of tokens generated from the caption (rollout).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vtok.common.chunks import chunks
from vtok.common.hashing import stable_hash
from vtok.common.setting_types import Count, NotNegative, Seed
from vtok.data import Clip, ClipSample
from vtok.evaluation.clips import HeldoutBatch
from vtok.evaluation.control import Controls
from vtok.evaluation.generation_result import GeneratedClip, GenerationResult
from vtok.evaluation.judge import Judge, Verdict
from vtok.model.batch import stack_frames
from vtok.model.video_language_model import VideoLanguageModel
from vtok.model.visual_states import GeneratedTokens, Sampling
from vtok.tokeniser import MOTION, SPATIAL, VideoTokens

PARTS = {"_spatial": SPATIAL, "_motion": MOTION}


@dataclass(frozen=True)
class Generation:
    """The evaluation of generated videos; an instance is called with a model and clips.

    Args:
        judge: evaluator that says what a generated video shows.
        max_clips: largest number of held-out clips, of those that the judge can evaluate; null: all.
        clips_while_training: number of clips in the evaluations during training.
        batch_size: number of clips in a batch.
        steps: sampling steps of the decoder, from noise to video.
        guidance: scale of the decoder's classifier-free guidance; 1: no guidance.
        temperature: sampling temperature of the visual head; 0: the most likely tokens.
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
        """The evaluation during training, on fewer clips."""
        return replace(self, max_clips=self.clips_while_training)

    def evaluates(self, clip: Clip, *, judged: bool = True) -> bool:
        """Whether a clip is evaluated: it needs a caption and, if videos are `judged`, a category for the judge."""
        return bool(clip.caption) and (not judged or self.judge.can_judge(clip))

    @torch.no_grad()
    def __call__(
        self,
        model: VideoLanguageModel,
        batches: Iterable[HeldoutBatch],
        *,
        num_frames: int,
        all_clips: Sequence[Clip],
        examples: int = 0,
        progress: bool = True,
    ) -> GenerationResult:
        """Generate and judge the videos of the clips in `batches` for which `evaluates` is true.

        Args:
            model: a model that generates videos, or only video tokens, whose errors are then measured; it is left in
                eval mode.
            batches: the clips, with the decoder's target frames.
            num_frames: number of frames of a generated clip.
            all_clips: all evaluated clips, also those of other processes; controls are drawn from their captions.
            examples: number of clips whose videos are saved.
            progress: show progress bars.

        Raises:
            UserError: the judge cannot be used, or the model's output is not finite.
        """
        model.eval()
        result = GenerationResult()
        bar = partial(tqdm, unit="batch", leave=False, disable=None if progress else True)
        clips: list[Clip] = []
        intervals: list[float] = []
        for batch in bar(batches, desc="generating videos"):
            result.bad += batch.bad
            samples = [sample for sample in batch.samples if self.evaluates(sample.clip, judged=model.decodes)]
            if samples:
                self._evaluate_batch(model, samples, result, num_frames=num_frames, examples=examples)
                clips += [sample.clip for sample in samples]
                intervals += [sample.interval for sample in samples]
        result.clips = len(clips)
        if model.predicts_tokens and model.decodes:
            controls = Controls(all_clips, self.judge.truths)
            others = [controls.caption(clip) for clip in clips]
            for part in bar(chunks(len(clips), self.batch_size), desc="generating controls"):
                made = self._generate_tokens(model, clips[part], others[part], num_frames)
                videos = model.decode(
                    made, captions=others[part], seeds=self._seeds(clips[part]), sampling=self._sampling
                )
                verdicts = self.judge(model, videos, clips[part], num_frames=num_frames, intervals=intervals[part])
                chances = [controls.chances(*one) for one in zip(clips[part], verdicts, strict=True)]
                result.add("control", clips[part], verdicts, captions=others[part], chances=chances)
        return result

    def _evaluate_batch(
        self,
        model: VideoLanguageModel,
        samples: Sequence[ClipSample],
        result: GenerationResult,
        *,
        num_frames: int,
        examples: int,
    ) -> None:
        """Reconstruct, generate and judge the videos of a batch, and add them to `result`."""
        clips, intervals = [sample.clip for sample in samples], [sample.interval for sample in samples]
        planned = stack_frames(samples).to(next(model.parameters()).device)
        captions, seeds = captions_of(clips), self._seeds(clips)
        reconstructed = generated = imagined = None
        verdicts: list[dict[str, Verdict]] = [{} for _ in clips]
        if model.decodes:
            reconstructed = model.reconstruct(planned, seeds=seeds, sampling=self._sampling)
            verdicts = self.judge(model, reconstructed, clips, num_frames=num_frames, intervals=intervals)
            result.add("reconstruct", clips, verdicts, captions=[""] * len(clips))
        if model.predicts_tokens:
            imagined = self._generate_tokens(model, clips, captions, num_frames)
            self._errors(model, model.tokeniser.encode_planned(planned), clips, imagined.tokens, result)
        if model.decodes and imagined is not None:
            generated = model.decode(imagined, captions=captions, seeds=seeds, sampling=self._sampling)
            verdicts = self.judge(model, generated, clips, num_frames=num_frames, intervals=intervals)
            result.add("generate", clips, verdicts, captions=captions)
        if reconstructed is not None:
            for row in range(min(len(clips), examples - len(result.examples))):
                made, truth = None if generated is None else generated[row].cpu(), samples[row].target
                if truth is not None:
                    result.examples.append(
                        GeneratedClip(captions[row], truth, reconstructed[row].cpu(), made, verdicts[row])
                    )

    def _generate_tokens(
        self, model: VideoLanguageModel, clips: Sequence[Clip], captions: Sequence[str], num_frames: int
    ) -> GeneratedTokens:
        """Generate tokens from captions, with the noise of the clips."""
        return model.generate_tokens(
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
        """Add the squared errors of the head's expected tokens and of generated `tokens` (B, L, d).

        Expected tokens are means, and generated ones are samples. Samples of a perfect head have twice the error.
        """
        head: Any = model.visual_head
        captions, kind = captions_of(clips), video.kind.expand(len(clips), -1)[video.mask]
        states = model.visual_states(video, model.caption_text(captions, video))
        # A clip may be shorter than the generated ones.
        imagined = model.target_scale.standardise(tokens[:, : len(video.kind)], video.kind)[video.mask]
        truth = model.target_scale.standardise(video.tokens, video.kind)[video.mask]
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
