"""Which part is where, and when.

A second device that a machine without a GPU has is "meta", to which weights go but never come back from: the parts are
there from the start, and where they were told to go is written down instead. A GPU's own test is at the end.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from vtok.decoder import HunyuanVideoDecoder, WanDecoder, place
from vtok.decoder.clip_text import ClipText
from vtok.decoder.latent import LatentDecoder
from vtok.hub import toys

DIM = 16
NAMES = ("vae", "clip_text", "transformer", "transformer_2")


@pytest.fixture(scope="module")
def hunyuan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hunyuan")
    torch.manual_seed(0)
    toys.hunyuan_video(text_dim=DIM).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def two_experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    toys.wan(text_dim=DIM, boundary_ratio=0.875).save_pretrained(path)
    return path


def hunyuan_decoder(folder: Path, **settings: Any) -> HunyuanVideoDecoder:
    return HunyuanVideoDecoder(
        DIM, weights=folder, dtype="float32", num_frames=5, size=32, condition_dropout=0.0, **settings
    )


def wan_decoder(folder: Path, **settings: Any) -> WanDecoder:
    torch.manual_seed(0)
    return WanDecoder(
        DIM, weights=folder, dtype="float32", num_frames=5, size=32, text_length=9, condition_dropout=0.0, **settings
    )


def with_clip_text(decoder: HunyuanVideoDecoder) -> HunyuanVideoDecoder:
    """A text encoder whose tokenizer says the same of all captions."""

    class Words:
        def __call__(self, captions: list[str], **_: object) -> Any:
            return type("Encoded", (), {"input_ids": torch.full((len(captions), 77), 5)})

    model = CLIPTextModel(
        CLIPTextConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    decoder.clip_text = ClipText(model, Words())
    return decoder


def given(device: str) -> tuple[Tensor, Tensor]:
    """A condition and its mask."""
    condition = torch.randn(2, 4, DIM, generator=torch.Generator().manual_seed(1))
    return condition.to(device), torch.ones(2, 4, dtype=torch.bool, device=device)


class Diary:
    """Where the parts of a decoder are, and each run of one, with those that were on the device beside it."""

    def __init__(self, decoder: LatentDecoder) -> None:
        self.where = {name: "cpu" for name in NAMES if getattr(decoder, name, None) is not None}
        self.runs: list[tuple[str, set[str]]] = []
        self.parts = {getattr(decoder, name): name for name in self.where}

    def note(self, name: str) -> None:
        """A part begins to run."""
        assert self.where[name] == "meta", f"{name} runs where it is not"
        beside = {other for other, device in self.where.items() if device != "cpu"} - {name}
        if self.runs[-1:] != [(name, beside)]:
            self.runs.append((name, beside))


@contextmanager
def watched(decoder: LatentDecoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Diary]:
    decoder.to("meta")
    diary = Diary(decoder)
    for part, name in diary.parts.items():
        # Within a part, for the pipeline's hooks move it when its own `forward` begins.
        for inner in [one for key, one in part.named_children() if key in ("encoder", "decoder", "model", "proj_out")]:
            inner.register_forward_pre_hook(lambda *_, name=name: diary.note(name))

    def to(module: nn.Module, device: Any, *_: object, **__: object) -> nn.Module:
        if module in diary.parts:
            diary.where[diary.parts[module]] = torch.device(device).type
        return module

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "to", to)
        # "meta" has no autocast, no cache to be emptied, and no times that a pipeline could compare.
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        steps = UniPCMultistepScheduler.set_timesteps
        patch.setattr(UniPCMultistepScheduler, "set_timesteps", lambda self, number, **_: steps(self, number))
        patch.setattr("diffusers.pipelines.pipeline_utils.empty_device_cache", lambda _: None)
        yield diary


def test_one_part_at_a_time_makes_a_video(hunyuan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = with_clip_text(hunyuan_decoder(hunyuan, offload=True))
    with watched(decoder, monkeypatch) as diary:
        for _ in range(2):
            decoder.sample(*given("meta"), seeds=[1, 2], steps=2, guidance=3.0)
            assert set(diary.where.values()) == {"cpu"}
    assert diary.runs == 2 * [("clip_text", set()), ("transformer", set()), ("vae", set())]
    assert not any(hasattr(module, "_hf_hook") for module in decoder.modules())


def test_an_expert_makes_room_for_the_other(two_experts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = wan_decoder(two_experts, offload=True)
    with watched(decoder, monkeypatch) as diary:
        decoder.sample(*given("meta"), seeds=[1, 2], steps=4, guidance=1.0)
    assert diary.runs == [("transformer", set()), ("transformer_2", set()), ("vae", set())]
    assert set(diary.where.values()) == {"cpu"}


def test_in_training_the_transformer_stays_and_its_aides_go(
    hunyuan: Path, clips: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = with_clip_text(hunyuan_decoder(hunyuan, offload=True, gradient_checkpointing=False))
    with watched(decoder, monkeypatch) as diary:
        for _ in range(2):
            decoder.loss(clips.to("meta"), *given("meta"))
            assert diary.where == {"vae": "cpu", "clip_text": "cpu", "transformer": "meta"}
    first = [("vae", set()), ("clip_text", {"transformer"}), ("transformer", set())]
    assert diary.runs == [*first, ("vae", {"transformer"}), *first[1:]]


def test_a_part_goes_back_when_it_fails(hunyuan: Path, clips: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = hunyuan_decoder(hunyuan, offload=True)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    with watched(decoder, monkeypatch) as diary:
        monkeypatch.setattr(decoder.vae, "_decode", fail)
        monkeypatch.setattr(decoder.vae, "_encode", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            decoder.sample(*given("meta"), seeds=[1, 2], steps=1, guidance=1.0)
        assert set(diary.where.values()) == {"cpu"}
        with pytest.raises(RuntimeError, match="out of memory"):
            decoder.loss(clips.to("meta"), *given("meta"))
        assert set(diary.where.values()) == {"cpu"}
    assert not any(hasattr(module, "_hf_hook") for module in decoder.modules())


def test_a_model_is_placed_without_what_waits(two_experts: Path) -> None:
    decoder = wan_decoder(two_experts, offload=True)
    model = nn.ModuleDict({"decoder": decoder, "other": nn.BatchNorm1d(2)})
    names = list(model.state_dict())
    place(model, "meta", offloaded=decoder.offloaded)
    waits = ("decoder.vae.", "decoder.transformer.", "decoder.transformer_2.")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert tensor.device.type == ("cpu" if name.startswith(waits) else "meta"), name
    assert list(model.state_dict()) == names
    assert not wan_decoder(two_experts).offloaded


@pytest.mark.parametrize("make", ["hunyuan", "two_experts"])
def test_without_a_gpu_nothing_changes(make: str, clips: Tensor, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(make)
    build: Callable[..., LatentDecoder] = hunyuan_decoder if make == "hunyuan" else wan_decoder
    found = []
    for offload in (False, True):
        decoder = build(folder, offload=offload)
        torch.manual_seed(0)
        condition, mask = given("cpu")
        loss = decoder.loss(clips, condition.requires_grad_(), mask)
        loss.backward()
        video = decoder.sample(*given("cpu"), seeds=[1, 2], steps=2, guidance=1.0)
        found.append((list(decoder.state_dict()), loss.detach(), video.float()))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1:], found[1][1:], atol=1.0, rtol=0)
    torch.testing.assert_close(found[0][1], found[1][1])


@pytest.mark.gpu
@pytest.mark.parametrize("make", ["hunyuan", "two_experts"])
def test_on_a_gpu_it_is_the_same_and_takes_less(make: str, clips: Tensor, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(make)
    build: Callable[..., LatentDecoder] = hunyuan_decoder if make == "hunyuan" else wan_decoder
    found = []
    for offload in (False, True):
        decoder = build(folder, offload=offload)
        place(decoder, "cuda", offloaded=decoder.offloaded)
        torch.manual_seed(0)
        condition, mask = given("cuda")
        loss = decoder.loss(clips.cuda(), condition.requires_grad_(), mask)
        loss.backward()
        devices = {one.device.type for one in decoder.vae.parameters()}
        assert devices == ({"cpu"} if offload else {"cuda"})
        video = decoder.sample(condition, mask, seeds=[1, 2], steps=2, guidance=1.0)
        assert video.is_cuda
        left = sum(one.numel() for one in decoder.parameters() if one.is_cuda)
        found.append((loss.detach(), condition.grad, video.float(), left))
    torch.testing.assert_close(found[0][:2], found[1][:2])
    assert (found[0][2] - found[1][2]).abs().max() <= 1
    assert found[1][3] < found[0][3] / 10
