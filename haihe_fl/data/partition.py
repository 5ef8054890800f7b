"""Synthetic partitions: one real data set dealt out to institutions that differ."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]

from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import UserError


def partition(
    cohort: Cohort,
    count: int,
    seed: int,
    by: str | None = None,
    *,
    correlation: float = 0.5,
    spread: float = 1.0,
    min_rows: int = 50,
) -> Cohort:
    r"""Deal the rows out to ``count`` synthetic institutions of unequal size and mix.

    Sizes: each institution holds ``min_rows`` rows, and the others in proportion to weights
    drawn from a log-normal distribution, :math:`\exp(\sigma z)` with :math:`\sigma` = ``spread``
    (1 gives a largest bank of about ten times the median one among twenty).

    Mix: each row gets a latent :math:`u = \rho s + \sqrt{1 - \rho^2}\, \varepsilon` with
    :math:`\rho` = ``correlation``, :math:`s` the normal score of the feature ``by`` (its rank,
    missing values in the middle, ties at random) and :math:`\varepsilon` standard normal.
    Institutions take successive stretches of the rows in the order of :math:`u`, in random order
    of size: the feature's mean differs between them (covariate shift), and with it whatever
    depends on the feature, the default rate included. Without ``by``, :math:`s` is the score of
    the label (label shift). ``correlation=0`` gives unequal sizes with the same mix.

    Parameters
    ----------
    cohort : Cohort
        Rows to deal out; their institutions are replaced.
    count : int
        Number of institutions.
    seed : int
        The partition is the same for the same cohort and seed.
    by : str, optional
        Feature that the institutions specialise in.
    correlation : float
        From 0 (no skew) to 1 (institutions divide the feature's range between them).
    spread : float
        Standard deviation of the logarithm of the sizes; 0 for equal sizes.
    min_rows : int
        Fewest rows of an institution.

    Returns
    -------
    Cohort
        The same rows in the same order, with institutions ``bank-01`` and so on.

    Raises
    ------
    UserError
        H2030 if there are too few rows, H2031 if ``by`` is no feature, H2032 if ``correlation``
        does not lie in [0, 1] or ``spread`` is negative.
    """
    n = len(cohort)
    if count < 1 or n < count * min_rows:
        raise UserError(
            "H2030",
            en=f"{n} rows cannot be dealt out to {count} institutions of at least {min_rows} rows; "
            "ask for fewer institutions or a lower min_rows",
            zh=f"{n} 行数据无法分给 {count} 家至少 {min_rows} 行的机构;请减少机构数或调低 min_rows",
        )
    if by is not None and by not in cohort.catalogue.names:
        raise UserError(
            "H2031",
            en=f"cannot skew by {by}: it is no feature of catalogue {cohort.catalogue.name}",
            zh=f"不能按 {by} 划分:特征目录 {cohort.catalogue.name} 中没有该特征",
        )
    if not 0 <= correlation <= 1 or spread < 0:
        raise UserError(
            "H2032",
            en=f"correlation {correlation} must lie in [0, 1] and spread {spread} be 0 or more",
            zh=f"correlation {correlation} 须在 [0, 1] 内,spread {spread} 须不小于 0",
        )
    random = np.random.default_rng(seed)
    column = cohort.label if by is None else cohort.values[:, cohort.catalogue.index(by)]
    score = _normal_score(column.astype(np.float64), random)
    latent = correlation * score + np.sqrt(1 - correlation**2) * random.standard_normal(n)
    owner = np.empty(n, np.intp)
    owner[np.argsort(latent, kind="stable")] = np.repeat(
        np.arange(count), _sizes(n, count, spread, min_rows, random)
    )
    digits = max(2, len(str(count)))
    names = np.array([f"bank-{i + 1:0{digits}d}" for i in range(count)])
    return replace(cohort, institution=names[random.permutation(count)][owner])


def _sizes(
    n: int, count: int, spread: float, min_rows: int, random: np.random.Generator
) -> NDArray[np.intp]:
    weight = np.exp(spread * random.standard_normal(count))
    ends = np.round((n - count * min_rows) * np.cumsum(weight) / weight.sum()).astype(np.intp)
    sizes: NDArray[np.intp] = min_rows + np.diff(ends, prepend=0)
    return sizes


def _normal_score(column: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Return normal scores of shape (n,): ties at random, NaN at the median."""
    shuffled = random.permutation(len(column))
    known = shuffled[~np.isnan(column[shuffled])]
    known = known[np.argsort(column[known], kind="stable")]
    score = np.zeros(len(column))
    score[known] = ndtri((np.arange(len(known)) + 0.5) / len(known))
    return score
