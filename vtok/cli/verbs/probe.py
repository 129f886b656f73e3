"""vtok probe: measures what can be predicted from a tokeniser's tokens, without a language model."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.files import check_writable, write_text
from vtok.common.overrides import override
from vtok.common.setting_types import Count
from vtok.common.tables import table
from vtok.config import check, compose
from vtok.config.cross_checks import check_unasked
from vtok.config.nodes import is_backbone_random
from vtok.data import DataSource, LoaderSettings
from vtok.evaluation.probing import (
    Measure,
    ProbeResult,
    Probing,
    differences,
    mean_metrics,
    side_by_side,
    write_probe_answers,
)
from vtok.feature_cache import backbone_of_cache
from vtok.inference.load import load_run
from vtok.model.build import build, build_tokeniser, device_of
from vtok.tokeniser import Tokeniser

log = logging.getLogger("vtok")


def probe(
    *,
    run: str | None = None,
    tokenisers: Sequence[str] = (),
    steps: Annotated[int, Ge(2)] = 300,
    train_clips: Annotated[int, Ge(2)] = 2000,
    test_clips: Annotated[int, Ge(2)] = 400,
    tuned: bool | None = None,
    seeds: Count = 1,
    measures: Sequence[Measure] = ("answers", "reconstruction", "order"),
    out: str | None = None,
    answers: str | None = None,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> str:
    """Measure what can be predicted from video tokens without a language model.

    A linear and an attentive probe predict answers, a ridge regression the features of the frames, and an attentive
    probe whether frames are in their own order. Several tokenisers are compared on the same clips. Takes train's
    overrides; with data.cache no file is read.

    The tokens come from a run, or from untrained tokenisers on the configured backbone. The layers that such a
    tokeniser adds to features are trained with each probe; its backbone and a motion pooling with weights are not.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped; null: the
            tokeniser that the overrides choose.
        tokenisers: options of the group tokeniser, such as [vtok,key_frame].
        steps: training steps of each probe.
        train_clips: largest number of training clips.
        test_clips: largest number of test clips.
        tuned: whether the tokeniser's trained half is trained with each probe; null: only that of an untrained one.
        seeds: number of random seeds, counted up from `seed`; several give means with intervals.
        measures: answers: the clips' questions; shuffled: the same with all frames in random order, a control;
            reconstruction: features of the frames; order: whether frames are reversed or shuffled.
        out: JSON file for the metrics.
        answers: parquet file for the probes' answers, one row for each clip, category, probe and seed.
        outputs: folder in which runs are looked for and synthetic clips are written.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.
        overrides: overrides of the configuration.

    Raises:
        UserError: if a configuration does not fit, a tokeniser reads the question, there is no such run, or there are
            no clips.
    """
    if run is not None and tokenisers:
        raise UserError(f"run={run}: a run has its own tokeniser. Set either run or tokenisers.")
    if not measures:
        raise UserError("measures=[]: there is nothing to measure. Use measures=[answers], for instance.")
    if out is not None:
        check_writable(Path(out), suffix=".json")
    if answers is not None:
        check_writable(Path(answers), suffix=".parquet")
    results: dict[str, list[ProbeResult]] = {}
    # Without a terminal there is no progress bar, and the probes take minutes.
    beginning = f"up to {train_clips} training and {test_clips} test clips, {steps} steps of each probe"
    if run is not None:
        run_dir, config, model = load_run(
            run, outputs=outputs, overrides=overrides, allowed_targets=allowed_targets, clips=True
        )
        check_unasked(config, override=f"run={run_dir}", instead="Use a run with another tokeniser.")
        log.info("probing %s: %s", run_dir.name, beginning)
        probing = Probing(steps, train_clips, test_clips, tuned=bool(tuned), measures=measures)
        counted = range(config.seed, config.seed + seeds)
        results[run_dir.name] = probing.probe_seeds(lambda _: model.tokeniser, *clips_of(config), counted)
    else:
        given = [
            override("outputs", outputs),
            f"allowed_targets=[{','.join(allowed_targets)}]",
            *overrides,
        ]
        chosen = [[*given, f"tokeniser={name}"] for name in tokenisers] or [given]
        configs = [compose(each) for each in chosen]
        for config in configs:
            check(config)
            check_unasked(config, override="vtok probe", instead="Use other tokenisers.")
            # With random weights, a cache has the features of one seed.
            backbone_of_cache(seeded(config, config.seed + seeds - 1))
        log.info("probing %s: %s", ", ".join(tokenisers) or "the tokeniser of the configuration", beginning)
        probing = Probing(steps, train_clips, test_clips, tuned=tuned is not False, measures=measures)
        counted = range(configs[0].seed, configs[0].seed + seeds)
        for number, config in enumerate(configs):
            name = tokenisers[number] if tokenisers else str(config.tokeniser._target_).rpartition(".")[2]
            results[name] = probe_untrained(config, probing, counted)
    if out is not None:
        write_text(Path(out), json.dumps({name: mean_metrics(each) for name, each in results.items()}, indent=1))
    if answers is not None:
        write_probe_answers(results, counted, Path(answers))
    pairs = differences(results)
    if not pairs.tested:
        return side_by_side(results)
    said = [sentence for sentence in pairs.sentences() if not sentence.startswith("not shown")]
    return "\n".join([side_by_side(results), "", table(pairs.rows()), pairs.text(), *said])


def probe_untrained(config: DictConfig, probing: Probing, seeds: Sequence[int]) -> list[ProbeResult]:
    """Probe the untrained tokeniser of a configuration with each of these seeds."""
    # Missing weights are reported before any clip is made.
    first = build_tokeniser(seeded(config, seeds[0]), backbone_of_cache(config)).to(device_of(config))
    kept = first.backbone if first.backbone.frozen and not is_backbone_random(config) else None

    def make(seed: int) -> Tokeniser:
        if seed == seeds[0]:
            return first
        own = seeded(config, seed)
        return build_tokeniser(own, backbone_of_cache(own) if kept is None else kept).to(device_of(own))

    return probing.probe_seeds(make, *clips_of(config), seeds)


def seeded(config: DictConfig, seed: int) -> DictConfig:
    """The configuration with another seed."""
    other = config.copy()
    other.seed = seed
    return other


def clips_of(config: DictConfig) -> tuple[DataSource, LoaderSettings]:
    source: DataSource = build(config.data)
    source.prepare()
    return source, build(config.loader)
