"""Training at an institution: a few DP-SGD steps from the round's global weights."""

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.validators import ModuleValidator  # type: ignore[import-untyped]
from torch import Tensor, nn

from haihe_fl.data.cohort import Cohort
from haihe_fl.models.neural.dpsgd import Descent, LayerTape, PrivateOptimizer, poisson_rows
from haihe_fl.models.neural.encoder import Encoder
from haihe_fl.models.neural.settings import NeuralSettings, Weights, check_weights
from haihe_fl.privacy.noise import NoiseSource

BLOCK = 2048
"""Records encoded and clipped at a time, so that memory does not grow with the batch."""


def network(width: int, settings: NeuralSettings) -> nn.Sequential:
    """Return the untrained network in double precision; no batch statistics, so DP applies."""
    units = [width, *settings.hidden]
    activation: type[nn.Module] = nn.Tanh if settings.activation == "tanh" else nn.ReLU
    layers = [(nn.Linear(a, b, dtype=torch.float64), activation()) for a, b in pairwise(units)]
    last = nn.Linear(units[-1], 1, dtype=torch.float64)
    return nn.Sequential(*chain.from_iterable(layers), last)


class LocalTrainer:
    """Trains on one institution's rows; the weights it returns are differentially private.

    It keeps nothing between rounds but the rows' bins, a byte each. The caller charges the ledger
    for a round *before* it sends the result, and never trains a round twice on one charge.

    Parameters
    ----------
    cohort : Cohort
        The institution's training rows.
    encoder : Encoder
        Of the run; public.
    settings : NeuralSettings
        Of the run; public.
    noise_multiplier : float
        Noise on a step's clipped sum over the clipping norm. 0 trains without privacy, for
        tests and benchmarks.
    source : NoiseSource, optional
        A fresh one, keyed by the operating system, if left out.
    """

    def __init__(
        self,
        cohort: Cohort,
        encoder: Encoder,
        settings: NeuralSettings,
        noise_multiplier: float,
        *,
        source: NoiseSource | None = None,
    ) -> None:
        if noise_multiplier < 0:
            raise ValueError(f"noise multiplier {noise_multiplier} is negative")
        self.settings = settings
        self.noise_multiplier = noise_multiplier
        self._source = NoiseSource() if source is None else source
        self._shapes = settings.shapes(encoder.width)
        self._encoder = encoder
        self._codes = encoder.codes(cohort.values)
        self._labels = cohort.label
        self._network = network(encoder.width, settings)
        ModuleValidator.validate(self._network, strict=True)
        self._tape = LayerTape(self._network)

    def train(
        self, weights: Sequence[NDArray[np.floating]], *, proximal_mu: float | None = None
    ) -> Weights:
        """Return the weights after ``settings.local_steps`` steps.

        Parameters
        ----------
        weights : sequence of ndarray
            Global weights of the round, as from ``initial_weights``.
        proximal_mu : float, optional
            Strength of the pull to the global weights; the settings' own if left out. The
            pull reads no rows: it follows each private step as an implicit step,
            w <- (w + lr mu w_global) / (1 + lr mu), stable at any learning rate.

        Returns
        -------
        list of ndarray of float32
            To be averaged with equal weight per institution; see ``NeuralSettings.records``.

        Raises
        ------
        IntegrityError
            H5151 if the weights do not fit.
        """
        check_weights(weights, self._shapes)
        origin = [torch.from_numpy(np.asarray(w, dtype=np.float64)) for w in weights]
        parameters = list(self._network.parameters())
        with torch.no_grad():
            for parameter, value in zip(parameters, origin, strict=True):
                parameter.copy_(value)
        optimizer = self._optimizer(parameters)
        mu = self.settings.proximal_mu if proximal_mu is None else proximal_mu
        pull = self.settings.learning_rate * mu
        for _ in range(self.settings.local_steps):
            rows = poisson_rows(len(self._labels), self.settings.sample_rate)
            # An empty batch is one empty block.
            ends = [*range(BLOCK, len(rows), BLOCK), len(rows)]
            for start, end in pairwise([0, *ends]):
                loss = self._loss(rows[start:end])
                optimizer.private_step(loss, last=end == len(rows))
            if pull > 0:
                with torch.no_grad():
                    for parameter, value in zip(parameters, origin, strict=True):
                        parameter.add_(value, alpha=pull).div_(1 + pull)
        return [p.detach().numpy().astype(np.float32) for p in parameters]

    def _optimizer(self, parameters: list[nn.Parameter]) -> PrivateOptimizer:
        return PrivateOptimizer(
            Descent(parameters, self.settings.learning_rate, self.settings.momentum),
            self._tape,
            self._source,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.settings.clip_norm,
            expected_batch_size=self.settings.sample_rate * self.settings.records,
        )

    def _loss(self, rows: NDArray[np.intp]) -> Tensor:
        inputs = torch.from_numpy(self._encoder.inputs(self._codes[:, rows]))
        labels = torch.from_numpy(self._labels[rows].astype(np.float64))
        logits = self._network(inputs)[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
