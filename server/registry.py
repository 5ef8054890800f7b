"""Model registry: with ``mlflow_store`` and ``mlflow_model`` all that speaks to MLflow.

A registered model is the bytes of a ``RiskModel`` beside its score scale; a hash of both
stands as a tag and is checked again when the model is loaded.
"""

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from haihe_fl.errors import IntegrityError, UserError
from haihe_fl.models.base import RiskModel
from haihe_fl.scorecard.scale import ScoreScale, load_scale
from haihe_fl.workspace import Workspace
from server.mlflow_store import experiment, log_pyfunc, quiet_mlflow, register
from server.scoring import ModelInfo

DEFAULT_NAME = "haihe-risk"


@dataclass(frozen=True)
class RegisteredRun:
    """Where a run and its model stand in the registry."""

    run_id: str
    name: str
    version: str
    model_fingerprint: str


def record_run(
    workspace: Workspace,
    model: RiskModel,
    *,
    run_name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    curves: Sequence[Mapping[str, float]] = (),
    budgets: Mapping[str, float] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    card: str = "",
    artifacts: Mapping[str, bytes | str] | None = None,
    register_as: str = DEFAULT_NAME,
    champion: bool = True,
    delta: float | None = None,
    unit: str = "record",
    scale: ScoreScale | None = None,
) -> RegisteredRun:
    """Log a training run and register its model as the next version.

    Parameters
    ----------
    workspace : Workspace
        Whose store and artifact folder to use.
    model : RiskModel
        The trained model.
    run_name, params, metrics
        As MLflow shows them.
    curves : sequence of mapping
        One row a release; each key becomes the stepped metric ``curve.KEY``.
    budgets : mapping of str to float
        Epsilon spent at each institution, logged as ``epsilon.INSTITUTION``.
    delta, unit
        What the epsilons stand for, logged beside them.
    fingerprints : mapping of str to str
        Hashes of config, data and catalogue.
    card : str
        Model card in Markdown.
    artifacts : mapping of str to bytes or str
        More files, by relative path.
    register_as : str
        Name in the registry.
    champion : bool
        Whether this version becomes the one that is served.
    scale : ScoreScale, optional
        Score scale that stays with the model, by default that of ``configs``.
    """
    scale = scale or load_scale()
    fingerprint = model.fingerprint
    hashes = {"catalogue": model.catalogue.fingerprint, **(fingerprints or {})}
    with quiet_mlflow(workspace) as mlflow, tempfile.TemporaryDirectory() as folder:
        tags = {
            "model_fingerprint": fingerprint,
            "seal": _sealed(model.to_bytes(), scale),
            "family": model.family,
            "budget.unit": unit,
            **({} if delta is None else {"budget.delta": f"{delta:g}"}),
            **{f"fingerprint.{key}": value for key, value in hashes.items()},
        }
        with mlflow.start_run(
            experiment_id=experiment(mlflow, workspace), run_name=run_name, tags=tags
        ) as run:
            mlflow.log_params({_key(k): str(v)[:6000] for k, v in params.items()})
            spent = {f"epsilon.{name}": value for name, value in (budgets or {}).items()}
            _log_metrics(mlflow, run.info.run_id, {**metrics, **spent}, curves)
            for path, content in _files(card, artifacts or {}).items():
                target = Path(folder, "run", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            if Path(folder, "run").exists():
                mlflow.log_artifacts(str(Path(folder, "run")))
            logged = log_pyfunc(mlflow, Path(folder), model, scale)
            version = register(mlflow, register_as, logged, tags, card)
            if champion:
                client = mlflow.MlflowClient()
                client.set_registered_model_alias(register_as, "champion", version)
        return RegisteredRun(run.info.run_id, register_as, version, fingerprint)


def load_model(
    workspace: Workspace,
    name: str = DEFAULT_NAME,
    version: str | int | None = None,
    alias: str = "champion",
) -> tuple[RiskModel, ModelInfo]:
    """Load a registered model, by version or else by alias.

    Raises
    ------
    UserError
        H2401 if no such model is registered, H2402 if it has no such version or alias.
    IntegrityError
        H5401 if the stored bytes are not those that were registered.
    """
    store = workspace.tracking_uri
    if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).exists():
        raise _no_model(workspace, name)  # before MLflow makes an empty store
    with quiet_mlflow(workspace) as mlflow, tempfile.TemporaryDirectory() as folder:
        found = _find(mlflow, workspace, name, version, alias)
        data, scale = _download(mlflow, f"models:/{name}/{found.version}", folder)
    tags = dict(found.tags)
    if scale is None or _sealed(data, scale) != tags.get("seal"):
        raise IntegrityError(
            "H5401",
            en=f"model {name} version {found.version} is not what was registered: a file is "
            "missing or its fingerprint differs; restore the artifacts or train again",
            zh=f"模型 {name} 版本 {found.version} 与登记时不一致:文件缺失或指纹不符;"
            "请恢复文件或重新训练",
        )
    model = RiskModel.from_bytes(data)
    prefix = "fingerprint."
    return model, ModelInfo(
        name=name,
        version=str(found.version),
        fingerprint=tags["model_fingerprint"],
        family=model.family,
        run_id=found.run_id or "",
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        scale=scale,
        card=found.description or "",
        fingerprints={k.removeprefix(prefix): v for k, v in tags.items() if k.startswith(prefix)},
    )


def _log_metrics(
    mlflow: Any,
    run_id: str,
    figures: Mapping[str, float],
    curves: Sequence[Mapping[str, float]],
) -> None:
    """Log figures and stepped curves, many to a transaction."""
    now = int(datetime.now(UTC).timestamp() * 1000)
    metric = mlflow.entities.Metric
    rows = [metric(_key(k), float(v), now, 0) for k, v in figures.items()]
    for step, row in enumerate(curves):
        rows += [metric(_key(f"curve.{k}"), float(v), now, step) for k, v in row.items()]
    for start in range(0, len(rows), 1000):
        mlflow.MlflowClient().log_batch(run_id, metrics=rows[start : start + 1000])


def _download(mlflow: Any, uri: str, folder: str) -> tuple[bytes, ScoreScale | None]:
    """Return the model's bytes and its scale, or no scale if a file is missing or broken."""
    try:
        at = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
        text = (at / "artifacts" / "scale.json").read_text("utf-8")
        return (at / "artifacts" / "model.npz").read_bytes(), ScoreScale.model_validate_json(text)
    except (OSError, ValueError, mlflow.exceptions.MlflowException):
        return b"", None


def _sealed(data: bytes, scale: ScoreScale) -> str:
    """Return the hash of model and scale together, in hex."""
    text = scale.model_dump_json(by_alias=True)
    return hashlib.sha256(hashlib.sha256(data).digest() + text.encode()).hexdigest()


def _find(
    mlflow: Any, workspace: Workspace, name: str, version: str | int | None, alias: str
) -> Any:
    client = mlflow.MlflowClient()
    try:
        client.get_registered_model(name)
    except mlflow.exceptions.MlflowException:
        raise _no_model(workspace, name) from None
    try:
        if version is not None:
            return client.get_model_version(name, str(version))
        return client.get_model_version_by_alias(name, alias)
    except mlflow.exceptions.MlflowException:
        known = sorted(int(v.version) for v in client.search_model_versions(f"name='{name}'"))
        wanted = f"version {version}" if version is not None else f"alias {alias!r}"
        raise UserError(
            "H2402",
            en=f"model {name!r} has no {wanted}; versions: {', '.join(map(str, known)) or 'none'}",
            zh=f"模型 {name!r} 没有 {wanted};现有版本:{', '.join(map(str, known)) or '无'}",
        ) from None


def _no_model(workspace: Workspace, name: str) -> UserError:
    return UserError(
        "H2401",
        en=f"no model {name!r} is registered in {workspace.root}; train one with "
        "`haihe train` or `haihe demo`, or name its working folder with --work",
        zh=f"{workspace.root} 中没有登记模型 {name!r};请先运行 `haihe train` 或 `haihe demo`,"
        "或用 --work 指定工作目录",
    )


def _files(card: str, artifacts: Mapping[str, bytes | str]) -> dict[str, bytes]:
    files = {path: a.encode() if isinstance(a, str) else a for path, a in artifacts.items()}
    for path in files:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ValueError(f"artifact path {path} must stay inside the run")
    return {**files, **({"model_card.md": card.encode()} if card else {})}


def _key(name: str) -> str:
    """Return a name that MLflow takes as key of a metric or parameter."""
    return re.sub(r"[^\w.\- :/]", "_", name)
