"""The working folder: where a run leaves what it made."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """Paths under the working folder (``--work``, else ``HAIHE_WORK``, else ``./haihe-work``)."""

    root: Path

    @classmethod
    def at(cls, root: Path | None = None) -> "Workspace":
        """Open the working folder, creating it if need be."""
        chosen = (root or Path(os.environ.get("HAIHE_WORK", "haihe-work"))).expanduser().resolve()
        chosen.mkdir(parents=True, exist_ok=True)
        return cls(chosen)

    def folder(self, *parts: str) -> Path:
        """Return a sub-folder, made if it does not exist."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking and registry store: ``MLFLOW_TRACKING_URI`` or sqlite in the folder."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"
