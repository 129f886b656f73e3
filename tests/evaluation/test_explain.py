"""The change of an answer's log-likelihood by each token, against a loop that leaves out one token at a time."""

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.decoder import NoDecoder
from vtok.evaluation.explain import explain_answer
from vtok.mllm import TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import stack_text
from vtok.tokeniser import (
    FrameSamplingTokeniser,
    PlannedFrames,
    ResamplerTokeniser,
    SlowFastTokeniser,
    Tokeniser,
    VideoTokens,
    VTokTokeniser,
)
from vtok.visual_head import NoVisualHead

QUESTION, ANSWER = "what colour is it?", "a very dark green"
TOKENISERS = {
    "vtok": VTokTokeniser,
    "frame_sampling": FrameSamplingTokeniser,
    "slow_fast": SlowFastTokeniser,
    "resampler": ResamplerTokeniser,
}


def model_of(kind: type = VTokTokeniser) -> VideoLanguageModel:
    torch.manual_seed(0)
    model = VideoLanguageModel(
        tokeniser=kind(TinyBackbone(feature_dim=16, width=8)),
        mllm=TinyLanguageModel(width=32, layers=2, heads=2),
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(lambda_visLM=0.0, lambda_dec=0.0),
    )
    with torch.no_grad():
        # The answers of a new language model hardly depend on the video.
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def tokens_of(tokeniser: Tokeniser, *, padded: int = 0) -> VideoTokens:
    """The tokens of a clip of noise, with `padded` black frames at its end that do not count."""
    plan = tokeniser.plan(30)
    true = len(plan.indices)
    noise = torch.Generator().manual_seed(1)
    frames = torch.zeros(1, true + padded, 3, 32, 32, dtype=torch.uint8)
    frames[:, :true] = torch.randint(256, (1, true, 3, 32, 32), generator=noise, dtype=torch.uint8)
    times = torch.zeros(1, true + padded)
    times[0, :true] = torch.tensor(plan.indices).float()
    key = torch.tensor([-1 if plan.key is None else plan.key])
    mask = torch.arange(true + padded).unsqueeze(0) < true
    with torch.no_grad():
        return tokeniser.encode_planned(PlannedFrames(frames, key, mask, times))


@torch.no_grad()
def by_hand(model: VideoLanguageModel, video: VideoTokens, kept: list[int]) -> float:
    """The answer's log-likelihood, if the language model is given only these tokens."""
    chat = model.mllm.chat.encode([(QUESTION, ANSWER)], num_video_tokens=len(kept))
    text = stack_text([chat], pad_id=model.mllm.chat.pad_id)
    part = VideoTokens(
        torch.cat([video.tokens[:, one : one + 1] for one in kept], dim=1),
        torch.tensor([int(video.kind[one]) for one in kept]),
        torch.cat([video.timestamps[:, one : one + 1] for one in kept], dim=1),
        torch.ones(1, len(kept), dtype=torch.bool),
        torch.cat([video.places[:, one : one + 1] for one in kept], dim=1),
        torch.cat([video.weights[:, one : one + 1] for one in kept], dim=1),
    )
    return float(model.text_scores(part, text).logprobs.double().sum())


@pytest.mark.parametrize("at_once", [1, 7, 512])
@pytest.mark.parametrize("tokeniser", TOKENISERS)
def test_changes_are_those_of_a_loop_that_leaves_out_one_token_at_a_time(tokeniser: str, at_once: int) -> None:
    model = model_of(TOKENISERS[tokeniser])
    video = tokens_of(model.tokeniser)
    everything = list(range(video.tokens.shape[1]))
    found = explain_answer(model, video, QUESTION, ANSWER, sequences_at_once=at_once)
    true = by_hand(model, video, everything)
    expected = [true - by_hand(model, video, [one for one in everything if one != left_out]) for left_out in everything]
    assert found.log_likelihood == pytest.approx(true, abs=1e-4)
    assert found.changes == pytest.approx(expected, abs=1e-4)
    assert max(map(abs, expected)) > 1e-2, "zeros everywhere would be no test"
    assert (found.question, found.answer) == (QUESTION, ANSWER)


def test_a_language_model_that_ignores_the_video_gives_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    real = model.mllm.hidden_states

    def blind(embeddings: torch.Tensor, *, seen_until: torch.Tensor | None) -> torch.Tensor:
        assert seen_until is None
        # All video tokens follow each other, from the place `first` on.
        after = first + embeddings.shape[1] - text_tokens
        keep = [*range(first), *range(after, embeddings.shape[1])]
        hidden = real(embeddings[:, keep])
        everything = hidden.new_zeros(*embeddings.shape[:2], hidden.shape[-1])
        everything[:, keep] = hidden
        return everything

    video = tokens_of(model.tokeniser)
    chat = model.mllm.chat.encode([(QUESTION, ANSWER)], num_video_tokens=video.tokens.shape[1])
    first = chat.ids.index(model.mllm.chat.video_id)
    text_tokens = len(chat.ids) - video.tokens.shape[1]
    monkeypatch.setattr(model.mllm, "hidden_states", blind)
    assert explain_answer(model, video, QUESTION, ANSWER).changes == pytest.approx([0.0] * 20, abs=1e-5)


def test_padding_is_not_a_token_and_changes_nothing() -> None:
    model = model_of()
    padded, plain = tokens_of(model.tokeniser, padded=3), tokens_of(model.tokeniser)
    assert padded.tokens.shape[1] > plain.tokens.shape[1]
    found, expected = (explain_answer(model, video, QUESTION, ANSWER) for video in (padded, plain))
    assert len(found.changes) == plain.tokens.shape[1]
    assert found.changes == pytest.approx(expected.changes, abs=1e-4)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, abs=1e-4)


def test_a_clip_with_one_token_is_compared_with_no_video() -> None:
    model = model_of()
    video = tokens_of(model.tokeniser)
    none = explain_answer(model, video.at(torch.zeros(1, 0, dtype=torch.long)), QUESTION, ANSWER)
    found = explain_answer(model, video.at(torch.tensor([[0]])), QUESTION, ANSWER)
    assert none.changes == ()
    assert found.changes == pytest.approx([found.log_likelihood - none.log_likelihood], abs=1e-5)


def test_too_long_a_question_and_two_clips_are_refused() -> None:
    model = model_of()
    video = tokens_of(model.tokeniser)
    with pytest.raises(UserError, match=r"more than mllm\.context_length=.* Shorten the text"):
        explain_answer(model, video, "why? " * 5000, ANSWER)
    with pytest.raises(ValueError, match="one clip, not 2"):
        explain_answer(model, video.select(torch.tensor([0, 0])), QUESTION, ANSWER)
