"""vtok evaluate: evaluates a run's model again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vtok.common.errors import UserError
from vtok.common.files import check_writable
from vtok.data import BadVideoError, DataSource, LoaderSettings
from vtok.evaluation import Alignment, Generation, missing_files
from vtok.evaluation.answers import write_answers
from vtok.evaluation.results import evaluate_model
from vtok.inference.load import load_run
from vtok.model.build import build
from vtok.training import Trainer


def evaluate(
    *,
    run: str = "latest",
    split: Literal["validation", "test"] = "test",
    out: str | None = None,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> dict[str, float]:
    """Evaluate a run again, on its test clips or on those of another data set.

    Overrides change the run's configuration (evaluation.max_clips=100). data=folder data.root=PATH chooses another data
    set with its own keys; its clips are read with the run's clip.*. generation/judge=own chooses another judge of
    generated videos.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        split: validation: clips to choose settings by; test: clips to report.
        out: parquet file for the answers, one row for every question.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.
        overrides: overrides of the configuration.

    Raises:
        UserError: if a clip cannot be read (metrics that leave clips out cannot be compared), no clip can be scored, or
            there is no such run.
    """
    if out is not None:
        check_writable(Path(out), suffix=".parquet")
    run_dir, config, model = load_run(
        run, outputs=outputs, overrides=overrides, allowed_targets=allowed_targets, cached=True, clips=True
    )
    source: DataSource = build(config.data)
    source.prepare()
    loader: LoaderSettings = build(config.loader)
    trainer: Trainer = build(config.trainer)
    clips = source.clips(split)
    alignment: Alignment = build(config.evaluation)
    generation: Generation = build(config.generation)
    max_clips = (alignment if model.objective.understands else generation).max_clips
    # Missing files are reported at once, not after an hour of evaluation.
    if missing := missing_files(source, clips[:max_clips]):
        raise BadVideoError(*missing[0])
    results = evaluate_model(
        alignment,
        generation,
        model,
        source,
        clips,
        loader=loader,
        precision=trainer.accelerator().autocast,
    )
    if results.bad:
        raise BadVideoError(*results.bad[0])
    if results.scores_nothing:
        raise UserError(
            f"data: none of the {len(clips)} {split} clips has a question with choices or a caption of its own, and "
            "there is nothing to score. Add a column choices with the choices of each question."
        )
    if out is not None:
        write_answers(results.answers, Path(out))
    print(f"{run_dir}, {len(clips)} {split} clips\n{results.table()}")
    return results.metrics()
