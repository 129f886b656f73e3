"""The generation branch on synthetic batches: captions to tokens to videos, and the gradients of the losses."""

from collections.abc import Callable
from dataclasses import replace
from statistics import median

import pytest
import torch
from torch import nn

from vtok.backbone import TinyBackbone
from vtok.decoder import Decoder, TinyDecoder
from vtok.mllm import TinyLanguageModel
from vtok.model import Objective
from vtok.model.batch import Batch, Text, stack_text
from vtok.model.video_language_model import VideoLanguageModel
from vtok.model.visual_states import Sampling
from vtok.tokeniser import FrameSamplingTokeniser, PlannedFrames, Tokeniser, VTokTokeniser
from vtok.visual_head import FlowHead, MixtureHead, RegressionHead

CAPTIONS = ["a red circle moves left.", "a blue square moves down.", "there are three green triangles."]
SAMPLING = Sampling(steps=3, guidance=1.5, temperature=1.0)
HEADS = {
    "mse": lambda hidden, token: RegressionHead(hidden, token, loss="mse"),
    "mixture": lambda hidden, token: MixtureHead(hidden, token, components=3),
    "flow": lambda hidden, token: FlowHead(hidden, token, width=32, steps=4),
}


def vtok() -> Tokeniser:
    return VTokTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2, token_dim=12)


def make_model(
    *,
    tokeniser: Callable[[], Tokeniser] = vtok,
    head: str = "flow",
    lambdas: tuple[float, float, float] = (1.0, 1.0, 1.0),
    condition_on_caption: bool = False,
    shift: float = 7.0,
) -> VideoLanguageModel:
    torch.manual_seed(1)
    return VideoLanguageModel(
        tokeniser=tokeniser(),
        mllm=TinyLanguageModel(width=32, layers=2, heads=2),
        visual_head=HEADS[head],
        decoder=lambda width: TinyDecoder(
            width, num_frames=4, size=16, patch=8, heads=2, head_dim=12, double_layers=1, single_layers=1, shift=shift
        ),
        objective=Objective(*lambdas, condition_on_caption=condition_on_caption),
    )


def make_video(lengths: list[int], seed: int = 0) -> PlannedFrames:
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (len(lengths), longest, 3, 64, 64), dtype=torch.uint8, generator=generator)
    key = torch.zeros(len(lengths), dtype=torch.long)
    return PlannedFrames(frames, key, mask, torch.arange(longest).float().expand(len(lengths), -1))


def make_batch(model: VideoLanguageModel, lengths: list[int]) -> Batch:
    chat = model.mllm.chat
    tokens = [model.tokeniser.planner.num_tokens(length) for length in lengths]
    conversations = [
        chat.encode([("which way?", "left"), ("describe the video.", caption)], num_video_tokens=number)
        for caption, number in zip(CAPTIONS, tokens, strict=False)
    ]
    requests = [
        chat.encode_video(caption, num_video_tokens=number) for caption, number in zip(CAPTIONS, tokens, strict=False)
    ]
    return Batch(
        video=make_video(lengths),
        text=stack_text(conversations, pad_id=chat.pad_id),
        captions=stack_text(requests, pad_id=chat.pad_id),
        target=torch.randint(0, 256, (len(lengths), 4, 3, 16, 16), dtype=torch.uint8),
    )


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("a loss of weight 0 was computed")


@pytest.mark.parametrize(
    ("lambdas", "computed"),
    [
        ((1.0, 0.0, 0.0), {"under"}),
        ((0.0, 1.0, 0.0), {"visLM"}),
        ((0.0, 0.0, 1.0), {"dec"}),
        ((0.0, 1.0, 1.0), {"visLM", "dec"}),
        ((1.0, 1.0, 0.0), {"under", "visLM"}),
    ],
)
def test_a_loss_of_weight_0_is_not_computed(
    lambdas: tuple[float, float, float], computed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(lambdas=lambdas)
    for name, part, method in (
        ("under", model, "text_scores"),
        ("visLM", model.visual_head, "loss"),
        ("dec", model.decoder, "loss"),
    ):
        if name not in computed:
            monkeypatch.setattr(part, method, refuse)
    if not computed & {"visLM", "dec"}:
        monkeypatch.setattr(model, "visual_states", refuse)
    losses = model(make_batch(model, [3, 2, 1]))
    assert losses.keys() == computed | {"loss"} | ({"accuracy"} if "under" in computed else set())
    losses["loss"].backward()
    for name, part in (("visLM", model.visual_head), ("dec", model.decoder)):
        assert any(parameter.requires_grad for parameter in part.parameters()) == (name in computed)


def test_several_conversations_about_a_clip_change_no_loss_of_generation() -> None:
    model = make_model(lambdas=(1.0, 1.0, 1.0)).eval()
    batch = make_batch(model, [3, 2, 1])
    rows = torch.tensor([0, 0, 1, 2, 2])
    text = Text.of(*(tensor[rows] for tensor in (batch.text.ids, batch.text.targets, batch.text.mask)))
    found = []
    for one in (batch, replace(batch, text=text, clip_of_row=rows)):
        torch.manual_seed(0)
        found.append(model(one))
    for name in ("visLM", "dec"):
        torch.testing.assert_close(found[0][name], found[1][name])
    with torch.no_grad():
        video = model.tokeniser.encode_planned(batch.video)
        logprobs = model.text_scores(video, batch.text).logprobs.sum(1)[rows].sum()
    torch.testing.assert_close(found[1]["under"], -logprobs / len(text.predictors))


def test_the_loss_is_the_weighted_sum_of_the_shares() -> None:
    model = make_model(lambdas=(0.5, 2.0, 3.0))
    batch = make_batch(model, [3, 2])
    torch.manual_seed(0)
    losses = model(batch, {"under": 0.1, "visLM": 0.2, "dec": 0.3})
    expected = 0.5 * 0.1 * losses["under"] + 2.0 * 0.2 * losses["visLM"] + 3.0 * 0.3 * losses["dec"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_gradient_of_l_dec_passes_a_frozen_decoder() -> None:
    model = make_model(lambdas=(0.0, 0.0, 1.0)).train()
    assert isinstance(model.decoder, Decoder)
    model.decoder.requires_grad_(False)
    model(make_batch(model, [3, 2]))["loss"].backward()
    assert all(parameter.grad is None for parameter in model.decoder.parameters())
    for name in ("projector", "tokeniser.motion", "tokeniser.spatial", "tokeniser.backbone", "mllm.model.model"):
        part = model.get_submodule(name)
        gradients = [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        assert gradients, name
        assert all(gradient.abs().max() > 0 for gradient in gradients if gradient.ndim > 1), name


def test_the_targets_of_l_vislm_are_constants() -> None:
    """phi_vis and g_phi get gradients through the input tokens, not through the targets."""
    model = make_model(head="mse", lambdas=(0.0, 1.0, 0.0))
    batch = make_batch(model, [1])
    video = model.tokeniser.encode_planned(batch.video)
    tokens = video.tokens.detach().requires_grad_()
    watched = replace(video, tokens=tokens)
    number = len(batch.captions.predictors)
    model.visual_loss(model.visual_states(watched, batch.captions), watched, number=number).backward()
    assert tokens.grad is not None
    assert tokens.grad[:, :-1].abs().amax(-1).min() > 0
    # The last token is only a target.
    assert tokens.grad[:, -1].abs().max() == 0


def test_the_first_token_is_predicted_from_the_caption_alone() -> None:
    model = make_model().eval()
    batch = make_batch(model, [3, 3])
    captions = batch.captions
    states = []
    for seed in (0, 1):
        video = model.tokeniser.encode_planned(make_video([3, 3], seed=seed))
        states.append(model.visual_states(video, captions).before)
    torch.testing.assert_close(states[0][:, 0], states[1][:, 0])
    assert (states[0][:, 1] - states[1][:, 1]).abs().max() > 1e-4
    assert (states[0][0, 0] - states[0][1, 0]).abs().max() > 1e-4


def test_padding_and_neighbours_change_nothing() -> None:
    model = make_model(head="mse", lambdas=(0.0, 1.0, 0.0)).eval()
    lengths = [4, 2, 1]
    batch = make_batch(model, lengths)
    with torch.no_grad():
        together = model(batch)["visLM"].item()
        total = 0.0
        for row, length in enumerate(lengths):
            size = int(batch.captions.mask[row].sum())
            here = slice(row, row + 1)
            video = batch.video
            alone = Batch(
                video=PlannedFrames(
                    video.frames[here, :length],
                    video.key[here],
                    video.mask[here, :length],
                    video.timestamps[here, :length],
                ),
                text=None,
                captions=Text.of(
                    batch.captions.ids[here, :size],
                    batch.captions.targets[here, :size],
                    batch.captions.mask[here, :size],
                ),
            )
            total += model(alone)["visLM"].item() * alone.counts()["visLM"]
        assert together == pytest.approx(total / batch.counts()["visLM"], abs=1e-5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("condition_on_caption", [False, True])
def test_generation_with_a_cache_equals_one_without(head: str, temperature: float, condition_on_caption: bool) -> None:
    """The generated tokens go through the model at once, as in training."""
    model = make_model(head=head, condition_on_caption=condition_on_caption).eval()
    model.decoder.condition_layer = -2 if condition_on_caption else -1
    seeds, planned = [3, 4, 5], 4
    generated = model.generate_tokens(CAPTIONS, num_planned=planned, seeds=seeds, temperature=temperature)
    tokens = generated.tokens
    video = model.tokeniser.encode_planned(make_video([planned] * 3))
    given = replace(video, tokens=tokens)
    with torch.no_grad():
        full = model.visual_states(given, model.caption_text(CAPTIONS, given))
    assert torch.equal(generated.mask, full.mask)
    torch.testing.assert_close(generated.condition, full.condition, atol=1e-5, rtol=1e-4)
    if temperature == 0:
        again = torch.stack(
            [
                model.visual_head.sample(
                    full.before[:, number],
                    noise=torch.zeros(3, model.visual_head.noise_dim),
                    temperature=0.0,
                )
                for number in range(tokens.shape[1])
            ],
            dim=1,
        )
        torch.testing.assert_close(model.target_scale.unstandardise(again, given.kind), tokens, atol=1e-4, rtol=1e-3)


def test_the_condition_has_the_states_at_the_tokens_and_optionally_at_the_caption() -> None:
    video = make_video([3, 2])
    for condition_on_caption, layer in ((False, -1), (True, -1), (False, -2)):
        model = make_model(condition_on_caption=condition_on_caption).eval()
        model.decoder.condition_layer = layer
        tokens = model.tokeniser.encode_planned(video)
        text = model.caption_text(["a red circle", "two blue squares move up"], tokens)
        embeddings = model.mllm.embed(text.ids, model.projector(tokens.tokens), tokens.mask)
        (hidden,) = model.mllm.layer_states(embeddings, layers=[layer])
        states = model.visual_states(tokens, text)
        places = text.ids == model.mllm.chat.video_id
        for row in range(2):
            wanted = hidden[row][text.mask[row] if condition_on_caption else places[row]]
            assert int(states.mask[row].sum()) == len(wanted)
            # Padding is on the right, because HunyuanVideo's transformer uses only the sum of the mask.
            torch.testing.assert_close(states.condition[row, : len(wanted)], wanted)
            assert not states.condition[row, len(wanted) :].any()


def test_videos_are_a_function_of_caption_and_seed() -> None:
    model = make_model().eval()
    torch.manual_seed(1)
    first = model.generate(CAPTIONS[:1], num_planned=3, seeds=[7], sampling=SAMPLING)
    torch.manual_seed(2)
    second = model.generate(CAPTIONS[:1], num_planned=3, seeds=[7], sampling=SAMPLING)
    other = model.generate(CAPTIONS[:1], num_planned=3, seeds=[8], sampling=SAMPLING)
    assert first.shape == (1, 4, 3, 16, 16)
    assert first.dtype == torch.uint8
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_video_does_not_depend_on_the_rest_of_the_batch() -> None:
    model = make_model().eval()
    together = model.generate(CAPTIONS, num_planned=3, seeds=[7, 8, 9], sampling=SAMPLING)
    alone = model.generate(CAPTIONS[1:2], num_planned=3, seeds=[8], sampling=SAMPLING)
    assert (together[1].int() - alone[0].int()).abs().max() <= 1


def test_a_reconstruction_depends_on_its_clip_and_its_caption() -> None:
    model = make_model().eval()
    clips = make_video([3, 2])
    videos = model.reconstruct(clips, seeds=[1, 1], sampling=SAMPLING)
    with_captions = model.reconstruct(clips, captions=CAPTIONS[:2], seeds=[1, 1], sampling=SAMPLING)
    assert videos.shape == (2, 4, 3, 16, 16)
    assert not torch.equal(videos[0], videos[1])
    assert not torch.equal(videos, with_captions)


def test_a_frame_sampling_tokeniser_generates_tokens_of_one_kind() -> None:
    model = make_model(tokeniser=lambda: FrameSamplingTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2))
    batch = make_batch(model, [3, 2])
    losses = model(batch)
    assert torch.isfinite(losses["loss"])
    generated = model.eval().generate_tokens(CAPTIONS[:1], num_planned=3, seeds=[0], temperature=1.0)
    assert generated.tokens.shape[1] == model.tokeniser.planner.num_tokens(3)


@pytest.mark.slow
def test_a_small_model_learns_to_generate_two_videos() -> None:
    """The loss falls far below its value at the start, and the reconstructions differ as their clips do."""
    # Only strong noise hides the mean of a video of one colour.
    model = make_model(head="mse", lambdas=(0.0, 1.0, 1.0), shift=20.0).train()
    batch = make_batch(model, [3, 3])
    dark_and_bright = torch.tensor([40, 200], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 4, 3, 16, 16)
    batch = Batch(video=batch.video, text=None, captions=batch.captions, target=dark_and_bright)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses: list[float] = []
    model.measure(batch)
    model.end_step()
    for _ in range(250):
        optimiser.zero_grad()
        now = model(batch)
        now["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        model.end_step()
        losses.append(float(now["dec"].detach()))
    # The median over several steps, because some steps drop the condition.
    assert median(losses[-20:]) < 0.3 * median(losses[:5])
    videos = model.eval().reconstruct(
        batch.video, captions=CAPTIONS[:2], seeds=[0, 1], sampling=Sampling(steps=10, guidance=1.0, temperature=1.0)
    )
    assert videos[1].float().mean() - videos[0].float().mean() > 80
