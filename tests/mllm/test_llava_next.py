import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from vtok.backbone import ClipBackbone, TinyBackbone
from vtok.common.errors import UserError
from vtok.decoder import NoDecoder
from vtok.hub import toys
from vtok.mllm import LanguageModel, LlavaNextLanguageModel, VisualProjector
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import stack_text
from vtok.tokeniser import FrameSamplingTokeniser
from vtok.visual_head import NoVisualHead

VISION = {
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
    "projection_dim": 8,
}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return toys.tokenizer()


@pytest.fixture
def llava(tokenizer: PreTrainedTokenizerFast) -> LlavaNextForConditionalGeneration:
    torch.manual_seed(0)
    return toys.llava_next(tokenizer, width=16, vision=CLIPVisionConfig(**VISION)).eval()


@pytest.fixture
def folder(llava: LlavaNextForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    llava.save_pretrained(tmp_path / "llava")
    tokenizer.save_pretrained(tmp_path / "llava")
    return tmp_path / "llava"


def model_with(mllm: LanguageModel, backbone: ClipBackbone | TinyBackbone) -> VideoLanguageModel:
    return VideoLanguageModel(
        tokeniser=FrameSamplingTokeniser(backbone, grid_size=4, stride=1),
        mllm=mllm,
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(lambda_under=1.0, lambda_visLM=0.0, lambda_dec=0.0),
    )


def test_logits_are_those_of_transformers_llava_next(
    llava: LlavaNextForConditionalGeneration, folder: Path, tmp_path: Path
) -> None:
    """CLIP's patch features go through the projector into the text, once in transformers and once in VTok."""
    vision = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
    vision.save_pretrained(tmp_path / "clip")
    backbone = ClipBackbone(tmp_path / "clip", layer=-2)
    model = model_with(LlavaNextLanguageModel(folder), backbone).eval()
    chats = [
        model.mllm.chat.encode([("which way " * number, "left")], num_video_tokens=16 * frames)
        for number, frames in ((1, 2), (4, 1))
    ]
    text = stack_text(chats, pad_id=model.mllm.chat.pad_id)
    frames = torch.rand(3, 3, 28, 28)
    with torch.no_grad():
        images = (frames - backbone.mean) / backbone.std
        patches = vision(images, output_hidden_states=True).hidden_states[-2][:, 1:]
        projected = llava.model.multi_modal_projector(patches)
        embeddings = llava.get_input_embeddings()(text.ids)
        places = (text.ids == llava.config.image_token_index).unsqueeze(-1).expand_as(embeddings)
        embeddings = embeddings.masked_scatter(places, projected)
        expected = llava(inputs_embeds=embeddings, attention_mask=text.mask.long()).logits

        features = backbone(frames).flatten(2).transpose(1, 2)
        video = torch.zeros(2, 32, 12)
        video[0], video[1, :16] = features[:2].flatten(0, 1), features[2]
        there = torch.arange(32) < torch.tensor([[32], [16]])
        ours = model.mllm.embed(text.ids, model.projector(video), there)
        logits = model.mllm.logits(model.mllm.hidden_states(ours))
    assert text.mask.sum(1).unique().numel() == 2
    torch.testing.assert_close(logits[text.mask], expected[text.mask], atol=1e-5, rtol=0)


def test_gradient_checkpointing_gives_the_same_gradients(folder: Path) -> None:
    embeddings = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))
    mask, found = torch.arange(7) < torch.tensor([[7], [4]]), []
    for checkpointing in (False, True):
        mllm = LlavaNextLanguageModel(folder, gradient_checkpointing=checkpointing)
        calls: list[int] = []
        mllm.model.base_model.layers[0].input_layernorm.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        given = embeddings.clone().requires_grad_()
        mllm.logits(mllm.hidden_states(given))[mask].square().mean().backward()
        assert len(calls) == 1 + checkpointing
        found.append({"given": given.grad} | {name: one.grad for name, one in mllm.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=0)
    assert found[0]["given"].abs().max() > 0


def test_the_vision_tower_is_dropped(llava: LlavaNextForConditionalGeneration, folder: Path) -> None:
    mllm = LlavaNextLanguageModel(folder)
    count = sum(one.numel() for one in mllm.parameters())
    text = [*llava.model.language_model.parameters(), *llava.lm_head.parameters()]
    assert count == sum(one.numel() for one in text)
    assert not any(one.is_meta for one in (*mllm.parameters(), *mllm.buffers()))
    assert mllm.chat.video_id == llava.config.image_token_index


def test_phi_vis_starts_from_the_projector_or_from_random_weights(
    llava: LlavaNextForConditionalGeneration, folder: Path
) -> None:
    projector = VisualProjector(token_dim=12, width=16)
    before = {name: tensor.clone() for name, tensor in projector.state_dict().items()}
    LlavaNextLanguageModel(folder, projector=False).initialise_projector(projector, depth=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in projector.state_dict().items())
    LlavaNextLanguageModel(folder, dtype="bfloat16", frozen=True).initialise_projector(projector, depth=None)
    assert projector[0].weight.dtype == torch.float32
    torch.testing.assert_close(
        projector[0].weight, llava.model.multi_modal_projector.linear_1.weight.bfloat16().float()
    )


def test_a_projector_for_another_layer_is_refused(
    llava: LlavaNextForConditionalGeneration, folder: Path, tmp_path: Path
) -> None:
    """By its config, this LLaVA uses the second last of three layers of its vision tower."""
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(tmp_path / "clip")
    last = ClipBackbone(tmp_path / "clip")
    with pytest.raises(UserError, match=r"hidden states 2 .* hidden state 3\. Set backbone\.layer=2"):
        model_with(LlavaNextLanguageModel(folder), last)
    model = model_with(LlavaNextLanguageModel(folder), ClipBackbone(tmp_path / "clip", layer=2))
    assert torch.equal(model.projector[0].weight, llava.model.multi_modal_projector.linear_1.weight)
    llava.config.vision_feature_layer = -1
    llava.save_pretrained(folder)
    model_with(LlavaNextLanguageModel(folder), last)


def test_the_places_of_video_tokens_are_encoded_if_asked_for(folder: Path) -> None:
    backbone = TinyBackbone(feature_dim=12, width=8)
    for wanted in (False, True):
        model = model_with(LlavaNextLanguageModel(folder, encode_places=wanted), backbone)
        assert (model.places is not None) == wanted


def test_a_projector_for_another_width_is_refused(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"mllm\.projector=true: .* width 12, .* width 8\. Use a backbone.*tokeniser\.token_dim=12"
    ):
        model_with(LlavaNextLanguageModel(folder), TinyBackbone(feature_dim=8, width=8))


def test_random_weights_are_llama_3_8b_on_the_meta_device_too(caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"), caplog.at_level(logging.WARNING):
        mllm = LlavaNextLanguageModel(weights=None, dtype="bfloat16", lora={"rank": 8}, gradient_checkpointing=True)
        model = model_with(mllm, ClipBackbone(weights=None))
    assert "RANDOM weights" in caplog.text
    frozen = sum(one.numel() for one in mllm.parameters() if not one.requires_grad)
    # Meta-Llama-3-8B has 8,030,261,248 parameters of 128,256 rows; LLaVA-NeXT has 64 more in each of two tables.
    assert frozen == 8_030_261_248 + 2 * 64 * 4096
    assert mllm.context_length == 8192
    assert all(one.is_meta for one in model.projector.parameters())
    assert mllm.chat.encode([("a", "b")], num_video_tokens=2).ids.count(mllm.chat.video_id) == 2


def test_another_model_is_refused(save_lm: Callable[..., Path]) -> None:
    with pytest.raises(
        UserError, match=r"^mllm\.weights=.*model_type is qwen2.*mllm\.weights=PATH.*mllm\.weights=null"
    ):
        LlavaNextLanguageModel(save_lm())


@pytest.mark.usefixtures("no_network")
def test_without_weights_the_error_is_quick_and_one_line() -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^mllm\.weights=.*the hub cannot be reached.*mllm\.weights=PATH") as error:
        LlavaNextLanguageModel("vtok-tests/a-model-that-no-cache-holds")
    assert time.monotonic() - start < 5
    assert len(str(error.value).splitlines()) == 1
