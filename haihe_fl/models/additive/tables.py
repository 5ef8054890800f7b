"""The tables behind a score: what the centre sends, a node reads and a model keeps."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.additive.config import GROUPS
from haihe_fl.models.binning import Binning
from haihe_fl.models.releases import Arrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint16]
T = TypeVar("T", bound=np.generic)

LARGEST = 100.0
"""No entry of a table may be larger: a score beyond it is no score."""


@dataclass(frozen=True, eq=False)
class Tables:
    """An additive score: intercept + sum of main[bin] + sum of pair[cell].

    Attributes
    ----------
    binning : Binning
        Turns values into bins.
    widths : ndarray of int64, shape (d,)
        Entries of ``main`` that belong to each feature.
    main : ndarray of float64, shape (sum(widths),)
        Log-odds of each feature's bins, one feature after the other.
    intercept : float
        Log-odds common to all records.
    groups : ndarray of int64, shape (sum(widths),)
        Which of the GROUPS cells of a pair's side each bin belongs to.
    pairs : ndarray of int64, shape (K, 2)
        Features of each pair.
    cells : ndarray of float64, shape (K, GROUPS * GROUPS)
        Log-odds of each pair's cells.
    """

    binning: Binning
    widths: Ints
    main: Floats
    intercept: float
    groups: Ints
    pairs: Ints
    cells: Floats

    def __post_init__(self) -> None:
        d, total = len(self.binning.catalogue.features), int(self.widths.sum())
        checks = {
            "widths": self.widths.shape == (d,)
            and all(u <= w for u, w in zip(self.binning.used(), self.widths, strict=True)),
            "main": self.main.shape == (total,) and _sane(self.main),
            "intercept": _sane(np.array([self.intercept])),
            "groups": self.groups.shape == (total,)
            and bool(((self.groups >= 0) & (self.groups < GROUPS)).all()),
            "pairs": self.pairs.shape == (len(self.pairs), 2)
            and bool(((self.pairs >= 0) & (self.pairs < d)).all()),
            "cells": self.cells.shape == (len(self.pairs), GROUPS**2) and _sane(self.cells),
        }
        for name, good in checks.items():
            if not good:
                raise ValueError(f"additive tables: {name} has a wrong shape or wrong values")

    @classmethod
    def empty(cls, binning: Binning, widths: list[int]) -> "Tables":
        """Return all-zero tables without pairs."""
        total = sum(widths)
        return cls(
            binning=binning,
            widths=np.array(widths, dtype=np.int64),
            main=np.zeros(total),
            intercept=0.0,
            groups=np.zeros(total, dtype=np.int64),
            pairs=np.zeros((0, 2), dtype=np.int64),
            cells=np.zeros((0, GROUPS**2)),
        )

    @cached_property
    def starts(self) -> Ints:
        """Where each feature's entries begin in ``main``, shape (d + 1,)."""
        return np.concatenate([[0], np.cumsum(self.widths)])

    def part(self, j: int) -> slice:
        """Return where feature j stands in ``main``."""
        return slice(int(self.starts[j]), int(self.starts[j + 1]))

    def side(self, j: int, codes: Codes) -> NDArray[np.int64]:
        """Return each record's place (0 to GROUPS - 1) along feature j, from its bins."""
        return np.asarray(self.groups[self.part(j)][codes[j]])

    def cell(self, k: int, codes: Codes) -> NDArray[np.int64]:
        """Return each record's cell in pair k."""
        a, b = self.pairs[k]
        return np.asarray(self.side(int(a), codes) * GROUPS + self.side(int(b), codes))

    def logit(self, codes: Codes) -> Floats:
        """Return the score of each record, shape (n,), from bins of shape (d, n)."""
        out = np.full(codes.shape[1], self.intercept)
        for j in range(len(self.widths)):
            out += self.main[self.part(j)][codes[j]]
        for k in range(len(self.pairs)):
            out += self.cells[k][self.cell(k, codes)]
        return out

    def replace(self, **changes: object) -> "Tables":
        """Return tables with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def arrays(self) -> Arrays:
        """Return the tables as the arrays of a request or of a model file."""
        return {
            "cuts": self.binning.cuts,
            "levels": self.binning.levels,
            "widths": self.widths,
            "main": self.main,
            "intercept": np.array([self.intercept]),
            "groups": self.groups,
            "pairs": self.pairs,
            "cells": self.cells,
        }

    @classmethod
    def from_arrays(cls, catalogue: FeatureCatalogue, arrays: Arrays) -> "Tables":
        """Rebuild and check tables.

        Raises
        ------
        ValueError
            If an array is absent, has another shape or type than the catalogue implies, or
            holds values that no trainer sends.
        """
        try:
            real = {name: _typed(arrays[name], np.float64) for name in ("cuts", "main", "cells")}
            whole = {
                name: _typed(arrays[name], np.int64)
                for name in ("levels", "widths", "groups", "pairs")
            }
            intercept = _typed(arrays["intercept"], np.float64)
        except KeyError as error:
            raise ValueError(f"additive tables: no array {error}") from None
        if intercept.shape != (1,):
            raise ValueError("additive tables: intercept must be one number")
        return cls(
            binning=Binning(catalogue, real["cuts"], whole["levels"]),
            widths=whole["widths"],
            main=real["main"],
            intercept=float(intercept[0]),
            groups=whole["groups"],
            pairs=whole["pairs"],
            cells=real["cells"],
        )


def _typed(array: NDArray[Any], dtype: type[T]) -> NDArray[T]:
    if array.dtype != dtype:
        raise ValueError(f"additive tables: {array.dtype} where {dtype.__name__} is due")
    return array.astype(dtype, copy=False)


def _sane(array: Floats) -> bool:
    return bool((np.abs(array) <= LARGEST).all())  # NaN and infinity fail the comparison
