"""MLflow made quiet, and the calls that write a model into it."""

import importlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from haihe_fl.models.base import RiskModel
from haihe_fl.scorecard.scale import ScoreScale
from haihe_fl.workspace import Workspace
from server.records import example_row

EXPERIMENT = "haihe"
_lock = threading.RLock()


@contextmanager
def quiet_mlflow(workspace: Workspace) -> Iterator[Any]:
    """Give MLflow, pointed at the workspace's store, without telemetry, log or warning."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow: Any = importlib.import_module("mlflow")  # not at import: it takes a second
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # MLflow writes its tracking URI into the environment, where Workspace would read it.
        variable = os.environ.get("MLFLOW_TRACKING_URI")
        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        mlflow.set_tracking_uri(workspace.tracking_uri)
        try:
            yield mlflow
        finally:
            mlflow.set_tracking_uri(before)  # None means unset
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            if variable is not None:
                os.environ["MLFLOW_TRACKING_URI"] = variable


def experiment(mlflow: Any, workspace: Workspace) -> str:
    """Return the experiment's id, its artifacts under the workspace if the store is local."""
    known = mlflow.get_experiment_by_name(EXPERIMENT)
    if known is not None:
        return str(known.experiment_id)
    local = workspace.tracking_uri.startswith("sqlite:")
    location = workspace.folder("mlflow-artifacts").as_uri() if local else None
    return str(mlflow.create_experiment(EXPERIMENT, artifact_location=location))


def log_pyfunc(mlflow: Any, folder: Path, model: RiskModel, scale: ScoreScale) -> Any:
    """Log the model with signature and example, by models-from-code; nothing is pickled."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    model.save(folder / "model.npz")
    (folder / "scale.json").write_text(scale.model_dump_json(by_alias=True), encoding="utf-8")
    features = model.catalogue.features
    inputs: list[Any] = [
        ColSpec(DataType.string if f.categories else DataType.double, f.name, required=False)
        for f in features
    ]
    outputs: list[Any] = [
        ColSpec(DataType.double, "pd"),
        ColSpec(DataType.double, "score"),
        ColSpec(DataType.string, "band"),
    ]
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("mlflow_model.py")),
        artifacts={
            "model": (folder / "model.npz").as_uri(),
            "scale": (folder / "scale.json").as_uri(),
        },
        signature=ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)),
        input_example=pd.DataFrame([example_row(model.catalogue)]),
        pip_requirements=["haihe-fl"],
    )


def register(mlflow: Any, name: str, logged: Any, tags: Mapping[str, str], card: str) -> str:
    """Make the next version; through the client, because the fluent call prints."""
    client = mlflow.MlflowClient()
    try:
        client.get_registered_model(name)
    except mlflow.exceptions.MlflowException:
        client.create_registered_model(name)
    made = client.create_model_version(
        name,
        source=logged.model_uri,
        run_id=logged.run_id,
        tags=dict(tags),
        description=card,
        model_id=logged.model_id,
    )
    return str(made.version)
