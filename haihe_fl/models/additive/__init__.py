"""The flagship: a federated, differentially private additive model with pairs (GA2M)."""

from haihe_fl.models.additive.config import AdditiveConfig
from haihe_fl.models.additive.local import COUNT_SCALE, RESIDUAL_CLIP, RESIDUAL_SCALE
from haihe_fl.models.additive.model import AdditiveModel, Shape
from haihe_fl.models.additive.trainer import AdditiveTrainer

__all__ = [
    "COUNT_SCALE",
    "RESIDUAL_CLIP",
    "RESIDUAL_SCALE",
    "AdditiveConfig",
    "AdditiveModel",
    "AdditiveTrainer",
    "Shape",
]
