"""vtok evaluate: the benchmarks again on a run's model."""

from collections.abc import Sequence

from vtok.common.errors import UserError
from vtok.data import BadVideoError, DataSource, LoaderSettings
from vtok.evaluation import Alignment, Generation, missing_files
from vtok.evaluation.results import evaluate_model
from vtok.inference.load import load_run
from vtok.model.build import build
from vtok.training import Trainer


def evaluate(
    *,
    run: str = "latest",
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> dict[str, float]:
    """The benchmark again on the held-out clips of a run, or of another data set.

    Other keys change the run's configuration (evaluation.max_clips=100). data=folder data.root=PATH is another data set
    with keys of its own; its clips are read as those of the run (clip.*). generation/judge=own judges videos that were
    made of it.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components are built, [A,B]; no folder has a say in it.
        overrides: of the configuration.

    Raises:
        UserError: a clip cannot be read (figures that leave clips out silently cannot be compared), no clip has
            anything to score, or there is no such run.
    """
    run_dir, config, model = load_run(
        run, outputs=outputs, overrides=overrides, allowed_targets=allowed_targets, cached=True, clips=True
    )
    source: DataSource = build(config.data)
    source.prepare()
    loader: LoaderSettings = build(config.loader)
    trainer: Trainer = build(config.trainer)
    clips = source.clips("heldout")
    alignment: Alignment = build(config.evaluation)
    generation: Generation = build(config.generation)
    judged = (alignment if model.objective.understands else generation).max_clips
    # Before the model works for an hour: it would end with the same sentence.
    if missing := missing_files(source, clips[:judged]):
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
            f"data: none of the {len(clips)} held-out clips has a question with choices, or a caption that others have "
            "not, so there is nothing to score. Name the choices of each question in a column choices."
        )
    print(f"{run_dir}, {len(clips)} held-out clips\n{results.table()}")
    return results.metrics()
