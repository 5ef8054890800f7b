"""The neural risk model: scoring and reasons in NumPy from plain weight arrays."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.base import RiskModel, Term
from haihe_fl.models.neural.encoder import Encoder
from haihe_fl.models.neural.settings import NeuralSettings, Weights, check_weights

Floats = NDArray[np.float64]

POINTS = 16
"""Points of the Gauss-Legendre rule along the path of ``contributions``."""
_BLOCK = 2048


class NeuralModel(RiskModel):
    """A multilayer perceptron over encoded records.

    Parameters
    ----------
    encoder : Encoder
        Turns records into inputs.
    settings : NeuralSettings
        Layers and activation (the rest is kept for the model card).
    weights : list of ndarray of float32
        Matrix (outputs, inputs) and offset of each layer, in order.

    Notes
    -----
    A contribution is an Aumann-Shapley value (integrated gradients): the gradient of the
    log-odds along the straight line from the average borrower's inputs to the record's, times
    the distance gone, summed over the inputs of a feature. What the quadrature misses is
    shared out in proportion to the size of the parts, so that parts add up exactly.

    References
    ----------
    Sundararajan, Taly, Yan (2017), Axiomatic attribution for deep networks, ICML.
    """

    family: ClassVar[str] = "neural"

    def __init__(self, encoder: Encoder, settings: NeuralSettings, weights: Weights) -> None:
        check_weights(weights, settings.shapes(encoder.width))
        self.catalogue = encoder.catalogue
        self.encoder = encoder
        self.settings = settings
        self.weights = [np.ascontiguousarray(w, dtype=np.float32) for w in weights]
        wide = [w.astype(np.float64) for w in self.weights]
        self._layers = list(zip(wide[::2], wide[1::2], strict=True))

    @classmethod
    def from_weights(
        cls,
        catalogue: FeatureCatalogue,
        encoder: Encoder,
        settings: NeuralSettings,
        weights: Sequence[NDArray[np.floating]],
    ) -> Self:
        """Build a model from weights as training exchanges them.

        Raises
        ------
        IntegrityError
            H5151 if the weights do not fit encoder and settings.
        """
        if catalogue != encoder.catalogue:
            raise ValueError("the encoder belongs to another catalogue")
        return cls(encoder, settings, [np.asarray(w, dtype=np.float32) for w in weights])

    def _forward(self, inputs: Floats) -> tuple[Floats, list[Floats]]:
        """Return log-odds, and the slope of the activation at every hidden unit."""
        slopes: list[Floats] = []
        level = inputs
        for matrix, offset in self._layers[:-1]:
            level = level @ matrix.T + offset
            if self.settings.activation == "tanh":
                level = np.tanh(level)
                slopes.append(1.0 - level * level)
            else:
                slopes.append((level > 0.0).astype(np.float64))
                level = level * slopes[-1]
        matrix, offset = self._layers[-1]
        return (level @ matrix.T + offset)[:, 0], slopes

    def _gradient(self, inputs: Floats) -> Floats:
        slopes = self._forward(inputs)[1]
        back = np.broadcast_to(self._layers[-1][0], (len(inputs), self._layers[-1][0].shape[1]))
        for (matrix, _), slope in zip(reversed(self._layers[:-1]), reversed(slopes), strict=True):
            back = (back * slope) @ matrix
        return back

    def logit(self, values: NDArray[np.float32]) -> Floats:
        """Return log-odds of default, shape (n,), for values of shape (n, d)."""
        out = np.empty(len(values))
        for start in range(0, len(values), _BLOCK):
            rows = slice(start, start + _BLOCK)
            out[rows] = self._forward(self.encoder(values[rows]))[0]
        return out

    def score_inputs(self, inputs: Floats) -> Floats:
        """Return log-odds, shape (n,), for network inputs of shape (n, width)."""
        return self._forward(inputs)[0]

    @property
    def base(self) -> float:
        """Log-odds at the average borrower's inputs (``Encoder.reference``)."""
        return float(self._forward(self.encoder.reference[None])[0][0])

    def recalibrated(self, slope: float, intercept: float) -> Self:
        """Return the model whose log-odds are ``slope`` times these plus ``intercept``."""
        *hidden, matrix, offset = self.weights
        last = [
            (slope * matrix).astype(np.float32),
            (slope * offset + intercept).astype(np.float32),
        ]
        return type(self)(self.encoder, self.settings, [*hidden, *last])

    def terms(self) -> list[Term]:
        """Return one term a feature."""
        return [Term((j,)) for j in range(len(self.catalogue.features))]

    def contributions(self, values: NDArray[np.float32]) -> Floats:
        """Return each feature's part of the log-odds, shape (n, d); see the class notes."""
        out = np.empty((len(values), len(self.catalogue.features)))
        for start in range(0, len(values), _BLOCK):
            rows = slice(start, start + _BLOCK)
            out[rows] = self._parts(self.encoder(values[rows]))
        return out

    def _parts(self, inputs: Floats) -> Floats:
        origin = self.encoder.reference
        way = inputs - origin
        nodes, shares = np.polynomial.legendre.leggauss(POINTS)
        mean = np.zeros_like(inputs)
        for node, share in zip(nodes, shares, strict=True):
            mean += share / 2 * self._gradient(origin + (1 + node) / 2 * way)
        parts = np.add.reduceat(mean * way, [s.start for s in self.encoder.slices], axis=1)
        missed = self._forward(inputs)[0] - self.base - parts.sum(axis=1)
        size = np.abs(parts) + 1e-12
        return np.asarray(parts + missed[:, None] * size / size.sum(axis=1, keepdims=True))

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return settings, and the arrays of encoder and weights."""
        weights = {f"weight_{i:02d}": w for i, w in enumerate(self.weights)}
        return {"settings": self.settings.model_dump(mode="json")}, {
            **self.encoder.arrays(),
            **weights,
        }

    @classmethod
    def from_state(
        cls, catalogue: FeatureCatalogue, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """Rebuild a model from ``state``."""
        names = sorted(name for name in arrays if name.startswith("weight_"))
        return cls(
            Encoder.from_arrays(catalogue, arrays),
            NeuralSettings.model_validate(meta["settings"]),
            [arrays[name] for name in names],
        )
