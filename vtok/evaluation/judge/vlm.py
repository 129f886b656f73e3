"""Another model as the judge: any image-text-to-text model of transformers."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from vtok.common.errors import UserError
from vtok.common.pretrained import Place, dtype_of, load, refuse_missing
from vtok.common.setting_types import Count, Dtype
from vtok.data import Clip, Question
from vtok.evaluation.choice import mention
from vtok.evaluation.judge.base import Judge, Verdict
from vtok.evaluation.judge.own import choice_questions
from vtok.model import VideoLanguageModel

WEIGHTS = "llava-hf/llava-interleave-qwen-7b-hf"
PROMPT = "These are the frames of one video, in order. {question} Answer with one of these: {choices}."
WAY_OUT = "Set generation.judge.weights=PATH to a local folder of one, or choose another generation/judge."
KIND = "image-text-to-text model"


class VlmJudge(Judge):
    """Sees the choice in a vision-language model's greedy answer to each choice question.

    Args:
        weights: hub id or local folder of an image-text-to-text model with its processor; loaded when first used. A
            hub id is looked up in the local cache first.
        revision: branch, tag or commit on the hub.
        dtype: number format of the weights.
        prompt: prompt about the frames, with the placeholders {question} and {choices}.
        max_new_tokens: length limit of an answer in tokens.

    Raises:
        UserError: `dtype` is unknown, or `prompt` lacks a placeholder; when first used: the model cannot be loaded.
    """

    def __init__(
        self,
        *,
        weights: str = WEIGHTS,
        revision: str | None = None,
        dtype: Dtype = "bfloat16",
        prompt: str = PROMPT,
        max_new_tokens: Count = 16,
    ) -> None:
        for place in ("{question}", "{choices}"):
            if place not in prompt:
                raise UserError(
                    f"generation.judge.prompt={prompt}: {place} is missing. Add {{question}} and {{choices}}."
                )
        self.weights, self.revision, self.dtype = weights, revision, dtype_of(dtype, key="generation.judge.dtype")
        self.prompt, self.max_new_tokens = prompt, max_new_tokens

    def prepare(self) -> None:
        _ = self._loaded

    def release(self) -> None:
        if "_loaded" in self.__dict__:
            self._loaded[1].to("cpu")

    def truths(self, clip: Clip) -> dict[str, str]:
        return {category: question.answer for category, question in choice_questions(clip).items()}

    @torch.no_grad()
    def __call__(
        self,
        model: VideoLanguageModel,
        videos: Tensor,
        clips: Sequence[Clip],
        *,
        num_frames: int,
        intervals: Sequence[float],
    ) -> list[dict[str, Verdict]]:
        device = next(model.parameters()).device
        verdicts = []
        for video, clip in zip(videos.cpu(), clips, strict=True):
            images = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in video]
            own: dict[str, Verdict] = {}
            for category, question in choice_questions(clip).items():
                answer = self._answer(images, question, device)
                own[category] = Verdict(first_choice_in(answer, question.choices), question.answer, question.choices)
            verdicts.append(own)
        return verdicts

    def _answer(self, images: Sequence[Image.Image], question: Question, device: torch.device) -> str:
        prompt = self.prompt.replace("{choices}", ", ".join(question.choices)).replace("{question}", question.text)
        processor, vlm = self._loaded
        content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": prompt}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(device, self.dtype)
        ids = vlm.to(device).generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The processor and the model.

        Raises:
            UserError: they cannot be loaded, or the processor takes no images or has no chat template.
        """
        processor, vlm = load(
            self.weights,
            partial(pretrained, dtype=self.dtype),
            key="generation.judge.weights",
            kind=f"{KIND} with its processor",
            way_out=WAY_OUT,
            revision=self.revision,
        )
        if not hasattr(processor, "image_processor") or not processor.chat_template:
            raise UserError(
                f"generation.judge.weights={self.weights}: its processor takes no images or has no chat template. "
                f"{WAY_OUT}"
            )
        # The model's own settings may have a repetition penalty or a temperature. Only its special tokens are used.
        own = vlm.generation_config
        vlm.generation_config = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
        )
        return processor, vlm.eval()


def first_choice_in(answer: str, choices: Sequence[str]) -> str | None:
    """The choice that the answer names first; the longest one if several begin there; None if it names none."""
    places = {choice: mention(answer.lower(), choice.lower()) for choice in choices}
    found = [(place.start(), -len(choice), choice) for choice, place in places.items() if place]
    return min(found)[2] if found else None


def pretrained(place: Place, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load the processor and the model with transformers."""
    # Without trust_remote_code=False, transformers asks in a terminal whether to run the code of a model.
    where: dict[str, Any] = {
        "revision": place.revision,
        "local_files_only": place.offline,
        "trust_remote_code": False,
    }
    processor = AutoProcessor.from_pretrained(place.name, **where)
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        place.name, dtype=dtype, output_loading_info=True, **where
    )
    vlm, report = loaded
    refuse_missing(report["missing_keys"], KIND)
    return processor, vlm
