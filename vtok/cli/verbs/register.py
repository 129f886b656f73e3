"""vtok register: a run's model as an MLflow model, after the run."""

from collections.abc import Sequence

from vtok.common.errors import UserError
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
    """Keep a run's model as an MLflow model, as tracking.log_model=true does at the end of a run.

    It takes paths of videos and gives answers; the parameters prompt, start and max_new_tokens are those of describe.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        name: name in the model registry, where it becomes a new version; null: it is not registered.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components are built, [A,B]; no folder has a say in it.

    Returns:
        What to tell: how the model is loaded.

    Raises:
        UserError: the run was not tracked, answers no questions or has no checkpoint, or the store does not take it.
    """
    from mlflow.exceptions import MlflowException

    from vtok.cli.mlflow_run import open_tracked, tracked_as
    from vtok.inference.mlflow_model import log_model, model_line

    run_dir = run_of(find_run(run, outputs))
    config = load_config(run_dir)
    tracked = tracked_as(run_dir, config)
    if tracked is None:
        raise UserError(f"run={run}: it was not tracked, so that there is no MLflow run that the model could be of.")
    check_answers(config, said=f"run={run}")
    step = read_state(latest_checkpoint(run_dir))["step"]
    uri, run_id = tracked
    client = open_tracked(run_dir, uri, run_id)
    try:
        address = log_model(client, run_id, run_dir, step=step, register=name, allowed_targets=allowed_targets)
        return model_line(uri, address)
    except MlflowException as error:
        raise UserError(f"the MLflow store {uri} did not take the model ({' '.join(str(error).split())}).") from error
