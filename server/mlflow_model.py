"""The served model as an MLflow pyfunc, by models-from-code: no pickle anywhere.

MLflow copies this file beside the model and runs it when the model is loaded. The model
itself is the artifact ``model`` (``RiskModel.to_bytes``), its scale the artifact ``scale``.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from haihe_fl.models.base import RiskModel
from haihe_fl.scorecard.scale import ScoreScale
from server.scoring import ModelInfo, ScoringService


class HaiheScorer(PythonModel):
    """Takes a frame of features by name; returns ``pd``, ``score`` and ``band``."""

    def load_context(self, context: Any) -> None:
        """Read model and scale from the artifacts."""
        model = RiskModel.from_bytes(Path(context.artifacts["model"]).read_bytes())
        scale = ScoreScale.model_validate_json(Path(context.artifacts["scale"]).read_text("utf-8"))
        info = ModelInfo(
            name="pyfunc",
            version="",
            fingerprint=model.fingerprint,
            family=model.family,
            run_id="",
            created=datetime.now(UTC),
            scale=scale,
        )
        self.service = ScoringService(model, info, max_batch=1_000_000)

    # MLflow reads this annotation: it takes a frame as "the signature says the rest".
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Score each row; raises ``FieldError`` for the first faulty one."""
        frame = model_input.astype(object).where(model_input.notna(), None)
        rows: list[Any] = frame.to_dict(orient="records")
        scored = self.service.score(rows, top=0)
        return pd.DataFrame(
            {
                "pd": [s.pd for s in scored],
                "score": [s.score for s in scored],
                "band": [s.band for s in scored],
            },
            index=model_input.index,
        )


mlflow.models.set_model(HaiheScorer())
