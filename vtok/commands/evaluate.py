"""vtok evaluate: the benchmarks again on a run's model."""

from collections.abc import Sequence

from vtok.build import build
from vtok.commands.prepare import load_run
from vtok.data import BadVideoError, DataSource
from vtok.errors import UserError
from vtok.evaluation import Alignment, Generation, missing_files
from vtok.training import Trainer
from vtok.training.results import evaluate_model


def evaluate(
    *, run: str, outputs: str, overrides: Sequence[str] = (), allowed_targets: Sequence[str] = ()
) -> dict[str, float]:
    """Evaluate the branches that the run has on the held-out clips, print the tables, and return the figures.

    Raises:
        UserError: a clip cannot be read (figures that leave clips out silently cannot be compared), no clip has
            anything to score, or there is no such run.
    """
    run_dir, config, model = load_run(
        run, outputs=outputs, overrides=overrides, allowed_targets=allowed_targets, cached=True, clips=True
    )
    source: DataSource = build(config.data)
    source.prepare()
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
