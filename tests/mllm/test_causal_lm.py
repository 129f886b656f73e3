import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Dinov2Config,
    Gemma2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Qwen3Config,
    SmolLM3Config,
)

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.decoder import NoDecoder
from vtok.mllm import IGNORED, CausalLanguageModel, LanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import Batch, Text, stack_text
from vtok.tokeniser import KeyFrameTokeniser, PlannedFrames
from vtok.visual_head import NoVisualHead

Save = Callable[..., Path]
TURNS = [("which way?", "to the left"), ("what is it?", "a ball")]


def model_with(mllm: LanguageModel) -> VideoLanguageModel:
    torch.manual_seed(1)
    return VideoLanguageModel(
        tokeniser=KeyFrameTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2),
        mllm=mllm,
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(lambda_under=1.0, lambda_visLM=0.0, lambda_dec=0.0),
    )


def batch_of(model: VideoLanguageModel, rows: int = 2) -> Batch:
    torch.manual_seed(2)
    frames = torch.randint(0, 256, (rows, 1, 3, 64, 64), dtype=torch.uint8)
    video = PlannedFrames(
        frames, torch.zeros(rows, dtype=torch.long), torch.ones(rows, 1, dtype=torch.bool), torch.zeros(rows, 1)
    )
    chats = [
        model.mllm.chat.encode([("which way " * (3 * row + 1), "left " * (row + 1))], num_video_tokens=4)
        for row in range(rows)
    ]
    return Batch(video=video, text=stack_text(chats, pad_id=model.mllm.chat.pad_id))


def gradients(mllm: LanguageModel) -> dict[str, torch.Tensor]:
    model = model_with(mllm)
    model(batch_of(model))["loss"].backward()
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "gemma2"])
def test_loss_is_that_of_transformers(save_lm: Save, lm_sizes: dict[str, int], architecture: str) -> None:
    """Gemma 2 caps its logits; the cap is low here to have an effect."""
    config = {
        "qwen2": None,
        "qwen3": Qwen3Config(head_dim=8, **lm_sizes),
        "llama": LlamaConfig(tie_word_embeddings=True, **lm_sizes),
        "gemma2": Gemma2Config(head_dim=8, final_logit_softcapping=0.05, **lm_sizes),
    }[architecture]
    folder = save_lm(config)
    mllm = CausalLanguageModel(folder).eval()
    chat = mllm.chat.encode(TURNS, num_video_tokens=0)
    ids, targets = torch.tensor([chat.ids]), torch.tensor([chat.targets])
    # transformers' labels are at the predicted tokens themselves.
    labels = targets.roll(1, dims=1)
    nothing = torch.zeros(1, 0, mllm.width)
    own = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        embeddings = mllm.embed(ids, nothing, torch.zeros(1, 0, dtype=torch.bool))
        hidden = mllm.hidden_states(embeddings)
        logprobs = mllm.score_answers(hidden, targets).logprobs
        expected = own(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(-logprobs.sum() / (targets != IGNORED).sum(), expected)


# Models with a window or with ALiBi, and those that take no positions, read each turn in a row of its own.
BRANCHES = {
    "qwen2": (None, True),
    "qwen3": (Qwen3Config, True),
    "llama": (LlamaConfig, True),
    "smollm3": (partial(SmolLM3Config, pad_token_id=None), True),
    "olmo2": (Olmo2Config, True),
    "gpt_neox": (GPTNeoXConfig, True),
    "opt": (partial(OPTConfig, ffn_dim=32, word_embed_proj_dim=16), True),
    "gpt_neo": (partial(GPTNeoConfig, attention_types=[[["global", "local"], 1]], num_layers=2), False),
    "gemma2": (Gemma2Config, False),
    "mistral": (partial(MistralConfig, sliding_window=8), False),
    "bloom": (BloomConfig, False),
}


@pytest.mark.parametrize("architecture", BRANCHES)
def test_a_branch_is_read_as_if_it_were_alone(save_lm: Save, lm_sizes: dict[str, int], architecture: str) -> None:
    config, reads = BRANCHES[architecture]
    mllm = CausalLanguageModel(save_lm(None if config is None else config(**lm_sizes))).eval()
    assert mllm.reads_branches is reads
    if not reads:
        return
    turns = [("which way " * 3, "left"), ("what colour?", "a dark green"), ("which way is it?", "up")]
    chat = mllm.chat.encode_branches(turns, num_video_tokens=3)
    video, there = torch.randn(1, 3, mllm.width), torch.ones(1, 3, dtype=torch.bool)
    seen_until = torch.tensor([chat.seen_until])
    with torch.no_grad():
        states = mllm.hidden_states(mllm.embed(torch.tensor([chat.ids]), video, there), seen_until=seen_until)
        for number, turn in enumerate(turns, start=1):
            last = max(place for place, one in enumerate(chat.turn) if one == number)
            here = [place for place, end in enumerate(chat.seen_until) if place <= last < end]
            alone = mllm.chat.encode([turn], num_video_tokens=3)
            assert [chat.ids[place] for place in here] == alone.ids[: len(here)]
            assert set(alone.targets[len(here) :]) == {IGNORED}
            expected = mllm.hidden_states(mllm.embed(torch.tensor([alone.ids]), video, there))
            torch.testing.assert_close(states[0, here], expected[0, : len(here)], atol=1e-5, rtol=1e-4)


def test_an_architecture_that_scales_its_logits_is_refused(save_lm: Save, lm_sizes: dict[str, int]) -> None:
    folder = save_lm(CohereConfig(logit_scale=0.25, **lm_sizes))
    with pytest.raises(UserError, match=r"^mllm\.weights=.*CohereForCausalLM changes hidden states before"):
        CausalLanguageModel(folder)


def test_the_video_token_is_added_without_an_embedding(save_lm: Save) -> None:
    folder = save_lm()
    mllm = CausalLanguageModel(folder, video_token="<clip>")
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert mllm.model.get_input_embeddings().weight.shape[0] == rows == mllm.chat.video_id
    assert mllm.chat.encode([("a", "b")], num_video_tokens=3).ids.count(mllm.chat.video_id) == 3
    assert mllm.chat.pad_id < rows
    # Tied embeddings stay one parameter, which is trained and saved once.
    assert sum("embed" in name or "lm_head" in name for name, _ in mllm.named_parameters()) == 1


def test_each_loss_in_a_batch_is_its_loss_alone(save_lm: Save) -> None:
    model = model_with(CausalLanguageModel(save_lm())).eval()
    batch = batch_of(model, 3)
    assert len(set(batch.text.mask.sum(1).tolist())) == 3
    with torch.no_grad():
        video = model.tokeniser.encode_planned(batch.video)
        together = model.text_scores(video, batch.text).logprobs.sum(1)
        for row in range(3):
            here, size = slice(row, row + 1), int(batch.text.mask[row].sum())
            text = Text.of(*(part[here, :size] for part in (batch.text.ids, batch.text.targets, batch.text.mask)))
            planned = PlannedFrames(*(part[here] for part in vars(batch.video).values() if part is not None))
            alone = -model(Batch(video=planned, text=text))["loss"] * (text.targets != IGNORED).sum()
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


def test_the_places_of_video_tokens_are_encoded_if_asked_for(save_lm: Save) -> None:
    folder = save_lm()
    for wanted in (False, True):
        model = model_with(CausalLanguageModel(folder, encode_places=wanted))
        assert (model.places is not None) == wanted


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_steps_leave_a_frozen_model_and_random_numbers_alone(
    save_lm: Save, lm_sizes: dict[str, int], checkpointing: bool
) -> None:
    """OPT has dropout inside its layers."""
    config = OPTConfig(
        vocab_size=lm_sizes["vocab_size"], hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, word_embed_proj_dim=16, dropout=0.5,
    )  # fmt: skip
    mllm = CausalLanguageModel(save_lm(config), frozen=True, gradient_checkpointing=checkpointing)
    model = model_with(mllm)
    before = {name: tensor.clone() for name, tensor in mllm.state_dict().items()}
    trained = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    first = [one.detach().clone() for one in model.projector.parameters()]
    model.train()
    batch, losses = batch_of(model), set()
    state = torch.get_rng_state()
    for _ in range(3):
        loss = model(batch)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.add(loss.item())
    assert len(losses) == 3
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in mllm.state_dict().items())
    assert not any(one.requires_grad for one in mllm.parameters())
    assert not any(torch.equal(old, new) for old, new in zip(first, model.projector.parameters(), strict=True))
    model.eval()
    assert not any(one.training for one in model.modules())


@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(save_lm: Save, frozen: bool) -> None:
    folder = save_lm()
    plain = gradients(CausalLanguageModel(folder, frozen=frozen))
    mllm = CausalLanguageModel(folder, frozen=frozen, gradient_checkpointing=True)
    calls = []
    mllm.model.model.layers[0].input_layernorm.register_forward_hook(lambda *_: calls.append(1))
    again = gradients(mllm)
    assert len(calls) == 2
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=0)


def test_bfloat16_trains_phi_vis_and_answers(save_lm: Save) -> None:
    model = model_with(CausalLanguageModel(save_lm(), dtype="bfloat16", frozen=True))
    batch = batch_of(model)
    model(batch)["loss"].backward()
    assert all(one.grad.dtype == torch.float32 for one in model.projector.parameters())
    assert len(model.eval().describe(batch.video, ["what?", "which way?"], max_new_tokens=3)) == 2


def test_context_length(save_lm: Save) -> None:
    folder = save_lm()
    assert CausalLanguageModel(folder).context_length == 256
    assert CausalLanguageModel(folder, context_length=100).context_length == 100
    with pytest.raises(UserError, match=r"mllm\.context_length=257: this model takes 256 tokens\. Use 256 or fewer"):
        CausalLanguageModel(folder, context_length=257)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vtok-tests/a-model-that-no-cache-holds", "the hub cannot be reached"),
        ("/nowhere/lm", "no such folder"),
    ],
)
def test_without_weights_the_error_is_quick_and_one_line(name: str, reason: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"^mllm\.weights=.*{reason}.*mllm\.weights=PATH.*mllm=tiny") as error:
        CausalLanguageModel(name)
    assert time.monotonic() - start < 5
    assert len(str(error.value).splitlines()) == 1


def test_incomplete_folders_are_refused(save_lm: Save, lm_sizes: dict[str, int]) -> None:
    folder = save_lm(LlamaConfig(**lm_sizes))
    with pytest.raises(UserError, match=r"mllm\.dtype=float8: unknown dtype\. Use float32"):
        CausalLanguageModel(folder, dtype="float8")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match="of its parameters are missing"):
        CausalLanguageModel(folder)
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 15}))
    with pytest.raises(UserError, match="that can be read"):
        CausalLanguageModel(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no decoder-only language model .* \(it has no tokenizer\.json\)\. Set mllm"):
        CausalLanguageModel(folder)
    Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2).save_pretrained(folder)
    with pytest.raises(UserError, match=r"no decoder-only language model .* \(its model_type is dinov2\)\. Set mllm"):
        CausalLanguageModel(folder)
