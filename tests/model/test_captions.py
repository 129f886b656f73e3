"""The text of captions reaches a decoder that reads it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.data import Clip, ClipSample
from vtok.data.plan import StridePlanner
from vtok.decoder import TinyDecoder
from vtok.mllm import ChatTokeniser, TinyLanguageModel
from vtok.mllm.tiny import byte_level_tokenizer
from vtok.model import Objective
from vtok.model.video_language_model import VideoLanguageModel
from vtok.model.visual_states import Sampling
from vtok.tokeniser import VTokTokeniser
from vtok.training.sequences import Collate
from vtok.visual_head import RegressionHead

CAPTIONS = ["a red circle moves left.", "a blue square moves up."]


class RecordingDecoder(TinyDecoder):
    """Records the captions that it is given."""

    def __init__(self, width: int) -> None:
        super().__init__(width, num_frames=4, size=16, heads=2, head_dim=12, double_layers=1, single_layers=1)
        self.captions: list[Sequence[str] | None] = []

    def loss(self, video: Tensor, condition: Tensor, mask: Tensor, *, captions: Sequence[str] | None = None) -> Tensor:
        self.captions.append(captions)
        return super().loss(video, condition, mask, captions=captions)

    def sample(
        self,
        condition: Tensor,
        mask: Tensor,
        *,
        captions: Sequence[str] | None = None,
        seeds: Sequence[int],
        steps: int,
        guidance: float,
    ) -> Tensor:
        self.captions.append(captions)
        return torch.zeros(len(condition), 4, 3, 16, 16, dtype=torch.uint8)


@pytest.fixture
def model() -> VideoLanguageModel:
    return VideoLanguageModel(
        tokeniser=VTokTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2, stride=1),
        mllm=TinyLanguageModel(width=32, layers=1, heads=2),
        visual_head=RegressionHead,
        decoder=RecordingDecoder,
        objective=Objective(),
    )


def samples() -> list[ClipSample]:
    pixels = torch.zeros(3, 3, 64, 64, dtype=torch.uint8)
    target = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    return [
        ClipSample(pixels, torch.arange(3.0), 0, Clip(name, Path(f"{name}.mp4"), caption), 0, (), target)
        for name, caption in zip("ab", CAPTIONS, strict=True)
    ]


def collated(chat: ChatTokeniser, **settings: float) -> Collate:
    return Collate(chat, StridePlanner(1), 1024, None, 1.0, 0, Objective(**settings))


@pytest.mark.parametrize("caption_dropout", [0.0, 0.5, 1.0])
def test_the_prompts_of_a_batch_are_the_captions_that_the_language_model_reads(caption_dropout: float) -> None:
    chat = ChatTokeniser(byte_level_tokenizer())
    collate = collated(chat, caption_dropout=caption_dropout)
    found = set()
    for epoch in range(12):
        batch = collate([ClipSample(**{**vars(sample), "epoch": epoch}) for sample in samples()])
        assert not isinstance(batch, UserError)
        assert batch.captions is not None
        assert batch.prompts is not None
        for row, prompt in enumerate(batch.prompts):
            expected = chat.encode_video(prompt, num_video_tokens=int((batch.captions.ids[row] == chat.video_id).sum()))
            assert batch.captions.ids[row][batch.captions.mask[row]].tolist() == expected.ids
        assert batch.to(torch.device("cpu")).prompts == batch.prompts
        found |= set(batch.prompts)
    assert found == {0.0: {*CAPTIONS}, 0.5: {*CAPTIONS, ""}, 1.0: {""}}[caption_dropout]
    without = collated(chat, lambda_visLM=0.0, lambda_dec=0.0)(samples())
    assert not isinstance(without, UserError)
    assert without.prompts is None


def test_a_decoder_gets_the_captions_in_training_and_in_sampling(model: VideoLanguageModel) -> None:
    decoder = model.decoder
    assert isinstance(decoder, RecordingDecoder)
    batch = Collate(model.mllm.chat, model.tokeniser.planner, 1024, None, 1.0, 0, Objective())(samples())
    assert not isinstance(batch, UserError)
    model(batch)
    sampling = Sampling(steps=1, guidance=1.0, temperature=0.0)
    model.eval()
    model.generate(CAPTIONS, num_planned=3, seeds=[1, 2], sampling=sampling)
    model.reconstruct(batch.video, captions=CAPTIONS, seeds=[1, 2], sampling=sampling)
    model.reconstruct(batch.video, seeds=[1, 2], sampling=sampling)
    assert [None if one is None else list(one) for one in decoder.captions] == [CAPTIONS, CAPTIONS, CAPTIONS, None]
