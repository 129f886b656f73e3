"""`conf/tracking`: where figures go."""

from dataclasses import dataclass


@dataclass
class MlflowTracker:
    _target_: str = "vtok.tracking.mlflow.MlflowTracker"
    uri: str | None = None
    experiment: str = "vtok"
    artifact_root: str | None = None
    system_metrics: bool = True
    log_model: bool = False
    register_model: str | None = None
    folder: str = "outputs"


@dataclass
class NoTracker:
    _target_: str = "vtok.tracking.none.NoTracker"
