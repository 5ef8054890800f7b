import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from haihe_fl.errors import IntegrityError, UserError
from haihe_fl.models.base import RiskModel
from haihe_fl.scorecard.scale import load_scale
from haihe_fl.workspace import Workspace
from server.mlflow_store import quiet_mlflow
from server.registry import load_model, record_run
from server.scoring import ScoringService

GOOD: dict[str, Any] = {"debt_ratio": 0.2, "sales_growth": 30, "sector": "biotech"}
BAD: dict[str, Any] = {"debt_ratio": 1.92, "sales_growth": -40.0, "sector": "farm"}


def shifted(model: RiskModel, shift: float) -> RiskModel:
    meta, arrays = model.state()
    return type(model).from_state(model.catalogue, {**meta, "shift": shift}, arrays)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return Workspace.at(tmp_path / "work")


def test_nothing_registered_says_how_to_train(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="haihe train") as caught:
        load_model(workspace)
    assert caught.value.code == "H2401"
    assert not (workspace.root / "mlflow.db").exists()


def test_round_trip(
    workspace: Workspace, toy: RiskModel, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = record_run(
        workspace,
        toy,
        run_name="first",
        params={"epsilon": 3, "family": "toy"},
        metrics={"auc": 0.81, "ks": 0.44},
        curves=[{"release": 0, "norm": 2.0}, {"release": 1, "norm": 0.5}],
        budgets={"bank-a": 3.0, "某银行(天津)": 2.5},
        delta=1e-5,
        fingerprints={"config": "c0", "data": "d0"},
        card="# Card\n卡片",
        artifacts={"evaluation/roc.json": '{"auc": 0.81}', "raw.bin": b"\x00\xff"},
    )
    second = record_run(
        workspace,
        shifted(toy, 1.0),
        run_name="second",
        params={},
        metrics={},
        champion=False,
    )
    assert (first.version, second.version) == ("1", "2")

    model, info = load_model(workspace)
    assert (info.version, info.fingerprint) == ("1", toy.fingerprint)
    assert (info.card, info.family, info.scale) == ("# Card\n卡片", "toy", load_scale())
    assert info.fingerprints == {
        "catalogue": toy.catalogue.fingerprint,
        "config": "c0",
        "data": "d0",
    }
    values = np.array([[0.2, 30, 2], [np.nan, -40, 1]], dtype=np.float32)
    np.testing.assert_array_equal(model.predict_pd(values), toy.predict_pd(values))
    assert load_model(workspace, version=2)[1].fingerprint == second.model_fingerprint
    with pytest.raises(UserError, match="versions: 1, 2") as caught:
        load_model(workspace, version=9)
    assert caught.value.code == "H2402"

    with quiet_mlflow(workspace) as mlflow:
        client = mlflow.MlflowClient()
        run = client.get_run(first.run_id)
        assert run.data.params["epsilon"] == "3"
        assert run.data.metrics["auc"] == 0.81
        assert run.data.metrics["epsilon.bank-a"] == 3.0
        assert run.data.metrics["epsilon.某银行_天津_"] == 2.5
        assert run.data.tags["budget.delta"] == "1e-05"
        assert run.data.tags["budget.unit"] == "record"
        history = client.get_metric_history(first.run_id, "curve.norm")
        assert [(m.step, m.value) for m in history] == [(0, 2.0), (1, 0.5)]
        names = {f.path for f in client.list_artifacts(first.run_id)}
        assert {"model_card.md", "evaluation", "raw.bin"} <= names
        pyfunc = mlflow.pyfunc.load_model("models:/haihe-risk@champion")
        assert pyfunc.metadata.get_input_schema().input_names() == list(toy.catalogue.names)
        frame = pd.DataFrame([GOOD, BAD, {"debt_ratio": 0.5}]).astype({"sales_growth": float})
        told = pyfunc.predict(frame)
    service = ScoringService(model, info)
    scored = service.score([GOOD, BAD, {"debt_ratio": 0.5}])
    assert told.to_dict("list") == {
        "pd": [s.pd for s in scored],
        "score": [s.score for s in scored],
        "band": [s.band for s in scored],
    }

    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert not any(path.suffix == ".pkl" for path in workspace.root.rglob("*"))
    assert {p.name for p in tmp_path.iterdir()} == {"work"}, "MLflow left something outside"
    assert Workspace(workspace.root).tracking_uri.endswith("work/mlflow.db")


def test_scale_stays_with_the_model(workspace: Workspace, toy: RiskModel) -> None:
    scale = load_scale().model_copy(update={"pdo": 50.0})
    record_run(workspace, toy, run_name="r", params={}, metrics={}, scale=scale)
    model, info = load_model(workspace)
    assert info.scale.pdo == 50.0
    assert ScoringService(model, info).score([BAD])[0].score == pytest.approx(
        float(scale.score(model.predict_pd(np.array([[1.92, -40, 1]], np.float32)))[0]), abs=0.005
    )


@pytest.mark.parametrize("name", ["model.npz", "scale.json"])
def test_altered_files_are_refused(workspace: Workspace, toy: RiskModel, name: str) -> None:
    record_run(workspace, toy, run_name="r", params={}, metrics={})
    (path,) = workspace.root.rglob(f"artifacts/artifacts/{name}")
    good = path.read_bytes()
    other = shifted(toy, 2.0).to_bytes() if name == "model.npz" else good.replace(b"20", b"21", 1)
    for bad in (other, good[:-10]):
        path.write_bytes(bad)
        with pytest.raises(IntegrityError) as caught:
            load_model(workspace)
        assert caught.value.code == "H5401"
    path.write_bytes(good)
    load_model(workspace)
    path.unlink()
    with pytest.raises(IntegrityError):
        load_model(workspace)


def test_artifacts_must_stay_inside(workspace: Workspace, toy: RiskModel) -> None:
    with pytest.raises(ValueError, match="inside the run"):
        record_run(workspace, toy, run_name="r", params={}, metrics={}, artifacts={"../x": "no"})


def test_foreign_bytes_are_no_model(toy: RiskModel) -> None:
    assert RiskModel.from_bytes(toy.to_bytes()).fingerprint == toy.fingerprint
    with pytest.raises(IntegrityError):
        RiskModel.from_bytes(b"PK\x03\x04 nonsense")


def test_telemetry_is_off_and_scoring_needs_no_mlflow() -> None:
    import subprocess

    code = (
        "import sys, os, server.registry, server.scoring; assert 'mlflow' not in sys.modules;"
        "from pathlib import Path; from haihe_fl.workspace import Workspace;"
        "from server.mlflow_store import quiet_mlflow\n"
        "with quiet_mlflow(Workspace(Path('.'))) as m:\n"
        "    from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "    print(is_telemetry_disabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.strip().lower()) is True
    assert done.stderr == ""
