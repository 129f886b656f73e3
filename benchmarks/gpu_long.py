"""The long parts of `make gpu`: evidence at a larger size. None of them runs unless it is named."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import yaml

from gpu_parts import TOY_JOB, TOY_MODEL, VTOK, Part, Value, accuracies, read, run_options
from vtok.common.foreign_files import read_mapping
from vtok.common.paths import experiments_dir
from vtok.runs.saved_run import find_runs, read_run

# A part's limit and the time that its processes then have to save a checkpoint are less than eight minutes together.
LIMIT = 440
# Largest number of runs of the study at a time.
AT_ONCE = 16
# Twice the side and twice the frames of the recipe; each generated frame has its own token, as there.
GENERATE = (
    "recipe=generate", "clip.num_frames=31", "tokeniser.stride=2", "decoder.num_frames=16", "decoder.size=64",
    "trainer.max_steps=2000", "trainer.evaluate_every=1000", "trainer.save_every=200", "loader.num_workers=8",
)  # fmt: skip
REAL = ("recipe=real", "loader.num_workers=8")
TOY_STEPS = ("trainer.max_steps=2", "trainer.evaluate_every=0", "scheduler.num_warmup_steps=0")
# So many clips that all categories by which the study chooses are among them.
TOY_STUDY = (
    "data.train_clips=8", "data.validation_clips=16", "data.test_clips=16", "trainer.max_steps=2", *TOY_MODEL[:-1],
)  # fmt: skip
TOY_GENERATE = (
    "decoder.num_frames=4", "decoder.size=32", "decoder.heads=2", "decoder.head_dim=12", "decoder.single_layers=0",
    "generation.steps=2", "generation.max_clips=4",
)  # fmt: skip
TOY_REAL = (
    "data@data.source=shapes", "data.source.train_clips=8", "data.source.validation_clips=4",
    "data.source.test_clips=4", "data.source.make_workers=1", "clip={num_frames:12,fps:null}",
    "backbone.image_size=56", "loader={batch_size:2,num_workers:0}",
)  # fmt: skip


def long_parts(*, methods: Sequence[str], seeds: int, overrides: Sequence[str]) -> tuple[Part, ...]:
    """The parts `study`, `generate` and `real`, with overrides of train for all of them.

    Args:
        methods: methods of the study.
        seeds: seeds of each method.
        overrides: overrides of train at full size.
    """
    chosen = (f"methods=[{','.join(methods)}]", f"seeds={seeds}")
    return (
        Part(
            "study", "What do more seeds say of vtok and its rivals on synthetic clips?", LIMIT,
            lambda folder: study_command(
                folder, "name=tokenisers", *chosen, f"jobs={min(len(methods), AT_ONCE)}", "hydra/launcher=joblib",
                f"hydra.launcher.n_jobs={max(1, AT_ONCE // len(methods))}", *overrides,
            ),
            toy_study,
            lambda folder, _: study_values(folder),
            summary=("studies/*/*.html", "studies/*/*.md", "studies/*/*.csv", "studies/*/*.json"),
            resumes=True,
        ),
        Part(
            "generate", "Do 16 frames of 64 pixels show what their captions say?", LIMIT,
            lambda folder: one_run(folder, *GENERATE, *overrides),
            lambda folder: one_run(folder, *GENERATE[:1], *TOY_JOB, *TOY_STEPS, *TOY_GENERATE),
            generate_values,
            summary=("run/0/summary.json", "run/0/generated.png", "run/0/train.log"),
            trains=(*GENERATE, *overrides),
            resumes=True,
        ),
        Part(
            "real", "What does recipe=real learn of a folder of videos?", LIMIT,
            lambda folder: one_run(folder, *REAL, *overrides),
            toy_real,
            real_values,
            summary=("run/0/summary.json", "run/0/held_out.png", "run/0/train.log"),
            trains=(*REAL, *overrides),
            resumes=True,
        ),
    )  # fmt: skip


def study_command(folder: Path, *arguments: str) -> list[str]:
    """The command of a study. Each run decodes its own clips, because there are more runs than cores.

    Probes would take longer than a part may.
    """
    quiet = ("probe=false", "tracking=none", "trainer.progress=false", "loader.num_workers=0")
    return [*VTOK, "study", f"outputs={folder}", *quiet, *arguments]


def toy_study(folder: Path) -> list[str]:
    """Two methods of the study `tokenisers` with one learning rate, which is written first."""
    content = read_mapping(experiments_dir() / "study" / "tokenisers.yaml")
    content["tuning"] = {"optimiser.hidden_lr": [0.004]}
    (folder / "toy.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    chosen = (f"name={folder / 'toy.yaml'}", "methods=[vtok,frame_sampling]", "seeds=1", "jobs=2")
    return study_command(folder, *chosen, *TOY_STUDY)


def one_run(folder: Path, *overrides: str) -> list[str]:
    """A sweep of one run: started again, it resumes the run, and does not repeat one that has finished."""
    return [*VTOK, "train", "-m", *run_options(folder), f"hydra.sweep.dir={folder / 'run'}", *overrides]


def toy_real(folder: Path) -> list[str]:
    """`recipe=real` on synthetic clips with small models of the same classes, which are written first."""
    import torch
    from transformers import AutoModelForCausalLM, Dinov2Config, Dinov2Model, LlamaConfig

    from vtok.hub.toys import tokenizer

    words, vision, text = tokenizer(), folder / "vision", folder / "text"
    torch.manual_seed(0)
    small = Dinov2Config(image_size=56, patch_size=14, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    Dinov2Model(small).save_pretrained(vision)
    normal = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (vision / "preprocessor_config.json").write_text(json.dumps(normal), encoding="utf-8")
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(text)
    words.save_pretrained(text)
    weights = (f"backbone.weights={vision}", f"mllm.weights={text}")
    return one_run(folder, "recipe=real", *TOY_REAL, *TOY_STEPS, *weights)


def progress(folder: Path) -> str:
    """How far the runs in a folder have come."""
    states = [read_run(run).status for run in find_runs(folder)]
    finished = states.count("finished")
    return f"{finished} runs finished, {len(states) - finished} begun"


def study_values(folder: Path) -> list[Value]:
    """The mean of all categories over seeds, by method, from the study's page: it has the methods of the last call."""
    (page,) = folder.glob("studies/*/study.json")
    return [
        Value(f"{method}, mean accuracy of {one['seeds']} seeds", 100 * fmean(one["means"].values()), "%")
        for method, one in read(page).items()
    ]


def generate_values(folder: Path, seconds: float) -> list[Value]:
    summary = read(folder / "run" / "0" / "summary.json")
    branches = ("reconstruct", "generate", "unseen", "control")
    shares = [(f"{one}, {name}", 100 * value) for one in branches for name, value in accuracies(summary, one).items()]
    return [Value("step", 1000 * summary["seconds_per_step"], "ms"), *(Value(name, one, "%") for name, one in shares)]


def real_values(folder: Path, seconds: float) -> list[Value]:
    """Each category beside its chance, which its interval should exclude."""
    summary = read(folder / "run" / "0" / "summary.json")
    values = [Value("step", 1000 * summary["seconds_per_step"], "ms")]
    for name, value in accuracies(summary, "alignment").items():
        chance, low = (summary[f"alignment/{name}_{one}"] for one in ("chance", "low"))
        values.append(Value(name, 100 * value, "%", f"above {100 * chance:.3g}", low > chance))
    return values
