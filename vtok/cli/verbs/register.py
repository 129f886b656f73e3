"""vtok register: logs a run's model to MLflow after the run."""

from collections.abc import Sequence

from vtok.common.errors import UserError
from vtok.common.foreign_files import reason_of
from vtok.config.cross_checks import check_answers
from vtok.runs.folder import find_run, load_config, run_of
from vtok.training.checkpoint import latest_checkpoint, read_state


def register(
    *,
    run: str = "latest",
    name: str | None = None,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> str:
    """Log a run's model as an MLflow model, as tracking.log_model=true does at the end of a run.

    The model takes paths of videos and returns answers; its parameters prompt, start and max_new_tokens are those of
    vtok describe.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        name: name in the model registry, which gets a new version; null: the model is not registered.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.

    Returns:
        The Python line that loads the model.

    Raises:
        UserError: if the run was not tracked, was not trained to answer questions or has no checkpoint, or the store
            refuses the model.
    """
    from mlflow.exceptions import MlflowException

    from vtok.cli.mlflow_run import mlflow_run_of, open_tracked
    from vtok.inference.mlflow_model import log_model, model_line

    run_dir = run_of(find_run(run, outputs))
    config = load_config(run_dir)
    tracked = mlflow_run_of(run_dir)
    if tracked is None:
        raise UserError(
            f"run={run}: this run was not tracked, and has no MLflow run to log the model to. Use a run with "
            "tracking=mlflow."
        )
    check_answers(config, override=f"run={run}")
    step = read_state(latest_checkpoint(run_dir))["step"]
    uri, run_id = tracked
    client = open_tracked(run_dir, uri, run_id)
    try:
        address = log_model(client, run_id, run_dir, step=step, register=name, allowed_targets=allowed_targets)
        return model_line(uri, address)
    except MlflowException as error:
        raise UserError(
            f"run={run}: the MLflow store {uri} refused the model ({reason_of(error).rstrip('.')}). "
            "Check the store, and run the same command again."
        ) from error
