"""Experiment tracking: what is logged during a run, to MLflow or not at all."""

import os

from vtok.tracking.base import Tracker

# MLflow sends usage statistics to its developers on import. Training on private data must not, unless the user opts in.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__all__ = ["Tracker"]
