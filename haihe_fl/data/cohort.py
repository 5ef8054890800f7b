"""A cohort: borrower records in memory, in catalogue order."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue

Floats = NDArray[np.float32]

_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Cohort:
    """Records of one or more institutions.

    Attributes
    ----------
    catalogue : FeatureCatalogue
        Meaning of the columns of ``values``.
    values : ndarray of float32, shape (n, d)
        Numbers in their unit; categories as their position in ``Feature.categories``;
        NaN where missing.
    label : ndarray of int8, shape (n,)
        1 for default within 12 months, 0 otherwise.
    key : ndarray of str, shape (n,)
        Borrower identifier (USCC). Never leaves the institution.
    institution : ndarray of str, shape (n,)
        Institution that holds the record.
    date : ndarray of datetime64[D], shape (n,), optional
        Date of the record; NaT where unknown.
    weight : ndarray of float32, shape (n,), optional
        Sample weights, used for calibration and expected loss, not for training.
    extra : dict of str to ndarray of shape (n,)
        Columns that are no features: ``ead`` (CNY), ``lgd`` (0..1), ``sector`` (str),
        ``true_pd`` (synthetic data only).
    """

    catalogue: FeatureCatalogue
    values: Floats
    label: NDArray[np.int8]
    key: NDArray[np.str_]
    institution: NDArray[np.str_]
    date: NDArray[np.datetime64] | None = None
    weight: Floats | None = None
    extra: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.label)
        if self.values.shape != (n, len(self.catalogue.features)):
            raise ValueError(f"values have shape {self.values.shape}, expected ({n}, d)")
        for name, column in {
            "key": self.key,
            "institution": self.institution,
            **self.extra,
        }.items():
            if len(column) != n:
                raise ValueError(f"{name} has {len(column)} rows, label has {n}")

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Cohort":
        """Return the chosen rows, by mask or by position."""
        return replace(
            self,
            values=self.values[rows],
            label=self.label[rows],
            key=self.key[rows],
            institution=self.institution[rows],
            date=None if self.date is None else self.date[rows],
            weight=None if self.weight is None else self.weight[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    def by_institution(self) -> dict[str, "Cohort"]:
        """Return the cohort of each institution, by name in sorted order."""
        names, inverse = np.unique(self.institution, return_inverse=True)
        return {str(name): self.take(np.flatnonzero(inverse == i)) for i, name in enumerate(names)}

    @property
    def prior_shift(self) -> float:
        """Log-odds of the weighted default rate less those of the plain one.

        Added to the log-odds of a model that was trained without weights, it restores the
        population's level where the rows were drawn by outcome (prior correction; King and
        Zeng, 2001). 0 without weights, and where a rate is 0 or 1.

        Examples
        --------
        >>> from haihe_fl.data.catalogue import Feature
        >>> c = Cohort(
        ...     catalogue=FeatureCatalogue(name="c", features=(Feature(name="a", range=(0, 1)),)),
        ...     values=np.zeros((2, 1), np.float32), label=np.array([0, 1], np.int8),
        ...     key=np.array(["x", "y"]), institution=np.array(["b", "b"]),
        ...     weight=np.array([9, 1], np.float32))
        >>> round(c.prior_shift, 3)  # from 1 in 2 to 1 in 10
        -2.197
        """
        if self.weight is None or not len(self) or not self.weight.sum() > 0:
            return 0.0
        rates = np.array([np.average(self.label, weights=self.weight), self.label.mean()])
        if (rates <= 0).any() or (rates >= 1).any():
            return 0.0
        wanted, plain = np.log(rates / (1 - rates))
        return float(wanted - plain)

    def holdout(self, share: float, salt: str = "haihe") -> NDArray[np.bool_]:
        """Mark the held-out rows.

        A borrower is held out, or not, by a hash of its key alone: the same at every
        institution and in every run, and independent of every other record, so training and
        held-out rows are disjoint data in the sense of parallel composition.
        """
        limit = int(share * 2**32)
        return np.fromiter(
            (
                int.from_bytes(hashlib.sha256(f"{salt}|{k}".encode()).digest()[:4]) < limit
                for k in self.key
            ),
            dtype=np.bool_,
            count=len(self),
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over schema, values, labels and keys. Kept at the institution."""
        digest = hashlib.sha256(self.catalogue.fingerprint.encode())
        # In blocks: a node keeps what it once took from the system.
        for start in range(0, len(self), _BLOCK):
            digest.update(self.values[start : start + _BLOCK].tobytes())
        for start in range(0, len(self), _BLOCK):
            digest.update(self.label[start : start + _BLOCK].tobytes())
        for start in range(0, len(self), _BLOCK):
            keys = "\0".join(self.key[start : start + _BLOCK].tolist())
            digest.update(("\0" * (start > 0) + keys).encode())
        return digest.hexdigest()
