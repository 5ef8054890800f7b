"""The neural family: a small MLP that each institution trains with local DP-SGD.

Scoring needs NumPy alone. Training (``neural.dpsgd``, ``neural.local``) and its accounting
(``neural.accounting``) import torch and Opacus, so they are imported by name where wanted.
"""

from haihe_fl.models.neural.encoder import Encoder, public_binning
from haihe_fl.models.neural.model import NeuralModel
from haihe_fl.models.neural.quantiles import absorb_quantiles, quantile_release
from haihe_fl.models.neural.settings import NeuralSettings, average_weights, initial_weights

__all__ = [
    "Encoder",
    "NeuralModel",
    "NeuralSettings",
    "absorb_quantiles",
    "average_weights",
    "initial_weights",
    "public_binning",
    "quantile_release",
]
