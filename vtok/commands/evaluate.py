"""vtok evaluate: the benchmark again on a run's model."""

from collections.abc import Sequence

from vtok.build import build, build_dataset
from vtok.commands.prepare import load_run
from vtok.data import BadVideoError, DataSource
from vtok.evaluation import Alignment, heldout_loader


def evaluate(*, run: str, outputs: str, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Evaluate on the held-out clips, print the table, and return the figures.

    Raises:
        UserError: a clip cannot be read (figures that leave clips out silently cannot be compared), or no such run.
    """
    run_dir, config, model = load_run(run, outputs=outputs, overrides=overrides)
    source: DataSource = build(config.data)
    source.prepare()
    alignment: Alignment = build(config.evaluation)
    clips = source.clips("heldout")[: alignment.max_clips]
    dataset = build_dataset(source, clips, model.tokeniser.planner, seed=config.seed, replace_bad=False)
    result = alignment(model, heldout_loader(dataset, batch_size=alignment.batch_size, num_workers=source.num_workers))
    if result.bad:
        raise BadVideoError(*result.bad[0])
    print(f"{run_dir}, {result.clips} held-out clips\n{result.table()}")
    return result.metrics()
