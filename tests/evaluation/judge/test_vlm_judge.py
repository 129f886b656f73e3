"""A vision-language model as a judge: its prompt, and its answers compared with those of transformers' own model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoTokenizer, LlavaForConditionalGeneration
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from vtok.data import Clip, Question
from vtok.evaluation.judge import VlmJudge
from vtok.evaluation.judge.vlm import PROMPT, first_choice_in

CHOICES = ("red", "green", "blue", "left", "right", "up", "down")
COLOUR = Question("colour", "choice", "what colour is it", "red", CHOICES)
MOVES = Question("motion_direction", "choice", "which way is it", "up", CHOICES[::-1])
YES_NO = Question("colour", "yes_no", "is it red", "yes", ("yes", "no"))


def clip(*questions: Question) -> Clip:
    return Clip(id="a", path=Path("none"), caption="a dog", questions=questions)


def noise(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (number, 3, 3, 16, 16), dtype=torch.uint8, generator=generator)


def ask(judge: VlmJudge, videos: Tensor, *clips: Clip) -> list[dict[str, Any]]:
    return judge(nn.Linear(1, 1), videos, clips, num_frames=30, intervals=[0.1] * len(clips))  # type: ignore[arg-type]


@torch.no_grad()
def greedy(folder: Path, video: Tensor, text: str, *, tokens: int) -> str:
    """The most likely words after the frames and a text, each by a forward pass over everything before it."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # 4 patches an image, scaled as CLIP's are.
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    pixels = (video.float() / 255 - mean) / std
    ids = tokenizer("<image>" * 4 * len(video) + text + " answer", return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    for _ in range(tokens):
        following = model(input_ids=ids, pixel_values=pixels, use_cache=False).logits[0, -1].argmax()
        if following == tokenizer.eos_token_id:
            break
        ids = torch.cat([ids, following.view(1, 1)], dim=1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


def test_the_model_is_moved_off_the_device_after_an_evaluation() -> None:
    """Training continues on the device after an evaluation."""
    moved = []

    class Model:
        def to(self, device: str) -> None:
            moved.append(device)

    judge = VlmJudge()
    judge.release()  # not loaded yet: nothing to move
    judge.__dict__["_loaded"] = (None, Model())
    judge.release()
    assert moved == ["cpu"]


def test_it_answers_each_choice_question_about_the_frames(vlm_folder: Path) -> None:
    judge = VlmJudge(weights=str(vlm_folder), dtype="float32", prompt="{question} {choices}", max_new_tokens=4)
    videos = noise(8)
    verdicts = ask(judge, videos, *[clip(COLOUR, YES_NO, MOVES)] * 8)
    seen = set()
    for video, own in zip(videos, verdicts, strict=True):
        assert own.keys() == {"colour", "motion_direction"}
        for category, question in (("colour", COLOUR), ("motion_direction", MOVES)):
            text = f"{question.text} {', '.join(question.choices)}"
            answer = greedy(vlm_folder, video, text, tokens=4)
            words = [word for word in answer.split() if word in CHOICES]
            verdict = own[category]
            assert verdict.seen == (words[0] if words else None), answer
            assert (verdict.truth, verdict.choices) == (question.answer, question.choices)
            seen.add(verdict.seen)
    assert len(seen) > 2, "the same answer everywhere would be no test"
    assert len(ask(judge, videos[:2], clip(COLOUR), clip(MOVES, YES_NO))[1]) == 1


def test_the_prompt_holds_all_frames_in_order_and_the_question(
    vlm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = VlmJudge(weights=str(vlm_folder), max_new_tokens=1)
    processor, model = judge._loaded
    assert next(model.parameters()).dtype == torch.bfloat16
    assert not model.training
    asked: list[list[dict[str, Any]]] = []
    template = processor.apply_chat_template

    def watched(messages: Sequence[dict[str, Any]], **how: Any) -> Any:
        asked.append(messages[0]["content"])
        return template(messages, **how)

    monkeypatch.setattr(processor, "apply_chat_template", watched)
    videos = noise(1)
    ask(judge, videos, clip(COLOUR))
    ((*frames, text),) = asked
    assert [part["image"].tobytes() for part in frames] == [
        Image.fromarray(frame.permute(1, 2, 0).numpy()).tobytes() for frame in videos[0]
    ]
    assert text["text"] == PROMPT.replace("{question}", COLOUR.text).replace("{choices}", ", ".join(CHOICES))
    assert judge._loaded[1] is model, "it was loaded again"


@pytest.mark.parametrize(
    ("answer", "choices", "seen"),
    [
        ("It is RED.", ("red", "green"), "red"),
        ("green, not red", ("red", "green"), "green"),
        ("infrared", ("red", "green"), None),
        ("", ("red", "green"), None),
        ("two circles", ("circle", "square"), "circle"),
        ("left then up", ("left", "left then up"), "left then up"),
        ("it moves left", ("left", "left then up"), "left"),
        ("A Dog on the grass", ("a cat", "A dog"), "A dog"),
    ],
)
def test_the_first_and_longest_choice_in_an_answer_counts(
    answer: str, choices: tuple[str, ...], seen: str | None
) -> None:
    assert first_choice_in(answer, choices) == first_choice_in(answer, choices[::-1]) == seen


def test_weights_are_loaded_at_the_first_question() -> None:
    judge = VlmJudge(weights="/nowhere/vlm")
    assert judge.can_judge(clip(YES_NO, COLOUR))
    assert not judge.can_judge(clip(YES_NO))
    assert ask(judge, noise(1), clip(YES_NO)) == [{}]
