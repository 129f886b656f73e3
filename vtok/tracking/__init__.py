"""What a run leaves behind for comparison: the tracker, the sweep's parent run, tables, plots, contact sheets."""

import os

from vtok.tracking.base import Tracker

# MLflow reports its use to its makers when imported; training on somebody's data should not, unless they ask for it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__all__ = ["Tracker"]
