"""What a run of local training is agreed on, and the weights it starts from."""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from haihe_fl.errors import IntegrityError
from haihe_fl.models.neural.encoder import Encoder

Weights = list[NDArray[np.float32]]

LARGEST = 1e6
"""Largest absolute weight a node will start from: beyond it gradients could overflow."""


class NeuralSettings(BaseModel):
    """Settings of the network and of its local training; public, part of the plan.

    Attributes
    ----------
    hidden : tuple of int
        Units of the hidden layers, four of 1,024 at most; empty gives a logistic regression
        on the inputs.
    activation : {"tanh", "relu"}
        Bounded activations bear noise and clipping better.
    rounds, local_steps : int
        Rounds of averaging, and DP-SGD steps an institution takes in each.
    sample_rate : float
        Probability q with which a record joins a step's batch. At 1 all records join and the
        accounting is exact.
    records : int
        Records an institution holds on average, a public or noisily released number. A step
        divides the summed gradient by ``sample_rate * records`` at every institution, never
        by its own count, which is private; so institutions weigh in the plain average of
        their weights by what they hold.
    clip_norm : float
        Largest L2 norm of one record's gradient, C.
    learning_rate, momentum : float
        Of the local SGD; momentum starts anew in every round.
    proximal_mu : float
        FedProx: how strongly local weights are drawn back to the round's global weights.
    prior : float
        Probability of default that training starts from; public knowledge.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    hidden: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(default=(32, 16), max_length=4)
    activation: Literal["tanh", "relu"] = "tanh"
    rounds: int = Field(default=20, gt=0, le=1000)
    local_steps: int = Field(default=8, gt=0, le=1000)
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    records: int = Field(default=1000, gt=0)
    clip_norm: float = Field(default=0.5, gt=0)
    learning_rate: float = Field(default=4.0, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    proximal_mu: float = Field(default=0.0, ge=0)
    prior: float = Field(default=0.1, gt=0, lt=1)

    @property
    def total_steps(self) -> int:
        """DP-SGD steps of the whole run."""
        return self.rounds * self.local_steps

    def shapes(self, width: int) -> list[tuple[int, ...]]:
        """Return the shapes of the weights, matrix (outputs, inputs) then offset, by layer."""
        units = [width, *self.hidden, 1]
        shapes: list[tuple[int, ...]] = []
        for inputs, outputs in itertools.pairwise(units):
            shapes += [(outputs, inputs), (outputs,)]
        return shapes


def initial_weights(seed: int, encoder: Encoder, settings: NeuralSettings) -> Weights:
    """Return the weights of round 0, which depend on no data.

    Hidden layers are uniform with variance 1 / inputs; the last layer is half as large, its
    offset the log-odds of ``settings.prior``.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature, FeatureCatalogue
    >>> from haihe_fl.models.neural.encoder import public_binning
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="share", range=(0, 1)),))
    >>> [w.shape for w in initial_weights(0, Encoder(public_binning(c)), NeuralSettings())]
    [(32, 4), (32,), (16, 32), (16,), (1, 16), (1,)]
    """
    random = np.random.default_rng(seed)
    weights: Weights = []
    for shape in settings.shapes(encoder.width):
        if len(shape) == 1:
            weights.append(np.zeros(shape, dtype=np.float32))
        else:
            bound = math.sqrt(3.0 / shape[1])
            weights.append(random.uniform(-bound, bound, shape).astype(np.float32))
    if settings.hidden:
        weights[-2] *= np.float32(0.5 / math.sqrt(3.0))
    else:
        weights[-2][:] = 0.0
    weights[-1][:] = math.log(settings.prior / (1.0 - settings.prior))
    return weights


def check_weights(weights: Sequence[NDArray[np.floating]], shapes: list[tuple[int, ...]]) -> None:
    """Check weights before any row is read.

    The verdict depends on the weights alone, so refusing tells nothing about the rows.

    Raises
    ------
    IntegrityError
        H5151 if a shape differs or an entry is not finite or beyond ``LARGEST``.
    """
    found = [np.shape(w) for w in weights]
    if found == shapes and all(np.all(np.abs(w) <= LARGEST) for w in weights):
        return
    raise IntegrityError(
        "H5151",
        en=f"the network's weights do not fit: shapes {found} where {shapes} are due, or an entry "
        f"is not finite or beyond {LARGEST:g}; lower the learning rate, or check that centre and "
        "institution run the same plan",
        zh=f"网络权重不符:形状为 {found},应为 {shapes};或有元素非有限值、绝对值超过 {LARGEST:g};"
        "请降低学习率,或确认中心与机构执行同一训练计划",
    )


def average_weights(history: Sequence[Sequence[NDArray[np.floating]]]) -> Weights:
    """Return the mean of the second half of the rounds' global weights.

    Averaging the iterates removes noise for free: it is post-processing.

    Parameters
    ----------
    history : sequence of weights
        Global weights after every round, in order; at least one.

    Examples
    --------
    >>> rounds = [[np.array([v], np.float32)] for v in (9.0, 9.0, 1.0, 2.0)]
    >>> average_weights(rounds)[0].tolist()
    [1.5]
    """
    late = history[len(history) // 2 :]
    means = (np.mean(parts, axis=0, dtype=np.float64) for parts in zip(*late, strict=True))
    return [np.asarray(mean, dtype=np.float32) for mean in means]
