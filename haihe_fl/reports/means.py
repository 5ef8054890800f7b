"""The one definition of a mean AUC within institutions, for the report and the command line."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from haihe_fl.reports.results import InstitutionResult


class MeanAuc(NamedTuple):
    """Mean AUC within institutions, weighted by their test records.

    Both means are over the institutions where both models could be judged; ``institutions`` is
    how many those are.
    """

    federated: float
    local: float
    institutions: int

    @property
    def gain(self) -> float:
        """Federated less local."""
        return self.federated - self.local


def judged(rows: Sequence[InstitutionResult]) -> list[InstitutionResult]:
    """Return the institutions where the federated and the local model have an AUC."""
    return [r for r in rows if math.isfinite(r.federated.value) and math.isfinite(r.local.value)]


def mean_auc(rows: Sequence[InstitutionResult]) -> MeanAuc:
    """Return the mean AUC within institutions; NaN where none could be judged.

    Examples
    --------
    >>> from haihe_fl.reports.results import Estimate
    >>> def row(fed, own, n):
    ...     return InstitutionResult(
    ...         "a", "bank", 5 * n, 0.1, Estimate(fed), Estimate(own), test_records=n)
    >>> mean = mean_auc([row(0.8, 0.7, 300), row(0.6, 0.6, 100), row(0.9, math.nan, 50)])
    >>> [round(v, 3) for v in mean]
    [0.75, 0.675, 2]
    """
    found = judged(rows)
    whole = sum(r.test_records for r in found)
    if not whole:
        return MeanAuc(math.nan, math.nan, len(found))
    return MeanAuc(
        sum(r.federated.value * r.test_records for r in found) / whole,
        sum(r.local.value * r.test_records for r in found) / whole,
        len(found),
    )
