"""What the centre knows of a finished run."""

from dataclasses import dataclass

from haihe_fl.evaluation.calibration import CalibrationBin
from haihe_fl.evaluation.metrics import Metrics
from haihe_fl.messages.node_pb2 import Status
from haihe_fl.models.base import RiskModel
from haihe_fl.models.plan import TrainingPlan
from server.job import TrainingJob
from server.registry import RegisteredRun


@dataclass
class TrainingReport:
    """Everything the centre knows of a finished run; nothing in it needs a row."""

    job: TrainingJob
    plan: TrainingPlan
    model: RiskModel
    metrics: Metrics | None
    calibration: tuple[CalibrationBin, ...]
    validation_sd: float
    trace: list[dict[str, float]]
    status: dict[str, Status]
    survivors: list[tuple[str, ...]]
    left_out: dict[str, str]
    bytes_up: dict[str, int]
    bytes_down: dict[str, int]
    seconds: float
    registered: RegisteredRun | None = None
