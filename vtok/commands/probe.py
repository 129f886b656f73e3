"""vtok probe: what can be read off a tokeniser's tokens, without a language model."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig

from vtok.build import build, build_tokeniser
from vtok.commands.prepare import load_run
from vtok.config import check, compose
from vtok.data import DataSource
from vtok.data.write import check_writable
from vtok.errors import UserError
from vtok.feature_cache import without_cache
from vtok.overrides import override
from vtok.probing import ProbeResult, Probing, over_seeds, side_by_side
from vtok.runs import write_text
from vtok.tokeniser import Tokeniser


def probe(
    *,
    run: str | None,
    tokenisers: list[str],
    steps: int,
    train_clips: int,
    heldout_clips: int,
    tuned: bool | None,
    seeds: int,
    out: str | None,
    outputs: str,
    overrides: Sequence[str],
    allowed_targets: Sequence[str] = (),
) -> str:
    """The table; also written to `out` as json.

    Raises:
        UserError: a configuration that does not fit, no such run, or no clips.
    """
    for name, number in (("steps", steps), ("train_clips", train_clips), ("heldout_clips", heldout_clips)):
        if number < 2:
            raise UserError(f"{name}={number}: allowed is 2 or more.")
    if seeds < 1:
        raise UserError(f"seeds={seeds}: allowed is 1 or more.")
    if run is not None and tokenisers:
        raise UserError("run=... has a tokeniser of its own; say run or tokenisers, not both.")
    if out is not None:
        check_writable(Path(out), suffix=".json")
    results: dict[str, list[ProbeResult]] = {}
    if run is not None:
        run_dir, config, model = load_run(
            run, outputs=outputs, overrides=overrides, allowed_targets=allowed_targets, clips=True
        )
        source = clips_of(config)
        results[run_dir.name] = [
            Probing(steps, train_clips, heldout_clips, tuned=bool(tuned), seed=seed)(model.tokeniser, source)
            for seed in range(config.seed, config.seed + seeds)
        ]
    else:
        given = [
            override("outputs", outputs),
            f"allowed_targets=[{','.join(allowed_targets)}]",
            *overrides,
        ]
        chosen = [[*given, f"tokeniser={name}"] for name in tokenisers] or [given]
        configs = [compose(each) for each in chosen]
        for config in configs:
            without_cache(config)
            check(config)
        for number, config in enumerate(configs):
            name = tokenisers[number] if tokenisers else str(config.tokeniser._target_).rpartition(".")[2]
            source, results[name] = clips_of(config), []
            for seed in range(config.seed, config.seed + seeds):
                config.seed = seed
                probing = Probing(steps, train_clips, heldout_clips, tuned=tuned is not False, seed=seed)
                results[name].append(probing(on_device(build_tokeniser(config), config), source))
    if out is not None:
        write_text(Path(out), json.dumps({name: over_seeds(each) for name, each in results.items()}, indent=1))
    return side_by_side(results)


def clips_of(config: DictConfig) -> DataSource:
    source: DataSource = build(config.data)
    source.prepare()
    return source


def on_device(tokeniser: Tokeniser, config: DictConfig) -> Tokeniser:
    return tokeniser.to("cuda" if torch.cuda.is_available() and config.trainer.device != "cpu" else "cpu")
