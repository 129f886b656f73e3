"""Context and content tokens, against the paper's formula computed one word, frame and place at a time."""

import math

import pytest
import torch
from torch import Tensor

from vtok.tokeniser import LlamaVidTokeniser, PlannedFrames, llama_vid


def seen_by(words: list[Tensor], places: list[Tensor]) -> Tensor:
    """The mean over words of softmax(q X^T / sqrt(C)) X; the mean of the places without words."""
    found = []
    for word in words or [torch.zeros_like(places[0])]:
        scores = [math.exp(float(word @ place) / math.sqrt(len(place))) for place in places]
        found.append(sum(score * place for score, place in zip(scores, places, strict=True)) / sum(scores))
    return sum(found) / len(found)


def tokens_of(tokeniser: LlamaVidTokeniser, frame: Tensor, words: list[Tensor]) -> Tensor:
    """The tokens (1 + S, d) of a frame (3, 8, 8), whose features are its pixels."""
    side, cells = 8 // tokeniser.grid_size, range(tokeniser.grid_size)
    places = [frame[:, row, column] for row in range(8) for column in range(8)]
    context = tokeniser.context(seen_by(words, places))
    content = [
        tokeniser.content(frame[:, side * row : side * (row + 1), side * column : side * (column + 1)].mean((1, 2)))
        for row in cells
        for column in cells
    ]
    return torch.stack([context, *content])


@pytest.mark.parametrize("grid_size", [1, 2])
@torch.no_grad()
def test_tokens_are_the_papers_formula(grid_size: int, pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two rows at once, so that three rows are computed in two parts.
    monkeypatch.setattr(llama_vid, "FEATURES_AT_ONCE", 2 * 3 * 64 * 3)
    video, queries = torch.rand(2, 5, 3, 8, 8), 4 * torch.randn(3, 4, 3)
    there = torch.tensor([[True] * 4, [False, True, True, False], [False, False, False, True]])
    tokeniser = LlamaVidTokeniser(pixels, grid_size=grid_size, stride=2, token_dim=5)
    encoded = tokeniser.encode(video)
    clips = torch.tensor([1, 0, 1])
    asked = tokeniser.condition(encoded.select(clips), queries, there)
    for row, clip in enumerate(clips.tolist()):
        words = list(queries[row][there[row]])
        expected = torch.cat([tokens_of(tokeniser, frame, words) for frame in video[clip, ::2]])
        torch.testing.assert_close(asked.tokens[row], expected)
        unasked = torch.cat([tokens_of(tokeniser, frame, []) for frame in video[clip, ::2]])
        torch.testing.assert_close(encoded.tokens[clip], unasked)
    number = 1 + grid_size**2
    assert asked.timestamps.tolist() == [[0.0] * number + [2.0] * number + [4.0] * number] * 3
    assert asked.weights[0].tolist() == ([64.0] + [64.0 / grid_size**2] * grid_size**2) * 3
    assert asked.places[0].isnan().any(1).tolist() == ([True] + [False] * grid_size**2) * 3
    # A question that has been read is not read again.
    assert tokeniser.condition(asked, -queries, there) is asked


@torch.no_grad()
def test_only_context_tokens_depend_on_the_question(pixels) -> None:
    tokeniser = LlamaVidTokeniser(pixels, stride=1)
    encoded, there = tokeniser.encode(torch.rand(1, 3, 3, 8, 8)), torch.ones(1, 2, dtype=torch.bool)
    first, second = (tokeniser.condition(encoded, 3 * torch.randn(1, 2, 3), there).tokens[0] for _ in range(2))
    assert (first != second).any(1).tolist() == [True, False] * 3


@torch.no_grad()
def test_padded_frames_change_nothing_of_a_shorter_clip(pixels) -> None:
    tokeniser, queries = LlamaVidTokeniser(pixels), torch.randn(2, 4, 3)
    frames, there = torch.rand(2, 5, 3, 8, 8), torch.ones(2, 4, dtype=torch.bool)
    mask, times = torch.tensor([[True] * 5, [True, True, False, False, False]]), torch.arange(5.0).expand(2, -1)
    both = tokeniser.encode_planned(PlannedFrames(frames, torch.zeros(2, dtype=torch.long), mask, times))
    found = tokeniser.condition(both, queries, there)
    alone = tokeniser.condition(tokeniser.encode(frames[1:, ::1][:, [0, 0, 0, 1]]), queries[1:], there[1:])
    assert found.mask[1].tolist() == [True] * 4 + [False] * 6
    torch.testing.assert_close(found.tokens[1, :4], alone.tokens[0])


def test_tokens_are_not_chosen_before_the_question(pixels) -> None:
    encoded = LlamaVidTokeniser(pixels).encode(torch.rand(1, 5, 3, 8, 8))
    with pytest.raises(ValueError, match="depend on a question"):
        encoded.at(torch.tensor([[0, 1]]))
