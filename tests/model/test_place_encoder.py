"""The encoding of the places and times of video tokens."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.decoder import NoDecoder
from vtok.mllm import TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import Batch, stack_text
from vtok.model.build import parameter_groups
from vtok.model.place_encoder import PlaceEncoder, place_features
from vtok.tokeniser import EvsTokeniser, PlannedFrames, Tokeniser, VideoTokens, VTokTokeniser
from vtok.training.checkpoint import load_weights, save_checkpoint
from vtok.visual_head import NoVisualHead, RegressionHead


def make_model(
    *, encode_places: bool = True, lambdas: tuple[float, float] = (1.0, 0.0), tokeniser: type[Tokeniser] = VTokTokeniser
) -> VideoLanguageModel:
    torch.manual_seed(1)
    return VideoLanguageModel(
        tokeniser=tokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2),
        mllm=TinyLanguageModel(width=32, layers=1, heads=2, encode_places=encode_places),
        visual_head=RegressionHead if lambdas[1] else NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(*lambdas, lambda_dec=0.0),
    )


def with_random_weights(model: VideoLanguageModel) -> VideoLanguageModel:
    assert model.places is not None
    nn.init.normal_(model.places.matrix, generator=torch.Generator().manual_seed(5))
    return model.eval()


def make_clips(lengths: tuple[int, ...] = (5, 3)) -> PlannedFrames:
    frames = torch.randint(0, 256, (len(lengths), 5, 3, 64, 64), generator=torch.Generator().manual_seed(2))
    return PlannedFrames(
        frames.to(torch.uint8),
        key=torch.zeros(len(lengths), dtype=torch.long),
        mask=torch.arange(5) < torch.tensor(lengths).unsqueeze(1),
        timestamps=0.4 * torch.arange(5.0).expand(len(lengths), -1),
    )


def make_batch(model: VideoLanguageModel) -> Batch:
    chat, numbers = model.mllm.chat, [model.tokeniser.planner.num_tokens(length) for length in (5, 3)]
    asked = [chat.encode([("which way?", "left")], num_video_tokens=number) for number in numbers]
    made = [chat.encode_video("a red ball.", num_video_tokens=number) for number in numbers]
    return Batch(
        video=make_clips(),
        text=stack_text(asked, pad_id=chat.pad_id),
        captions=stack_text(made, pad_id=chat.pad_id),
    )


def make_tokens(places: list[tuple[float, float]], seconds: list[float]) -> VideoTokens:
    """A clip of equal tokens of width 16."""
    number = len(places)
    return VideoTokens(
        tokens=torch.ones(1, number, 16),
        kind=torch.zeros(number, dtype=torch.long),
        timestamps=torch.tensor([seconds]),
        mask=torch.ones(1, number, dtype=torch.bool),
        places=torch.tensor([places]),
        weights=torch.ones(1, number),
    )


def features_by_hand(row: float, column: float, seconds: float) -> list[float]:
    """Sines and cosines of wavelengths 2, 1, 1/2, 1/4, 1/8 of the frame, and 0.5, 1, 2, ..., 128 seconds."""
    angles = [2 * math.pi * place / length for place in (row, column) for length in (2, 1, 1 / 2, 1 / 4, 1 / 8)]
    found = [0.0 if math.isnan(one) else wave(one) for wave in (math.sin, math.cos) for one in angles]
    times = [2 * math.pi * seconds / length for length in (0.5, 1, 2, 4, 8, 16, 32, 64, 128)]
    return found + [wave(one) for wave in (math.sin, math.cos) for one in times]


def test_features_are_waves_of_row_column_and_seconds() -> None:
    """A token of an entire frame has a time and no place."""
    places, seconds = [(0.125, 0.875), (0.5, 0.3), (math.nan, math.nan)], [0.0, 1.7, 40.0]
    wanted = [features_by_hand(*place, second) for place, second in zip(places, seconds, strict=True)]
    torch.testing.assert_close(place_features(make_tokens(places, seconds)), torch.tensor([wanted]), rtol=0, atol=1e-4)


def test_equal_tokens_with_swapped_places_or_times_are_swapped() -> None:
    model = with_random_weights(make_model())
    both = [(0.25, 0.75), (0.75, 0.25)]
    for given, other in (
        (make_tokens(both, [0.4, 0.4]), make_tokens(both[::-1], [0.4, 0.4])),
        (make_tokens(both[:1] * 2, [0.4, 0.8]), make_tokens(both[:1] * 2, [0.8, 0.4])),
    ):
        first, second = model.embed_clips(given)[0], model.embed_clips(other)[0]
        torch.testing.assert_close(first, second.flip(0))
        assert not torch.allclose(first, second)


@pytest.mark.parametrize("tokeniser", [VTokTokeniser, EvsTokeniser])
def test_a_token_has_the_same_embedding_wherever_it_is_in_the_sequence(tokeniser: type[Tokeniser]) -> None:
    model = with_random_weights(make_model(tokeniser=tokeniser))
    video = model.tokeniser.encode_planned(make_clips((5,)))
    # `at` gives all rows the same kinds, so these are tokens of one kind.
    same = torch.arange(video.tokens.shape[1])[video.kind == video.kind[0]]
    chosen = torch.stack([same.flip(0)[:3], same[:3]])
    everything = model.embed_clips(video)[0]
    torch.testing.assert_close(model.embed_clips(video.at(chosen)), everything[chosen])
    assert everything[same].isfinite().all()


def test_an_untrained_encoder_changes_nothing() -> None:
    """Bit for bit: the other random weights, the losses and the answers."""
    plain, encoded = make_model(encode_places=False), make_model(encode_places=True)
    assert encoded.state_dict().keys() - plain.state_dict().keys() == {"places.matrix"}
    assert all(torch.equal(tensor, encoded.state_dict()[name]) for name, tensor in plain.state_dict().items())
    assert plain(make_batch(plain)).items() == encoded(make_batch(encoded)).items()
    asked = [one.eval().describe(make_clips(), ["what?", "where?"], max_new_tokens=4) for one in (plain, encoded)]
    assert asked[0] == asked[1]


def test_the_gradient_is_that_of_the_tokens_and_padding_has_none() -> None:
    encoder, video = PlaceEncoder(4), make_tokens([(0.25, 0.75), (0.5, 0.5)], [0.4, 0.8])
    padded = replace(
        video,
        mask=torch.tensor([[True, False]]),
        timestamps=torch.tensor([[0.4, math.nan]]),
        places=torch.tensor([[[0.25, 0.75], [math.inf, 2.0]]]),
    )
    wanted = torch.arange(1.0, 5.0)
    (encoder(padded) * wanted).sum().backward()
    expected: Tensor = wanted.unsqueeze(1) * torch.tensor([features_by_hand(0.25, 0.75, 0.4)]) / 38
    torch.testing.assert_close(encoder.matrix.grad, expected)


def test_a_step_trains_the_encoder_as_a_learned_position() -> None:
    model = make_model()
    assert model.places is not None
    groups = [group for group in parameter_groups(model) if any(one is model.places.matrix for one in group["params"])]
    assert [group.get("hidden", False) for group in groups] == [False]
    model(make_batch(model))["loss"].backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert model.places.matrix.any(1).all()
    # The answers depend on it, and so on the places.
    trained = model.eval()(make_batch(model))["under"]
    nn.init.zeros_(model.places.matrix)
    assert not torch.equal(trained, model(make_batch(model))["under"])


@pytest.mark.parametrize("steps", [1, 5])
def test_adamw_moves_an_encoding_no_faster_than_a_learned_position(steps: int) -> None:
    encoder = PlaceEncoder(4)
    positions = nn.Parameter(torch.zeros(1, 2, 4))
    video = make_tokens([(0.25, 0.75), (0.5, 0.5)], [0.4, 0.8])
    optimiser = torch.optim.AdamW([encoder.matrix, positions], lr=0.01, weight_decay=0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        (encoder(video) + positions).sum().backward()
        optimiser.step()
    moved = encoder(video).detach().abs()
    assert (moved <= positions.detach().abs() + 1e-6).all()
    # And not much more slowly: the features are waves, whose mean size is 2 / pi.
    assert (moved > 0.3 * positions.detach().abs()).all()


def test_a_generated_video_has_no_places() -> None:
    """A tokeniser that selects would need the video to know them. Nothing trains the encoder then."""
    model = with_random_weights(make_model(lambdas=(0.0, 1.0)))
    assert model.places is not None
    assert not model.places.matrix.requires_grad
    before = model(make_batch(model))["visLM"]
    made = model.generate_tokens(["a ball"], num_planned=3, seeds=[0], temperature=1.0)
    nn.init.zeros_(model.places.matrix)
    assert torch.equal(before, model(make_batch(model))["visLM"])
    again = model.generate_tokens(["a ball"], num_planned=3, seeds=[0], temperature=1.0)
    assert torch.equal(made.tokens, again.tokens)


def test_a_checkpoint_belongs_to_its_setting(tmp_path: Path) -> None:
    """One from before the setting existed has no such weight, as one with the setting off."""
    saved: dict[bool, Path] = {}
    for on in (False, True):
        model = make_model(encode_places=on)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        if on:
            with_random_weights(model)
        saved[on] = save_checkpoint(tmp_path / str(on), model=model, optimiser=optimiser, step=1, samples=2, keep=1)
    for on in (False, True):
        loaded = make_model(encode_places=on)
        load_weights(saved[on], loaded)
        with pytest.raises(UserError, match=r"1 weights have no counterpart, such as places\.matrix"):
            load_weights(saved[not on], loaded)
    assert loaded.places is not None
    assert loaded.places.matrix.all()
