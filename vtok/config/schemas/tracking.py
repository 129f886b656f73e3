"""`conf/tracking`: where figures go."""

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class MlflowTracker:
    _target_: str = "vtok.tracking.mlflow.MlflowTracker"
    uri: str = MISSING
    experiment: str = "vtok"
    artifact_root: str | None = None
    system_metrics: bool = True
    log_model: bool = False
    register_model: str | None = None


@dataclass
class NoTracker:
    _target_: str = "vtok.tracking.none.NoTracker"
