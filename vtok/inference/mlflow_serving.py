"""A trained model as MLflow serves it: videos in, answers out.

MLflow copies this file into the model that it logs and runs it to load that ("models from code"), so that nothing is
pickled; what it imports is the VTok that is installed there.
"""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from vtok.inference.answer import answer
from vtok.inference.load import load_run
from vtok.inference.mlflow_model import EXPORTED


class Answers(PythonModel):
    """What `vtok describe` says of each video."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the model of the exported folder, on the GPU where there is one."""
        _, self.config, self.model = load_run(context.artifacts[EXPORTED], outputs="")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        """An answer a row, whose first column is a video file or a folder of frames; `params` as in `signature`.

        Raises:
            UserError: a video cannot be read.
        """
        assert params is not None, "MLflow fills in the signature's"
        return [answer(self.config, self.model, str(video), **params) for video in model_input.iloc[:, 0]]


set_model(Answers())
