"""Writing a finished run into the registry."""
from typing import Any
def record(workspace: Any, report: Any) -> None:
    return None
def summary(report):
    return {"fingerprint": report.model.fingerprint, "seconds": report.seconds}
