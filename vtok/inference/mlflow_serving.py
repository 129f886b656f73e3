"""The code that MLflow runs to serve a trained model: videos in, answers out.

MLflow copies this file into the logged model and runs it to load the model ("models from code"), so nothing is pickled.
It imports the installed VTok.
"""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from vtok.inference.answer import answer
from vtok.inference.load import load_run
from vtok.inference.mlflow_model import EXPORTED


class Answers(PythonModel):
    """Answers about videos, as `vtok describe` gives them."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model of the exported folder, on the GPU if there is one."""
        _, self.config, self.model = load_run(context.artifacts[EXPORTED], outputs="")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        """One answer for each row, whose first column is a video file or a folder of frames.

        Args:
            context: context of the model, not used here.
            model_input: rows of videos.
            params: parameters of `vtok.inference.mlflow_model.signature`.

        Raises:
            UserError: if a video cannot be read.
        """
        assert params is not None, "MLflow fills in the signature's defaults"
        return [answer(self.config, self.model, str(video), **params) for video in model_input.iloc[:, 0]]


set_model(Answers())
