"""Training from a cache, compared with training from the files."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vtok.backbone import TinyBackbone
from vtok.cli.verbs.evaluate import evaluate
from vtok.cli.verbs.precompute import precompute
from vtok.cli.verbs.tokenise import tokenise
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.hub.folder import save_pretrained
from vtok.training import train
from vtok.training.optimisers import muon

Losses = Callable[..., tuple[list[float], dict[str, float]]]
Joint = Callable[[str], list[str]]
# The tokens of all are compared in test_every_tokeniser.
TOKENISERS = [
    ["tokeniser=vtok", "tokeniser.stride=3", "tokeniser.key_frame=medoid", "tokeniser/motion_pooling=grid"],
    ["tokeniser=delta", "tokeniser.stride=2", "tokeniser/motion_pooling=attention"],
    ["tokeniser=random", "tokeniser.stride=3", "tokeniser.num_tokens=9", "tokeniser.token_dim=24"],
    ["tokeniser=visionzip", "tokeniser.stride=3", "mllm.encode_places=true"],
]


@pytest.fixture(autouse=True)
def _muon_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to bf16, differences of 1e-7 between two trainings become differences of 1e-3 in some weights."""
    monkeypatch.setattr(muon, "cpu_multiplies_bf16", lambda: False)


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no backbone can be built."""

    def refuse(*_arguments, **_settings):
        raise AssertionError("a backbone was built")

    return lambda: monkeypatch.setattr(TinyBackbone, "__init__", refuse)


@pytest.mark.parametrize("tokeniser", TOKENISERS, ids=" ".join)
def test_losses_equal_those_from_files_without_decoding_or_backbone(
    tokeniser: list[str], folder: list[str], losses: Losses, no_decoding, no_backbone, tmp_path: Path
) -> None:
    overrides, cache = [*folder, *tokeniser], tmp_path / "cache"
    precompute(out=str(cache), block=3, dtype="float32", overrides=overrides)
    truth, metrics = losses(overrides, tmp_path / "files")
    no_decoding()
    no_backbone()
    found, cached = losses([*overrides, f"data.cache={cache}"], tmp_path / "cached")
    assert len(truth) == 4
    assert found == pytest.approx(truth, rel=1e-5)
    measures = [name for name in metrics if name.startswith(("alignment", "parameters", "tokens", "data"))]
    assert {name: cached[name] for name in measures} == {name: metrics[name] for name in measures}
    # Contact sheets need decoded frames, and are left out where no file can be decoded.
    assert (tmp_path / "files" / "held_out.png").is_file()
    assert not (tmp_path / "cached" / "held_out.png").exists()


@pytest.mark.parametrize("decoder", ["tiny", "hunyuan_video"])
def test_decoder_losses_equal_those_from_files(
    decoder: str, joint: Joint, losses: Losses, no_decoding, no_backbone, tmp_path: Path
) -> None:
    overrides = joint(decoder)
    precompute(out=str(tmp_path / "cache"), tokenisers=["vtok"], block=8, dtype="float32", overrides=overrides)
    kept = {name.split("/", 1)[1] for name in load_file(next((tmp_path / "cache" / "blocks").iterdir()))}
    kinds = {name.partition("/")[0] for name in kept}
    assert ("latents" in kinds, "target" in kinds) == (decoder == "hunyuan_video", decoder == "tiny")
    truth, metrics = losses(overrides, tmp_path / "files")
    no_decoding()
    no_backbone()
    found, cached = losses([*overrides, f"data.cache={tmp_path / 'cache'}"], tmp_path / "cached")
    assert len(truth) == 4
    assert found == pytest.approx(truth, rel=1e-5)
    assert cached["reconstruct/colour"] == metrics["reconstruct/colour"]
    # The frames of a decoder without a VAE are in the cache.
    assert (tmp_path / "cached" / "generated.png").exists() == (decoder == "tiny")


def test_a_model_that_judges_its_own_videos_has_its_backbone(
    folder: list[str], joint: Joint, losses: Losses, tmp_path: Path
) -> None:
    others = (item for item in joint("tiny") if not item.startswith("data"))
    overrides = [*others, *(item for item in folder if item.startswith("data")), "generation/judge=own"]
    precompute(out=str(tmp_path / "cache"), tokenisers=["vtok"], block=8, dtype="float32", overrides=overrides)
    truth, metrics = losses(overrides, tmp_path / "files")
    found, cached = losses([*overrides, f"data.cache={tmp_path / 'cache'}"], tmp_path / "cached")
    assert found == pytest.approx(truth, rel=1e-5)
    assert cached["generate/caption"] == metrics["generate/caption"]


def test_a_run_from_a_cache_is_used_on_files_with_its_backbone(
    folder: list[str], clips: Path, cache: Path, tmp_path: Path
) -> None:
    metrics = []
    for name, more in (("files", []), ("cached", [f"data.cache={cache}"])):
        metrics.append(train(compose([*folder, *more]), run_dir=tmp_path / name))
        tokenise(video=str(clips / "9.mp4"), run=str(tmp_path / name), out=str(tmp_path / f"{name}.safetensors"))
    assert (tmp_path / "cached" / "held_out.png").is_file()
    exported = [
        save_pretrained(tmp_path / name, tmp_path / f"hub_{name}", part="model") for name in ("files", "cached")
    ]
    truth, found = (load_file(folder / "model.safetensors") for folder in exported)
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=1e-4)
    truth, found = (load_file(tmp_path / f"{name}.safetensors") for name in ("files", "cached"))
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=1e-4, equal_nan=True)
    again = evaluate(run=str(tmp_path / "cached"), outputs=str(tmp_path))
    assert again["alignment/caption"] == metrics[1]["alignment/caption"] == metrics[0]["alignment/caption"]


def test_a_broken_clip_is_replaced_by_the_same_one(
    folder: list[str], clips: Path, losses: Losses, no_decoding, tmp_path: Path
) -> None:
    (clips / "4.mp4").write_bytes(b"no video")
    (clips / "5.mp4").unlink()
    overrides = [*folder, "loader.max_bad_fraction=0.5"]
    report = precompute(out=str(tmp_path / "cache"), tokenisers=["vtok"], block=3, dtype="float32", overrides=overrides)
    assert "2 files are broken" in report
    assert "4.mp4: " in report
    truth, metrics = losses(overrides, tmp_path / "files")
    no_decoding()
    found, cached = losses([*overrides, f"data.cache={tmp_path / 'cache'}"], tmp_path / "cached")
    assert found == pytest.approx(truth, rel=1e-5)
    assert cached["data/bad_files"] == metrics["data/bad_files"] == 2


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_has_changed_is_refused(
    num_workers: int, folder: list[str], clips: Path, cache: Path, tmp_path: Path
) -> None:
    shutil.copy(clips / "9.mp4", clips / "1.mp4")
    config = compose([*folder, f"data.cache={cache}", f"loader.num_workers={num_workers}"])
    with pytest.raises(UserError, match=rf"^data.cache={cache}: .*1.mp4 has changed since its features .*precompute"):
        train(config, run_dir=tmp_path / "run")


def test_a_heldout_file_that_has_changed_is_refused(
    folder: list[str], clips: Path, cache: Path, tmp_path: Path
) -> None:
    shutil.copy(clips / "9.mp4", clips / "3.mp4")
    with pytest.raises(UserError, match=r"3.mp4 has changed since its features were computed"):
        train(compose([*folder, f"data.cache={cache}", "loader.num_workers=1"]), run_dir=tmp_path / "run")


def test_copied_and_missing_files_count_as_unchanged(
    folder: list[str], clips: Path, cache: Path, tmp_path: Path
) -> None:
    for number in range(10):
        if number % 2:
            (clips / f"{number}.mp4").unlink()
        else:
            os.utime(clips / f"{number}.mp4", (1, 1))
    metrics = train(compose([*folder, f"data.cache={cache}"]), run_dir=tmp_path / "run")
    assert metrics["data/bad_files"] == 0


def test_a_new_clip_is_reported_before_training_and_added_by_the_same_command(
    folder: list[str], clips: Path, cache: Path, no_decoding, tmp_path: Path
) -> None:
    shutil.copy(clips / "9.mp4", clips / "new.mp4")
    with open(clips / "manifest.jsonl", "a") as manifest:
        manifest.write('\n{"file": "new.mp4", "caption": "new", "split": "train"}')
    config = compose([*folder, f"data.cache={cache}"])
    with pytest.raises(UserError, match=rf"new.mp4 is not in the cache. Run: vtok precompute out={cache}"):
        train(config, run_dir=tmp_path / "run")
    precompute(out=str(cache), tokenisers=["vtok"], block=3, dtype="float32", overrides=folder)
    no_decoding()
    assert train(config, run_dir=tmp_path / "run")["data/bad_files"] == 0


def test_half_precision_is_half_the_size_and_about_the_same(
    folder: list[str], cache: Path, losses: Losses, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    precompute(out=str(half), tokenisers=["vtok"], block=3, overrides=folder)
    sizes = [
        sum(one.nbytes for file in path.glob("blocks/*") for key, one in load_file(file).items() if "maps" in key)
        for path in (cache, half)
    ]
    assert sizes[0] == 2 * sizes[1] > 0
    truth, _ = losses([*folder, f"data.cache={cache}"], tmp_path / "whole")
    found, _ = losses([*folder, f"data.cache={half}"], tmp_path / "run")
    assert found == pytest.approx(truth, abs=2e-3)
    assert all(map(math.isfinite, found))
