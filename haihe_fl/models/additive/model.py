"""The finished additive model: a score is an intercept and a few table look-ups."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.base import RiskModel, Term
from haihe_fl.models.binning import number_columns

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shape:
    """The effect of one feature, for a report.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins - 1,), or None
        Cut points of a number; bin b covers edges[b - 1] <= x < edges[b].
    categories : tuple of str, or None
        Levels of a category, in catalogue order.
    values : ndarray of float64
        Centred log-odds of each bin (numbers) or level (categories).
    missing : float
        Centred log-odds where the value is missing or unknown.
    weights : ndarray of float64
        Noisy number of training records in each bin; for a level, that of the bin it shares.
    """

    edges: Floats | None
    categories: tuple[str, ...] | None
    values: Floats
    missing: float
    weights: Floats


class AdditiveModel(RiskModel):
    """An additive model with pairs, fitted to noisy sums.

    Parameters
    ----------
    tables : Tables
        Cut points and log-odds. Every feature's and pair's table must be centred over the
        noisy counts, so that the intercept is the log-odds of the average borrower.
    counts : ndarray of float64, shape (sum of widths,)
        Noisy number of training records in each bin, laid out like ``tables.main``.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature
    >>> from haihe_fl.models.binning import Binning
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="age", range=(0, 80)),))
    >>> binning = Binning(c, np.array([[40.0]]), np.zeros(0, dtype=np.int64))
    >>> tables = Tables.empty(binning, [3]).replace(main=np.array([0.0, -0.5, 0.5]))
    >>> model = AdditiveModel(tables, counts=np.array([0.0, 100.0, 100.0]))
    >>> model.logit(np.array([[20.0], [60.0], [np.nan]], dtype=np.float32)).tolist()
    [-0.5, 0.5, 0.0]
    """

    family: ClassVar[str] = "additive"

    def __init__(self, tables: Tables, counts: Floats) -> None:
        if counts.shape != tables.main.shape:
            raise ValueError(f"counts have shape {counts.shape}, tables {tables.main.shape}")
        self.catalogue = tables.binning.catalogue
        self.tables = tables
        self.counts = counts

    def logit(self, values: NDArray[np.float32]) -> Floats:
        """Return log-odds of default, shape (n,), for values of shape (n, d)."""
        return self.tables.logit(self.tables.binning.codes(values))

    def terms(self) -> list[Term]:
        """Return the features in catalogue order, then the pairs."""
        single = [Term((j,)) for j in range(len(self.catalogue.features))]
        return single + [Term((int(a), int(b))) for a, b in self.tables.pairs]

    def contributions(self, values: NDArray[np.float32]) -> Floats:
        """Return each term's centred part of the log-odds, shape (n, len(terms))."""
        tables = self.tables
        codes = tables.binning.codes(values)
        d = len(codes)
        out = np.empty((len(values), d + len(tables.pairs)))
        for j in range(d):
            out[:, j] = tables.main[tables.part(j)][codes[j]]
        for k in range(len(tables.pairs)):
            out[:, d + k] = tables.cells[k][tables.cell(k, codes)]
        return out

    @property
    def base(self) -> float:
        """Log-odds of the average borrower."""
        return self.tables.intercept

    def shape(self, j: int) -> Shape:
        """Return the effect of feature j (a column of the catalogue)."""
        part, binning = self.tables.part(j), self.tables.binning
        table, counts = self.tables.main[part], self.counts[part]
        if self.catalogue.features[j].kind == "number":
            cuts = binning.cuts[number_columns(self.catalogue).index(j)]
            edges = cuts[np.isfinite(cuts)]
            used = slice(1, len(edges) + 2)
            return Shape(edges, None, table[used], float(table[0]), counts[used])
        levels = binning.levels[binning.level_slices()[j]]
        names = self.catalogue.features[j].categories
        return Shape(None, names, table[levels], float(table[0]), counts[levels])

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the arrays of the model; nothing but the catalogue stands beside them."""
        return {}, {**self.tables.arrays(), "counts": self.counts}

    @classmethod
    def from_state(
        cls, catalogue: FeatureCatalogue, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """Rebuild a model from ``state``; ``ValueError`` if the arrays do not fit."""
        return cls(Tables.from_arrays(catalogue, arrays), arrays["counts"])
