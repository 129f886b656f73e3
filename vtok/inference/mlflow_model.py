"""Logs a trained model as an MLflow model to its run, and registers it."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.pyfunc import FLAVOR_NAME, save_model
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import vtok
from vtok.common.quiet import quiet
from vtok.hub import save_pretrained
from vtok.model.video_language_model import DESCRIBE

EXPORTED = "exported"
CODE = Path(__file__).with_name("mlflow_serving.py")


def log_model(
    client: MlflowClient,
    run_id: str,
    run_dir: Path,
    *,
    step: int,
    register: str | None,
    allowed_targets: Sequence[str] = (),
) -> str:
    """Log the exported model of a run as an MLflow model that answers questions about videos; returns its address.

    It consists of code of this package and safetensors; nothing is pickled. `mlflow.pyfunc.load_model` loads the
    address where VTok is installed.

    Args:
        client: client of the MLflow store.
        run_id: id of the run in the store; the run may have ended.
        run_dir: run folder, whose newest checkpoint is logged.
        step: number of optimiser steps of that checkpoint.
        register: name in the model registry, which gets a new version; None: the model is not registered.
        allowed_targets: packages of the user's own whose components the run has.

    Raises:
        UserError: if the run cannot be exported.
        MlflowException: if the store refuses the model.
    """
    experiment = client.get_run(run_id).info.experiment_id
    with TemporaryDirectory() as temporary:
        exported = save_pretrained(run_dir, Path(temporary) / EXPORTED, part="model", allowed_targets=allowed_targets)
        logged = client.create_logged_model(experiment, name="vtok", source_run_id=run_id)
        try:
            packed = Path(temporary) / "model"
            with quiet("mlflow.pyfunc"):
                pack(exported, packed, run_id=run_id, model_id=logged.model_id)
            client.log_model_artifacts(logged.model_id, str(packed))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])
    return f"models:/{logged.model_id}" if register is None else register_version(client, register, logged)


def model_line(uri: str, address: str) -> str:
    """The line that tells the user how to load a logged model."""
    return f'MLflow model: mlflow.set_tracking_uri("{uri}"); mlflow.pyfunc.load_model("{address}").predict(["FILE"])'


def pack(exported: Path, folder: Path, *, run_id: str, model_id: str) -> None:
    """Write an exported folder as an MLflow model to a new folder, without paths of this machine in it."""
    model = Model(run_id=run_id, model_id=model_id, model_uuid=model_id)
    save_model(
        str(folder),
        mlflow_model=model,
        python_model=str(CODE),
        artifacts={EXPORTED: str(exported)},
        signature=signature(),
        input_example=["clip.mp4"],
        pip_requirements=[f"vtok=={vtok.__version__}"],
    )
    flavour = model.flavors[FLAVOR_NAME]
    flavour["model_code_path"] = CODE.name
    for artifact in flavour["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(folder / MLMODEL_FILE_NAME))


def signature() -> ModelSignature:
    """From a column of videos to a column of answers, with the other arguments of `vtok describe` as parameters."""
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [
                ParamSpec("prompt", DataType.string, DESCRIBE),
                ParamSpec("start", DataType.double, 0.0),
                ParamSpec("max_new_tokens", DataType.long, 64),
            ]
        ),
    )


def register_version(client: MlflowClient, name: str, logged: LoggedModel) -> str:
    """Register a logged model as a new version of the registered model `name`; returns its address."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Its location instead of models:/ID, which a registry in a database looks up in the process's default store.
    location, run_id = logged.artifact_location, logged.source_run_id
    version = client.create_model_version(name, location, run_id=run_id, model_id=logged.model_id)
    return f"models:/{name}/{version.version}"
