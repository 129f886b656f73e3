"""The visual head's errors on held-out clips, compared with a token-by-token computation, and their dependences."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vtok.data import ClipSample
from vtok.evaluation.clips import HeldoutBatch
from vtok.evaluation.generation import Generation
from vtok.model import VideoLanguageModel
from vtok.tokeniser import PlannedFrames

MakeModel = Callable[..., VideoLanguageModel]
MakeSample = Callable[..., ClipSample]
SPATIAL_TOKENS = 4
Run = Callable[..., tuple[dict[str, float], Tensor]]


@pytest.fixture
def run(make_generation: Callable[..., Generation], judge: Any) -> Run:
    """Evaluates clips; returns the metrics, and all videos in the order in which they were judged."""

    def run(model: VideoLanguageModel, samples: Sequence[ClipSample], **changes: float) -> Any:
        judge.given.clear()
        all_clips, batches = [sample.clip for sample in samples], [HeldoutBatch(list(samples), [])]
        generation = make_generation(judge, **changes)
        result = generation(model, batches, num_frames=19, all_clips=all_clips, progress=False)
        return result.metrics(), torch.cat([videos for videos, _ in judge.given])

    return run


@pytest.fixture
def samples(make_sample: MakeSample) -> list[ClipSample]:
    """Clips of several lengths, their frames noise."""
    generator = torch.Generator().manual_seed(2)
    made = []
    for number, frames in enumerate([4, 2, 1, 3]):
        known = make_sample(number)
        pixels = torch.randint(0, 256, (frames, 3, 32, 32), dtype=torch.uint8, generator=generator)
        made.append(ClipSample(pixels, torch.arange(float(frames)), 0, known.clip, 0, (), known.target))
    return made


@torch.no_grad()
def token_errors(model: VideoLanguageModel, sample: ClipSample, *, own: bool) -> Tensor:
    """Squared errors (L, d) of one clip's standardised tokens, each by a forward pass over all tokens before it.

    The tokens before it are the true ones, or with `own` those that the head generated.
    """
    frames = sample.frames.unsqueeze(0)
    mask = torch.ones(1, len(sample.frames), dtype=torch.bool)
    planned = PlannedFrames(frames, torch.tensor([sample.key]), mask, sample.timestamps.unsqueeze(0))
    true = model.tokeniser.encode_planned(planned).tokens[0]
    scale, chat = model.target_scale, model.mllm.chat
    prompt = torch.tensor([chat.encode_video(str(sample.clip.caption), num_video_tokens=0).ids])
    start = model.mllm.model.get_input_embeddings()(prompt)[0]
    before, errors = true[:0], []
    for number, token in enumerate(true):
        kind = int(number >= SPATIAL_TOKENS)
        kinds = (torch.arange(number) >= SPATIAL_TOKENS).long()
        standardised = (before - model.input_scale.mean[kinds]) / model.input_scale.spread[kinds]
        embeddings = torch.cat([start, model.projector(standardised)]).unsqueeze(0)
        hidden = model.mllm.model.model(inputs_embeds=embeddings).last_hidden_state[0, -1]
        predicted = model.visual_head.layers(hidden)
        errors.append((predicted - (token - scale.mean[kind]) / scale.spread[kind]).square())
        following = predicted * scale.spread[kind] + scale.mean[kind] if own else token
        before = torch.cat([before, following.unsqueeze(0)])
    return torch.stack(errors)


@pytest.mark.parametrize(("name", "own"), [("teacher_forced", False), ("rollout", True)])
def test_errors_are_means_over_tokens(
    make_model: MakeModel, samples: list[ClipSample], run: Run, name: str, own: bool
) -> None:
    """Also if the longest clip is shorter than the generated ones; spatial and motion tokens have their own means."""
    model = make_model()
    errors = [token_errors(model, sample, own=own) for sample in samples]
    other = [token_errors(model, sample, own=not own) for sample in samples]
    assert torch.cat(errors).mean().item() != pytest.approx(torch.cat(other).mean().item(), rel=0.003)
    for first in (0, 1):
        metrics, _ = run(model, samples[first:])
        for part, tokens in (
            ("", slice(None)),
            ("_spatial", slice(SPATIAL_TOKENS)),
            ("_motion", slice(SPATIAL_TOKENS, None)),
        ):
            expected = torch.cat([one[tokens] for one in errors[first:]]).mean().item()
            assert metrics[f"visual/{name}{part}"] == pytest.approx(expected, rel=1e-4)


def test_clips_of_one_frame_have_no_motion_tokens(make_model: MakeModel, samples: list[ClipSample], run: Run) -> None:
    metrics, _ = run(make_model(), samples[2:3])
    assert "visual/rollout_motion" not in metrics
    assert metrics["visual/rollout_spatial"] == metrics["visual/rollout"]


def test_the_same_seed_gives_identical_results(make_model: MakeModel, samples: list[ClipSample], run: Run) -> None:
    model = make_model(flow=True)
    torch.manual_seed(5)
    metrics, videos = run(model, samples)
    torch.manual_seed(6)
    state = torch.get_rng_state()
    # Training mode, in which an evaluation during training begins, changes nothing either.
    again, same = run(model.train(), samples)
    assert torch.equal(torch.get_rng_state(), state), "torch's random numbers were used"
    assert torch.equal(videos, same)
    assert metrics == again
    other_figures, other = run(model, samples, seed=1)
    assert not torch.equal(videos, other)
    assert metrics["visual/rollout"] != other_figures["visual/rollout"]
    assert metrics["visual/teacher_forced"] == other_figures["visual/teacher_forced"]


def test_a_generated_video_does_not_depend_on_its_batch(
    make_model: MakeModel, samples: list[ClipSample], run: Run
) -> None:
    model = make_model(flow=True)
    _, together = run(model, samples)
    _, alone = run(model, samples[1:2])
    assert len(together) == 3 * len(samples)
    # Reconstructed and generated videos; with only one clip, the control has the clip's own caption.
    for kind in (0, 1):
        assert (together[kind * len(samples) + 1].int() - alone[kind].int()).abs().max() <= 1


def test_sampling_settings_change_the_videos(make_model: MakeModel, samples: list[ClipSample], run: Run) -> None:
    model = make_model(flow=True)
    _, videos = run(model, samples[:1])
    for changes in ({"steps": 5}, {"guidance": 4.0}):
        _, other = run(model, samples[:1], **changes)
        assert all(not torch.equal(video, changed) for video, changed in zip(videos, other, strict=True))
    _, cold = run(model, samples[:1], temperature=0.0)
    assert torch.equal(cold[0], videos[0]), "a reconstruction has nothing drawn by the head"
    assert not torch.equal(cold[1], videos[1])
