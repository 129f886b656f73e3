"""vtok register: a run's model as an MLflow model, after the run."""

import json

from vtok.config.pairs import check_answers
from vtok.errors import UserError
from vtok.runs import find_run, load_config, read_status, run_of
from vtok.training.checkpoint import latest_checkpoint


def register(*, run: str, name: str | None, outputs: str) -> str:
    """Log the model of a run's newest checkpoint into the run, and register it where there is a name.

    Returns:
        What to tell: how the model is loaded.

    Raises:
        UserError: the run was not tracked, answers no questions or has no checkpoint, or the store does not take it.
    """
    from mlflow.exceptions import MlflowException

    from vtok.tracking.model import log_model, model_line
    from vtok.tracking.store import open_store, resolve_uri

    run_dir = run_of(find_run(run, outputs))
    config, run_id = load_config(run_dir), read_status(run_dir).get("mlflow_run_id")
    if run_id is None or "uri" not in config.tracking:
        raise UserError(f"run={run}: it was not tracked, so that there is no MLflow run that the model could be of.")
    check_answers(config, said=f"run={run}")
    step = json.loads((latest_checkpoint(run_dir) / "state.json").read_text(encoding="utf-8"))["step"]
    uri = resolve_uri(config.tracking.uri)
    try:
        return model_line(uri, log_model(open_store(uri), run_id, run_dir, step=step, register=name))
    except MlflowException as error:
        raise UserError(f"the MLflow store {uri} did not take the model ({' '.join(str(error).split())}).") from error
