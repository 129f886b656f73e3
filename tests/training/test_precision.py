"""trainer.precision=bf16: computed in 16 bits, kept in 32."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vtok.config import compose
from vtok.mllm import LanguageModel
from vtok.training import train
from vtok.training.checkpoint import list_checkpoints

TOLERANCE = 1e-3  # of the loss, over the first steps; a number of bfloat16 is rounded by up to 0.4 %


def losses_of(run_dir: Path) -> list[float]:
    return [float(loss) for loss in re.findall(r"step \d+: .*?\bloss ([\d.]+)", (run_dir / "train.log").read_text())]


def test_bf16_keeps_float32_weights_is_near_fp32_and_resumes_bit_for_bit(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*tiny_run, "scheduler=constant", "trainer.log_every=1"]
    fp32 = train(compose([*settings, "trainer.max_steps=5", "trainer.precision=fp32"]), run_dir=tmp_path / "fp32")
    computed = set()
    logits = LanguageModel.logits

    def seen(mllm: LanguageModel, hidden: torch.Tensor) -> torch.Tensor:
        computed.add(mllm.model.get_output_embeddings()(hidden).dtype)
        return logits(mllm, hidden)

    monkeypatch.setattr(LanguageModel, "logits", seen)
    bf16 = [*settings, "trainer.precision=bf16"]
    whole = train(compose([*bf16, "trainer.max_steps=5"]), run_dir=tmp_path / "whole")
    assert computed == {torch.bfloat16}
    train(compose([*bf16, "trainer.max_steps=2"]), run_dir=tmp_path / "cut")
    resumed = train(compose([*bf16, "trainer.max_steps=5", f"resume={tmp_path / 'cut'}"]))
    assert resumed["digest/trained"] == whole["digest/trained"]

    for name in ("model", "optimiser"):
        saved = load_file(list_checkpoints(tmp_path / "whole" / "checkpoints")[-1] / f"{name}.safetensors")
        kept = {tensor.dtype for key, tensor in saved.items() if not key.startswith("random")}
        assert kept == {torch.float32}, name
    here, truth = losses_of(tmp_path / "whole"), losses_of(tmp_path / "fp32")
    assert len(here) == len(truth) == 5
    assert here == pytest.approx(truth, rel=TOLERANCE)
    assert whole["digest/trained"] != fp32["digest/trained"]
