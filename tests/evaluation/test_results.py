import json
from pathlib import Path

import torch

from vtok.evaluation import GenerationResult
from vtok.evaluation.generation import Made
from vtok.evaluation.results import SAMPLES, Results


def test_samples_lie_beside_the_captions_of_their_clips(tmp_path: Path) -> None:
    video = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    made = [Made(f"clip {n}", video, video, None if n else video, {}) for n in range(SAMPLES + 1)]
    Results(None, GenerationResult(examples=made, clips=len(made))).write_samples(tmp_path, fps=8)
    captions = json.loads((tmp_path / "captions.json").read_text())
    assert captions == [f"clip {n}" for n in range(SAMPLES)]
    numbers = {int(file.name.partition("_")[0]) for file in tmp_path.glob("*.mp4")}
    assert numbers == set(range(len(captions)))
    assert {file.name for file in tmp_path.glob("0_*.mp4")} == {
        "0_truth.mp4", "0_reconstructed.mp4", "0_generated.mp4",
    }  # fmt: skip
    assert not (tmp_path / "1_generated.mp4").exists()
