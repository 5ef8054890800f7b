import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.data.partition import partition
from haihe_fl.errors import UserError

CATALOGUE = FeatureCatalogue(name="c", features=(Feature(name="x", range=(-9, 9)),))


def cohort(n: int = 6000, rate: float = 0.2) -> Cohort:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, 1)).astype(np.float32)
    x[:: max(n // 50, 1)] = np.nan
    return Cohort(
        CATALOGUE,
        x,
        (rng.random(n) < rate).astype(np.int8),
        np.arange(n).astype(np.str_),
        np.full(n, "all"),
    )


def spread_between(values: np.ndarray, institution: np.ndarray) -> float:
    """Share of the variance that lies between institutions."""
    means = {i: np.nanmean(values[institution == i]) for i in np.unique(institution)}
    return float(np.nanvar([means[i] for i in institution]) / np.nanvar(values))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 400),
    count=st.integers(1, 12),
    min_rows=st.integers(1, 30),
    seed=st.integers(0, 2**32),
    correlation=st.floats(0, 1),
)
def test_every_row_has_one_institution_of_enough_rows(
    n: int, count: int, min_rows: int, seed: int, correlation: float
) -> None:
    whole = cohort(n)
    if n < count * min_rows:
        with pytest.raises(UserError, match="H2030"):
            partition(whole, count, seed, "x", min_rows=min_rows)
        return
    parted = partition(whole, count, seed, "x", min_rows=min_rows, correlation=correlation)
    names, counts = np.unique(parted.institution, return_counts=True)
    assert len(names) == count and counts.min() >= min_rows and counts.sum() == n
    assert parted.fingerprint == whole.fingerprint


def test_the_seed_decides() -> None:
    a, b, c = (partition(cohort(), 20, seed, "x").institution for seed in (1, 1, 2))
    assert_array_equal(a, b)
    assert (a != c).mean() > 0.5


def test_sizes_are_skewed_as_stated() -> None:
    counts = np.unique(partition(cohort(), 20, 0, "x").institution, return_counts=True)[1]
    assert counts.max() > 4 * np.median(counts)
    equal = partition(cohort(), 20, 0, "x", spread=0).institution
    assert np.ptp(np.unique(equal, return_counts=True)[1]) <= 1


def test_covariate_skew_grows_with_the_correlation() -> None:
    whole = cohort()
    between = [
        spread_between(whole.values[:, 0], partition(whole, 20, 0, "x", correlation=r).institution)
        for r in (0, 0.5, 1)
    ]
    assert between[0] < 0.02 < 0.15 < between[1] < 0.35 < 0.8 < between[2]


def test_without_a_feature_the_label_is_skewed() -> None:
    whole = cohort()
    parted = partition(whole, 20, 0).institution
    assert spread_between(whole.label.astype(float), parted) > 0.05
    assert spread_between(whole.values[:, 0], parted) < 0.02


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"by": "z"}, "H2031"),
        ({"correlation": 1.5}, "H2032"),
        ({"spread": -1}, "H2032"),
        ({"count": 0}, "H2030"),
    ],
)
def test_errors(given: dict[str, object], code: str) -> None:
    with pytest.raises(UserError, match=code):
        partition(cohort(), **{"count": 3, "seed": 0, **given})  # type: ignore[arg-type]
