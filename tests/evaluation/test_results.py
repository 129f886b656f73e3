import json
from pathlib import Path

import torch

from vtok.evaluation import GenerationResult
from vtok.evaluation.generation_result import GeneratedClip
from vtok.evaluation.results import NUM_SAMPLES, Results


def test_sample_videos_have_captions(tmp_path: Path) -> None:
    video = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    made = [GeneratedClip(f"clip {n}", video, video, None if n else video, {}) for n in range(NUM_SAMPLES + 1)]
    Results(None, GenerationResult(examples=made, clips=len(made))).write_samples(tmp_path, fps=8)
    captions = json.loads((tmp_path / "captions.json").read_text())
    assert captions == [f"clip {n}" for n in range(NUM_SAMPLES)]
    numbers = {int(file.name.partition("_")[0]) for file in tmp_path.glob("*.mp4")}
    assert numbers == set(range(len(captions)))
    assert {file.name for file in tmp_path.glob("0_*.mp4")} == {
        "0_truth.mp4", "0_reconstructed.mp4", "0_generated.mp4",
    }  # fmt: skip
    assert not (tmp_path / "1_generated.mp4").exists()
