"""recipe=real on small models of the same classes and a folder of small videos."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Dinov2Config, Dinov2Model, LlamaConfig

from vtok.config import compose
from vtok.hub import toys
from vtok.model.build import build_model
from vtok.training import train

SHORT = (
    "clip={num_frames:9,fps:null}",
    "backbone.image_size=56",
    "loader={batch_size:2,num_workers:0}",
    "scheduler.num_warmup_steps=0",
    "trainer={max_steps:2,evaluate_every:0,save_every:1,log_every:1,progress:false}",
    "evaluation.batch_size=4",
    "tracking=none",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 and a Llama with tied embeddings, as SmolLM2 is, of random weights."""
    folder = tmp_path_factory.mktemp("weights")
    words = toys.tokenizer()
    torch.manual_seed(0)
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 70, "patch_size": 14}
    Dinov2Model(Dinov2Config(**vision)).save_pretrained(folder / "vision")
    normal = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "vision" / "preprocessor_config.json").write_text(json.dumps(normal))
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(words), max_position_embeddings=512, tie_word_embeddings=True, **text)
    AutoModelForCausalLM.from_config(config, dtype=torch.float16).save_pretrained(folder / "text")
    words.save_pretrained(folder / "text")
    return folder


@pytest.fixture
def recipe(weights: Path, make_video, tmp_path: Path) -> list[str]:
    """Overrides of recipe=real with these models, beside a folder of videos with captions."""
    (tmp_path / "clips").mkdir()
    rows = []
    for number, caption in enumerate(["a red ball", "a blue box", "two green cups", "a door opens", "a cat", "a dog"]):
        make_video(tmp_path / "clips" / f"{number}.mp4", 12)
        split = ("train", "train", "test", "test", "test", "validation")[number]
        rows.append(json.dumps({"video": f"{number}.mp4", "caption": caption, "split": split}))
    (tmp_path / "clips" / "manifest.jsonl").write_text("\n".join(rows))
    pytest.importorskip("peft")
    named = [f"backbone.weights={weights / 'vision'}", f"mllm.weights={weights / 'text'}"]
    return ["recipe=real", *SHORT, *named, f"outputs={tmp_path / 'outputs'}"]


def twins_of(folder: Path) -> list[str]:
    return [f"data.source.root={folder / 'clips'}", "data.categories=[arrow,odd]"]


def captions_of(folder: Path) -> list[str]:
    return ["data=folder", f"data.root={folder / 'clips'}"]


def losses_of(run: Path) -> list[float]:
    return [float(loss) for loss in re.findall(r"\bloss ([\d.e-]+)", (run / "train.log").read_text())]


def test_phi_vis_the_tokeniser_and_adapters_are_trained_and_twins_are_asked(recipe: list[str], tmp_path: Path) -> None:
    given = [*recipe, *twins_of(tmp_path)]
    before = build_model(compose(given)).state_dict()
    metrics = train(compose(given), run_dir=tmp_path / "run")
    assert metrics["alignment/arrow_chance"] == 0.5
    saved = load_file(tmp_path / "run" / "checkpoints" / "step-00000002" / "model.safetensors")
    changed = {name for name, one in saved.items() if not torch.equal(one, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"projector", "input_scale", "mllm", "tokeniser"}
    assert all(".lora_" in name for name in changed if name.startswith("mllm."))
    assert not any("backbone" in name for name in saved)


def test_captions_are_chosen_among_those_of_other_clips(recipe: list[str], tmp_path: Path) -> None:
    metrics = train(compose([*recipe, *captions_of(tmp_path)]), run_dir=tmp_path / "run")
    # Three test clips, each asked for one of their three captions.
    assert metrics["alignment/caption_chance"] == pytest.approx(1 / 3)
    assert {"alignment/caption_by_token", "alignment/caption_by_total", "alignment/caption_by_prior"} <= metrics.keys()


def test_from_a_cache_it_loses_as_from_the_files(recipe: list[str], command: Callable, tmp_path: Path) -> None:
    given = [*recipe, *captions_of(tmp_path)]
    train(compose(given), run_dir=tmp_path / "files")
    assert command("precompute", *given, f"out={tmp_path / 'features'}").code == 0
    train(compose([*given, f"data.cache={tmp_path / 'features'}"]), run_dir=tmp_path / "cache")
    assert len(losses_of(tmp_path / "files")) == 2
    assert losses_of(tmp_path / "cache") == pytest.approx(losses_of(tmp_path / "files"), abs=2e-3)


def test_it_resumes_exactly_and_an_exported_model_says_the_same(
    recipe: list[str], command: Callable, tmp_path: Path
) -> None:
    given = [*recipe, *twins_of(tmp_path)]
    once = train(compose([*given, "scheduler=constant"]), run_dir=tmp_path / "once")
    train(compose([*given, "scheduler=constant", "trainer.max_steps=1"]), run_dir=tmp_path / "twice")
    resumed = ["scheduler=constant", f"resume={tmp_path / 'twice'}", "resume.allow=[trainer.max_steps]"]
    assert train(compose([*given, *resumed]))["digest/trained"] == once["digest/trained"]

    asked = [f"video={tmp_path / 'clips' / '0.mp4'}", "prompt=what is it?", "max_new_tokens=5"]
    exported, why = tmp_path / "exported", tmp_path / "why.png"
    assert command("export", f"run={tmp_path / 'once'}", f"out={exported}").code == 0
    answers = [command("describe", f"run={run}", *asked) for run in (tmp_path / "once", exported)]
    assert [one.code for one in answers] == [0, 0]
    assert answers[0].out == answers[1].out
    # The picture shows larger frames than the model reads, of the data set that the twins show, too.
    assert command("describe", f"run={exported}", *asked, f"explain={why}").code == 0
    assert why.is_file()
