"""trainer.precision=bf16: operations in 16 bits, weights in 32."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.mllm import LanguageModel
from vtok.training import train
from vtok.training.checkpoint import list_checkpoints
from vtok.training.precision import mixed_precision

TOLERANCE = 1e-3  # of the loss, over the first steps; a number of bfloat16 is rounded by up to 0.4 %


def losses_of(run_dir: Path) -> list[float]:
    return [
        float(loss) for loss in re.findall(r"step \d+/\d+: .*?\bloss ([\d.]+)", (run_dir / "train.log").read_text())
    ]


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
        kept = {
            tensor.dtype
            for key, tensor in saved.items()
            if not key.startswith("random") and not key.endswith("_scale.seen")
        }
        assert kept == {torch.float32}, name
    here, truth = losses_of(tmp_path / "whole"), losses_of(tmp_path / "fp32")
    assert len(here) == len(truth) == 5
    assert here == pytest.approx(truth, rel=TOLERANCE)
    assert whole["digest/trained"] != fp32["digest/trained"]


@pytest.mark.parametrize(
    ("native", "emulated", "asked", "found"),
    [
        (True, True, "auto", "bf16"),
        (False, True, "auto", "no"),
        (False, True, "bf16", "bf16"),
        (False, False, "auto", "no"),
        (True, True, "fp32", "no"),
    ],
)
def test_auto_is_bf16_where_it_is_not_emulated(
    native: bool, emulated: bool, asked: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return emulated if including_emulation else native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert mixed_precision(asked, on_cpu=False) == found


def test_without_any_bf16_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    with pytest.raises(UserError, match=r"Set trainer\.precision=fp32"):
        mixed_precision("bf16", on_cpu=False)
    assert (mixed_precision("bf16", on_cpu=True), mixed_precision("auto", on_cpu=True)) == ("bf16", "no")
