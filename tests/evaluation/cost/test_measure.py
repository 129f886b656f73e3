"""The counts of `vtok cost`, compared with closed forms; times are not tested."""

import json
from pathlib import Path

import pytest
import torch

from vtok.cli.main import main
from vtok.cli.verbs.cost import config_of
from vtok.common.errors import UserError
from vtok.evaluation.cost import timing
from vtok.evaluation.cost.measure import QUESTION, Cost, Measurement, loaded_model, measure
from vtok.tokeniser import base

SMALL = ["backbone.feature_dim=16", "backbone.width=8", "mllm.width=32", "mllm.layers=1", "mllm.heads=2"]


def costs(frames: int, *names: str) -> dict[str, Cost]:
    given = [*SMALL, "backbone.frozen=true"]
    return measure({name: config_of(name, frames, given) for name in names}, runs=2, every_frame=frames <= 12)


def test_tokens_frames_and_operations() -> None:
    short, long = costs(12, "vtok", "frame_sampling", "key_frame"), costs(60, "vtok", "frame_sampling")
    assert [cost.tokens for cost in short.values()] == [16 + 1, 2 * 4, 16]
    assert [cost.encoded_frames for cost in short.values()] == [2, 2, 1]
    assert [cost.tokens for cost in long.values()] == [16 + 9, 10 * 4]
    # The backbone does the same for each frame, and VTok alone has a network of its own: two layers a motion token.
    assert short["vtok"].backbone_flops == 2 * short["key_frame"].backbone_flops
    assert long["vtok"].backbone_flops == 5 * short["vtok"].backbone_flops
    assert long["vtok"].encode_flops - long["vtok"].backbone_flops == 9 * 2 * 2 * 16 * 16
    assert long["frame_sampling"].encode_flops == long["frame_sampling"].backbone_flops
    for cost in (*short.values(), *long.values()):
        assert len(cost.encode) == len(cost.own) == len(cost.backbone) == len(cost.prefill) == len(cost.step) == 2
        assert min(cost.encode_bytes, cost.prefill_bytes) > 0
        assert json.dumps(cost.row())
    assert [len(cost.every_frame) for cost in (*short.values(), *long.values())] == [2, 2, 2, 0, 0]


def test_codec_motion_encodes_only_the_key_frame() -> None:
    given = costs(12, "codec_motion", "key_frame")
    assert [(cost.encoded_frames, cost.tokens) for cost in given.values()] == [(1, 16 + 1), (1, 16)]
    assert given["codec_motion"].backbone_flops == given["key_frame"].backbone_flops
    # Two layers on 8 x 8 cells of motion right, down and known.
    motion = given["codec_motion"].encode_flops - given["codec_motion"].backbone_flops
    assert motion == 2 * (3 * 8 * 8 * 16 + 16 * 16)


def test_the_question_that_a_tokeniser_reads_is_counted() -> None:
    config = config_of("llama_vid", 12, SMALL)
    chat = loaded_model(config).mllm.chat
    prompt = len(chat.encode_prompt(QUESTION, num_video_tokens=8))
    given = costs(12, "llama_vid", "frame_sampling")
    assert [cost.tokens for cost in given.values()] == [8, 8]
    # 4 frames of 8 x 8 places and 16 features: scores, the mean over words, the sum of features, two linear layers. All
    # places of the prompt have a query, and those that are no words of the question a weight of 0.
    attention = 2 * 4 * 64 * (prompt * 16 + prompt + 16) + 2 * 2 * 4 * 16 * 16
    assert given["llama_vid"].encode_flops - given["llama_vid"].backbone_flops == attention
    # One linear layer makes the queries.
    assert given["llama_vid"].prefill_flops - given["frame_sampling"].prefill_flops == 2 * prompt * 32 * 16


def test_a_tokenisers_own_time_excludes_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own: the backbone takes 3 a call, of which there are two, and the projection 1."""
    now = 0.0

    def tick(seconds: float) -> None:
        nonlocal now
        now += seconds

    config = config_of("vtok", 12, [*SMALL, "backbone.frozen=true"])
    measurement = Measurement(config, loaded_model(config))
    tokeniser = measurement.model.tokeniser
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    monkeypatch.setattr(base, "PIXELS_AT_ONCE", 1)
    tokeniser.backbone.register_forward_pre_hook(lambda *_: tick(3))
    tokeniser.spatial.register_forward_pre_hook(lambda *_: tick(1))
    measurement.time_round()
    assert (measurement.cost.encode, measurement.cost.own, measurement.cost.backbone) == ([7], [1], [6])
    assert measurement.cost.overhead == [1 / 6]


def test_the_prefill_ends_where_the_answer_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("vtok", 12, SMALL)
    measurement = Measurement(config, loaded_model(config))
    read: list[int] = []
    hidden_states = measurement.model.mllm.hidden_states

    def reads(embeddings: torch.Tensor) -> torch.Tensor:
        read.append(embeddings.shape[1])
        return hidden_states(embeddings)

    monkeypatch.setattr(measurement.model.mllm, "hidden_states", reads)
    measurement.run_prefill()
    chat = measurement.model.mllm.chat
    assert read == [len(chat.encode_prompt(QUESTION, num_video_tokens=16 + 1))]


def test_the_context_is_long_enough_for_the_clip_by_default() -> None:
    assert config_of("frame_sampling", 1920, SMALL).mllm.context_length > 320 * 4
    with pytest.raises(UserError, match=r"mllm\.context_length=1000"):
        config_of("frame_sampling", 1920, [*SMALL, "mllm.context_length=1000"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "cost.json", tmp_path / "cost.png"
    given = [*SMALL, "frames=[12,30]", "tokenisers=[vtok,resampler]", "runs=1"]
    assert main(["cost", *given, f"out={out}", f"plot={plot}"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1 + 2 * 2
    assert json.loads(out.read_text())["frames"]["30"]["vtok"]["tokens"] == 20
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["cost", "frames=[a]"]) == 1
    assert "frames=[a]: must be a list of integers >= 1 (at least 1 item)" in capsys.readouterr().err
    assert main(["cost", "frames=[12]", "objective=generation", "visual_head=flow"]) == 1
    assert "objective.lambda_visLM=1: vtok cost only measures the understanding branch. Set" in capsys.readouterr().err
