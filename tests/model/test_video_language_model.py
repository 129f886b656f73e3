"""The full model on synthetic batches."""

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.decoder import NoDecoder
from vtok.mllm import TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import Batch, Text, stack_text
from vtok.tokeniser import FrameSamplingTokeniser, KeyFrameTokeniser, PlannedFrames, Tokeniser, VTokTokeniser
from vtok.visual_head import NoVisualHead


def make_model(tokeniser: Tokeniser, *, lambda_under: float = 1.0) -> VideoLanguageModel:
    """A model that only understands; tests/model/test_generation.py has those that generate videos."""
    torch.manual_seed(1)
    return VideoLanguageModel(
        tokeniser=tokeniser,
        mllm=TinyLanguageModel(width=32, layers=1, heads=2),
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(lambda_under=lambda_under, lambda_visLM=0.0, lambda_dec=0.0),
    )


def make_batch(model: VideoLanguageModel, lengths: list[int]) -> Batch:
    """Clips of these numbers of planned frames, with questions of different lengths."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    frames = torch.randint(0, 256, (len(lengths), longest, 3, 64, 64), dtype=torch.uint8)
    video = PlannedFrames(frames, torch.zeros(len(lengths), dtype=torch.long), mask, torch.zeros(len(lengths), longest))
    chats = [
        model.mllm.chat.encode(
            [("which way " * (row + 1), "left"), ("describe the video.", "a red ball " * (row + 1))],
            num_video_tokens=model.tokeniser.planner.num_tokens(length),
        )
        for row, length in enumerate(lengths)
    ]
    return Batch(video=video, text=stack_text(chats, pad_id=model.mllm.chat.pad_id))


def one(batch: Batch, row: int, length: int) -> Batch:
    video, text = batch.video, batch.text
    size = int(text.mask[row].sum())
    here = slice(row, row + 1)
    return Batch(
        video=PlannedFrames(
            video.frames[here, :length], video.key[here], video.mask[here, :length], video.timestamps[here, :length]
        ),
        text=Text.of(text.ids[here, :size], text.targets[here, :size], text.mask[here, :size]),
    )


@pytest.mark.parametrize(
    "tokeniser",
    [
        lambda: VTokTokeniser(TinyBackbone(feature_dim=16, width=8)),
        lambda: FrameSamplingTokeniser(TinyBackbone(feature_dim=16, width=8)),
        lambda: KeyFrameTokeniser(TinyBackbone(feature_dim=16, width=8)),
    ],
)
def test_the_loss_of_a_clip_does_not_depend_on_the_batch(tokeniser) -> None:
    model = make_model(tokeniser())
    lengths = [1, 1, 1] if isinstance(model.tokeniser, KeyFrameTokeniser) else [5, 3, 1]
    batch = make_batch(model, lengths)
    with torch.no_grad():
        total = 0.0
        for row, length in enumerate(lengths):
            alone = one(batch, row, length)
            total += float(model(alone)["under"]) * len(alone.text.predictors)
        answers = len(batch.text.predictors)
        assert float(model(batch)["under"]) == pytest.approx(total / answers, abs=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    model = make_model(VTokTokeniser(TinyBackbone(feature_dim=16, width=8)))
    model(make_batch(model, [5, 3]))["loss"].backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_the_loss_is_the_weighted_sum() -> None:
    model = make_model(VTokTokeniser(TinyBackbone(feature_dim=16, width=8)), lambda_under=0.25)
    losses = model(make_batch(model, [5]))
    assert losses["loss"].item() == pytest.approx(0.25 * losses["under"].item())


def test_describe_answers_each_clip_with_its_own_prompt() -> None:
    model = make_model(VTokTokeniser(TinyBackbone(feature_dim=16, width=8))).eval()
    batch = make_batch(model, [5, 3])
    answers = model.describe(batch.video, ["what?", "which way does it move?"], max_new_tokens=4)
    first = one(batch, 1, 3)
    assert answers[1] == model.describe(first.video, ["which way does it move?"], max_new_tokens=4)[0]


def test_training_does_not_change_a_frozen_backbone() -> None:
    model = make_model(VTokTokeniser(TinyBackbone(feature_dim=16, width=8, frozen=True)))
    before = {name: value.clone() for name, value in model.tokeniser.backbone.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(2):
        model(make_batch(model, [5]))["loss"].backward()
        optimiser.step()
    assert not model.tokeniser.backbone.training
    assert all(torch.equal(value, before[name]) for name, value in model.tokeniser.backbone.state_dict().items())


def test_an_answer_ends_at_the_context_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(VTokTokeniser(TinyBackbone(feature_dim=16, width=8))).eval()
    video = make_batch(model, [2]).video
    number = model.tokeniser.planner.num_tokens(2)
    length = len(model.mllm.chat.encode_prompt("what?", num_video_tokens=number))
    asked: list[int] = []
    monkeypatch.setattr(model.mllm, "generate", lambda *_, max_new_tokens: asked.append(max_new_tokens) or [""])
    for left in (3, 20):
        monkeypatch.setattr(model.mllm, "context_length", length + left)
        model.describe(video, ["what?"], max_new_tokens=8)
    assert asked == [3, 8]
    monkeypatch.setattr(model.mllm, "context_length", length)
    with pytest.raises(UserError, match=rf"make {length + 1} tokens, more than mllm\.context_length={length}"):
        model.describe(video, ["what?"], max_new_tokens=8)
