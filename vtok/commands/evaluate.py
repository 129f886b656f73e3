"""vtok evaluate: the benchmark again on a run's model."""

from collections.abc import Sequence

from vtok.build import build
from vtok.commands.prepare import load_run
from vtok.data import BadVideoError, DataSource
from vtok.evaluation import evaluate_heldout
from vtok.training import Trainer


def evaluate(*, run: str, outputs: str, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Evaluate on the held-out clips, print the table, and return the figures.

    Raises:
        UserError: a clip cannot be read (figures that leave clips out silently cannot be compared), or no such run.
    """
    run_dir, config, model = load_run(run, outputs=outputs, overrides=overrides)
    source: DataSource = build(config.data)
    source.prepare()
    trainer: Trainer = build(config.trainer)
    result = evaluate_heldout(
        build(config.evaluation), model, source, source.clips("heldout"), precision=trainer.accelerator().autocast()
    )
    if result.bad:
        raise BadVideoError(*result.bad[0])
    print(f"{run_dir}, {result.clips} held-out clips\n{result.table()}")
    return result.metrics()
