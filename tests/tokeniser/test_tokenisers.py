from functools import partial

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from vtok.backbone import Backbone, ClipBackbone, TinyBackbone, Vgg19Backbone
from vtok.common.errors import UserError
from vtok.tokeniser import (
    MOTION,
    SPATIAL,
    AttentionPooling,
    CodecMotionTokeniser,
    DeltaTokeniser,
    FramePooling,
    FrameSamplingTokeniser,
    GridPooling,
    KeyFrameTokeniser,
    MeanPooling,
    PlannedFrames,
    VTokTokeniser,
)


class Recorder(Backbone):
    """Features are the pixels themselves, so that tokens can be computed by hand; it counts the frames it is given."""

    def __init__(self) -> None:
        super().__init__(feature_dim=3, image_size=8, stride=1, mean=(0, 0, 0), std=(1, 1, 1))
        self.seen = 0
        self.set_frozen(True)

    def feature_map(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images


def identity_motion(tokeniser: VTokTokeniser) -> VTokTokeniser:
    tokeniser.motion.project = nn.Sequential(nn.Identity())
    return tokeniser


@pytest.fixture
def video() -> Tensor:
    return torch.rand(2, 30, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_spatial_tokens_are_the_key_frames_grid_row_by_row(video: Tensor) -> None:
    tokens = VTokTokeniser(Recorder(), grid_size=4, stride=6)(video)
    for row in range(4):
        for column in range(4):
            patch = video[:, 0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(tokens[:, 4 * row + column], patch.mean((-2, -1)))


def test_motion_tokens_are_g_phi_of_the_mean_residual(video: Tensor) -> None:
    tokeniser = VTokTokeniser(Recorder(), stride=6)
    tokens = tokeniser(video)
    residual = (video[:, [6, 12, 18, 24]] - video[:, :1]).mean((-2, -1))
    torch.testing.assert_close(tokens[:, 16:], tokeniser.motion(residual))


@pytest.mark.parametrize("key", [0, 7, 12, 29])
def test_off_grid_key_frame_keeps_the_token_count(video: Tensor, key: int) -> None:
    tokeniser = identity_motion(VTokTokeniser(Recorder(), stride=6))
    result = tokeniser.encode(video, key_frame=key)
    assert result.tokens.shape == (2, 20, 3)
    plan = tokeniser.plan(30, key)
    others = [index for index in plan.indices if index != key]
    torch.testing.assert_close(result.tokens[:, 16:], (video[:, others] - video[:, [key]]).mean((-2, -1)))
    assert result.timestamps[0].tolist() == [key] * 16 + others
    assert result.kind.tolist() == [SPATIAL] * 16 + [MOTION] * 4
    assert result.mask.all()


def test_one_key_frame_per_sample(video: Tensor) -> None:
    tokeniser = VTokTokeniser(Recorder(), stride=6)
    both = tokeniser(video, key_frame=[3, 20])
    torch.testing.assert_close(both[:1], tokeniser(video[:1], key_frame=3))
    torch.testing.assert_close(both[1:], tokeniser(video[1:], key_frame=20))
    with pytest.raises(ValueError, match="3 key frames for 2 clips"):
        tokeniser(video, key_frame=[1, 2, 3])


def test_only_planned_frames_are_encoded(video: Tensor) -> None:
    backbone = Recorder()
    VTokTokeniser(backbone, stride=6)(video)
    assert backbone.seen == 2 * 5
    backbone.seen = 0
    KeyFrameTokeniser(backbone)(video)
    assert backbone.seen == 2


def test_medoid_is_the_frame_nearest_to_all_others() -> None:
    levels = torch.tensor([0.0, 0.1, 0.45, 0.5, 0.55])
    video = levels.view(1, 5, 1, 1, 1).expand(1, 5, 3, 8, 8)
    result = VTokTokeniser(Recorder(), stride=1, key_frame="medoid").encode(video)
    assert result.timestamps[0, 0] == 2
    assert result.timestamps[0, 16:].tolist() == [0, 1, 3, 4]


def test_sharpest_is_the_frame_with_the_most_detail(video: Tensor) -> None:
    flat = torch.full_like(video, 0.5)
    flat[0, 18], flat[1, 6] = video[0, 18], video[1, 6]
    result = VTokTokeniser(Recorder(), stride=6, key_frame="sharpest").encode(flat)
    assert result.timestamps[:, 0].tolist() == [18, 6]


def test_padding_is_masked_and_never_the_key_frame() -> None:
    frames = torch.rand(2, 5, 3, 8, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    planned = PlannedFrames(frames, torch.tensor([-1, -1]), mask, torch.arange(5.0).expand(2, -1))
    tokeniser = VTokTokeniser(Recorder(), stride=1, key_frame="sharpest")
    result = tokeniser.encode_planned(planned)
    assert result.mask.sum(1).tolist() == [20, 17]
    assert result.timestamps[1, 0] in (0, 1)
    shorter = PlannedFrames(frames[1:, :2], torch.tensor([-1]), mask[1:, :2], torch.arange(2.0).unsqueeze(0))
    torch.testing.assert_close(result.tokens[1:, :17], tokeniser.encode_planned(shorter).tokens)


def test_rivals_have_their_own_counts(video: Tensor) -> None:
    sampling = FrameSamplingTokeniser(Recorder(), grid_size=2, stride=6)
    result = sampling.encode(video)
    assert result.tokens.shape == (2, 20, 3)
    torch.testing.assert_close(result.tokens[:, 4], video[:, 6, :, :4, :4].mean((-2, -1)))
    assert result.timestamps[0].tolist() == [time for time in (0, 6, 12, 18, 24) for _ in range(4)]
    key = KeyFrameTokeniser(Recorder(), key_frame=29)
    torch.testing.assert_close(key(video), VTokTokeniser(Recorder())(video, key_frame=29)[:, :16])


def test_frame_sampling_can_have_the_network_of_motion_tokens(video: Tensor) -> None:
    sampling, vtok = FrameSamplingTokeniser(Recorder(), token_dim=5, mlp=True), VTokTokeniser(Recorder(), token_dim=5)
    first, _, second = vtok.motion.project
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    sampling.spatial.load_state_dict(vtok.motion.state_dict())
    grid = video[:, 6, :, 4:, :4].mean((-2, -1))
    expected = nn.functional.gelu(grid @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(sampling.encode(video).tokens[:, 6], expected)
    sampling(video).sum().backward()
    assert all(one.grad is not None for one in sampling.parameters() if one.requires_grad)


def test_mean_pooling_equals_the_mean_of_the_residual_map() -> None:
    features, key = torch.randn(2, 4, 6, 5, 5), torch.randn(2, 6, 5, 5)
    expected = (features - key.unsqueeze(1)).mean((-2, -1))
    torch.testing.assert_close(MeanPooling(6)(features, key), expected)
    torch.testing.assert_close(GridPooling(6, size=1)(features, key), expected)
    torch.testing.assert_close(AttentionPooling(6)(features, key), expected)


def test_frame_pooling_lacks_the_subtraction_alone() -> None:
    """With a key frame without features both poolings are the same; otherwise only the frame's own mean is left."""
    features, key = torch.randn(2, 4, 6, 5, 5), torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(FramePooling(6)(features, key), MeanPooling(6)(features, torch.zeros_like(key)))
    torch.testing.assert_close(FramePooling(6)(features, key), features.flatten(3).mean(3))


def test_grid_pooling_knows_where() -> None:
    features, key = torch.zeros(1, 1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    features[..., 0, 3] = 4.0
    assert GridPooling(1, size=2)(features, key).tolist() == [[[0.0, 1.0, 0.0, 0.0]]]


def test_attention_pooling_learns_a_place() -> None:
    pooling = AttentionPooling(1, size=4)
    with torch.no_grad():
        pooling.place[0, 0, 1, 2] = 50.0
    features, key = torch.rand(1, 1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    torch.testing.assert_close(pooling(features, key)[0, 0, 0], features[0, 0, 0, 1, 2])


@pytest.mark.parametrize("pooling", [MeanPooling, partial(GridPooling, size=4), AttentionPooling])
def test_gradient_reaches_all_that_is_trained(pooling) -> None:
    tokeniser = VTokTokeniser(TinyBackbone(), token_dim=32, motion_pooling=pooling)
    tokeniser(torch.rand(1, 12, 3, 64, 64)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in tokeniser.parameters())


def test_frozen_half_is_apart_from_the_trained_half(video: Tensor) -> None:
    tokeniser = VTokTokeniser(Recorder(), token_dim=5)
    planned = PlannedFrames(
        video[:, ::6], torch.zeros(2, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 5)
    )
    pooled = tokeniser.extract(planned)
    assert not any(tensor.requires_grad for tensor in pooled.values())
    torch.testing.assert_close(tokeniser.project(pooled, planned).tokens, tokeniser(video))


def test_shapes_of_the_paper_with_clip(tmp_path) -> None:
    small = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=336, patch_size=14
    )
    CLIPVisionModel(small).save_pretrained(tmp_path)
    tokeniser = VTokTokeniser(ClipBackbone(weights=str(tmp_path)), grid_size=4, stride=6)
    assert tokeniser(torch.randn(1, 30, 3, 336, 336)).shape == (1, 20, 1024)


def test_shapes_of_the_paper_with_vgg19() -> None:
    tokeniser = VTokTokeniser(Vgg19Backbone(weights=None), grid_size=4, stride=6)
    assert tokeniser(torch.rand(1, 30, 3, 224, 224)).shape == (1, 20, 512)


@pytest.mark.slow
def test_shapes_of_the_paper_with_the_whole_of_clip() -> None:
    tokeniser = VTokTokeniser(ClipBackbone(weights=None), grid_size=4, stride=6)
    assert tokeniser(torch.randn(1, 30, 3, 336, 336)).shape == (1, 20, 1024)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"grid_size=9.*1 to 8"):
        VTokTokeniser(TinyBackbone(), grid_size=9)
    with pytest.raises(ValueError, match="batch, frames"):
        VTokTokeniser(TinyBackbone())(torch.rand(30, 3, 64, 64))
    with pytest.raises(UserError, match="outside a clip of 12"):
        VTokTokeniser(TinyBackbone())(torch.rand(1, 12, 3, 64, 64), key_frame=12)


@pytest.mark.parametrize(
    "kind", [VTokTokeniser, DeltaTokeniser, FrameSamplingTokeniser, KeyFrameTokeniser, CodecMotionTokeniser]
)
def test_the_number_of_encoded_frames_is_that_of_the_backbones_calls(kind: type) -> None:
    backbone = Recorder()
    tokeniser = kind(backbone)
    plan = tokeniser.plan(30)
    count, grid = len(plan.indices), plan.vector_grid
    tokeniser.encode_planned(
        PlannedFrames(
            frames=torch.rand(1, count, 3, 8, 8),
            key=torch.zeros(1, dtype=torch.long),
            mask=torch.ones(1, count, dtype=torch.bool),
            timestamps=torch.arange(count).float().unsqueeze(0),
            vectors=None if grid is None else torch.zeros(1, count, 3, grid, grid),
        )
    )
    assert tokeniser.num_encoded(count) == backbone.seen
