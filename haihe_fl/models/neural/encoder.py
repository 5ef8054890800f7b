"""Inputs of the network: a row of bins becomes a row of numbers of about unit size."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.binning import Binning, category_columns, grid, levels_of, number_columns

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8] | NDArray[np.uint16]

KNOTS = (0.25, 0.75)
"""Rank positions at which a number's line may bend before the network bends it."""
WIDEST = 32
"""Most inputs of a category; levels beyond share the last one."""
_NORM = 24.0
_BLOCK = 8192


def public_binning(catalogue: FeatureCatalogue, bins: int = 24) -> Binning:
    """Return bins that need no rows: equal steps of the public grid, one bin a level.

    It costs no budget, and serves where the quantile release is not wanted; quantiles spread
    the borrowers evenly and train better.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="share", range=(0, 1)),))
    >>> public_binning(c, bins=4).cuts.tolist()
    [[0.25, 0.5, 0.75]]
    """
    numbers = number_columns(catalogue)
    cuts = np.empty((len(numbers), bins - 1))
    for row, j in enumerate(numbers):
        edges = grid(catalogue.features[j])
        cuts[row] = edges[np.arange(1, bins) * (len(edges) + 1) // bins - 1]
    levels = [
        np.arange(1, levels_of(catalogue.features[j]) + 1) for j in category_columns(catalogue)
    ]
    return Binning(catalogue, cuts, np.concatenate([np.empty(0, np.int64), *levels]))


@dataclass(frozen=True, eq=False)
class Encoder:
    """Turns records into network inputs by table look-up, feature by feature.

    A number in bin b of B lies at rank p = (b - 1/2) / B. Its inputs are 2 p - 1, a hinge
    2 max(p - c, 0) - (1 - c)^2 for each knot c (all of mean zero when ranks are uniform) and
    an indicator of a missing value. A category is one-hot, missing among the levels. All is
    scaled by the root of 24 / d, so that the squared norm of a row, and with it the learning
    rate that suits, hardly depends on the number of features d.

    Attributes
    ----------
    binning : Binning
        Cut points and levels; the additive family's own.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="share", range=(0, 1)),))
    >>> encoder = Encoder(public_binning(c, bins=4))
    >>> inputs = encoder(np.array([[0.1], [np.nan]], np.float32))
    >>> encoder.width, (inputs / 24**0.5).round(3).tolist()
    (4, [[-0.75, -0.562, -0.062, 0.0], [0.0, 0.0, 0.0, 1.0]])
    """

    binning: Binning

    @property
    def catalogue(self) -> FeatureCatalogue:
        """Meaning of the columns of the records."""
        return self.binning.catalogue

    @cached_property
    def tables(self) -> list[Floats]:
        """Inputs of every bin of each feature, shape (bins with missing, inputs) each."""
        features, used = self.catalogue.features, self.binning.used()
        scale = np.sqrt(_NORM / len(features))
        return [
            scale * (_number(n) if feature.kind == "number" else _category(n))
            for feature, n in zip(features, used, strict=True)
        ]

    @cached_property
    def slices(self) -> list[slice]:
        """Which inputs belong to each feature."""
        ends = np.cumsum([0, *(table.shape[1] for table in self.tables)])
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return sum(table.shape[1] for table in self.tables)

    @cached_property
    def reference(self) -> Floats:
        """Inputs of the average borrower, shape (width,).

        Quantile bins hold about equally many borrowers, so it is the plain mean over the
        bins of present values: public knowledge that costs no budget.
        """
        return np.concatenate([table[1:].mean(axis=0) for table in self.tables])

    def __call__(self, values: NDArray[np.float32]) -> Floats:
        """Return the inputs of records, shape (n, width), for values of shape (n, d)."""
        return self.inputs(self.codes(values))

    def codes(self, values: NDArray[np.float32]) -> Codes:
        """Return the bins of records, shape (d, n): a byte each where that is enough."""
        dtype = np.uint8 if max(self.binning.used()) <= 256 else np.uint16
        out = np.empty((len(self.tables), len(values)), dtype)
        for start in range(0, len(values), _BLOCK):
            part = slice(start, start + _BLOCK)
            out[:, part] = self.binning.codes(np.asarray(values[part], dtype=np.float32))
        return out

    def inputs(self, codes: Codes) -> Floats:
        """Return the inputs of binned records, shape (n, width)."""
        out = np.empty((codes.shape[1], self.width))
        for code, part, table in zip(codes, self.slices, self.tables, strict=True):
            out[:, part] = table[code]
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that ``from_arrays`` needs beside the catalogue."""
        return {"cuts": self.binning.cuts, "levels": self.binning.levels}

    @classmethod
    def from_arrays(cls, catalogue: FeatureCatalogue, arrays: dict[str, NDArray[Any]]) -> "Encoder":
        """Rebuild an encoder from ``arrays``."""
        return cls(Binning(catalogue, arrays["cuts"], arrays["levels"]))


def _number(bins: int) -> Floats:
    rank = (np.arange(1, bins) - 0.5) / (bins - 1)
    columns = [2 * rank - 1, *(2 * np.maximum(rank - c, 0) - (1 - c) ** 2 for c in KNOTS)]
    table = np.zeros((bins, len(columns) + 1))
    table[1:, :-1] = np.stack(columns, axis=1)
    table[0, -1] = 1.0
    return table


def _category(bins: int) -> Floats:
    width = min(bins, WIDEST)
    return np.asarray(np.eye(width)[np.minimum(np.arange(bins), width - 1)])
