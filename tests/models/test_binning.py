import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.models.binning import (
    CELLS,
    Binning,
    grid,
    grid_cells,
    merge,
    quantile_cuts,
    to_simplex,
)

CATALOGUE = FeatureCatalogue(
    name="case",
    features=(
        Feature(name="income", range=(-100, 1000), scale="log"),
        Feature(name="sector", kind="category", categories=("a", "b", "c")),
        Feature(name="share", range=(0, 1)),
    ),
)
BINNING = Binning(
    CATALOGUE, np.array([[0.0, 10.0, np.inf], [0.25, 0.5, 0.75]]), np.array([2, 1, 2])
)


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((-5, 0, 0.1), [1, 2, 1]),
        ((0, 1, 0.25), [2, 1, 2]),  # a cut point belongs to the upper bin
        ((10, 2, 0.75), [3, 2, 4]),
        ((np.nan, np.nan, np.nan), [0, 0, 0]),
        ((-1e9, 7, -3), [1, 0, 1]),  # out of range: edge bin; unknown level: missing
        ((1e9, -1, 3), [3, 0, 4]),
        ((np.inf, 1e30, np.inf), [3, 0, 4]),
        ((-np.inf, -np.inf, -np.inf), [1, 0, 1]),
    ],
)
def test_values_go_to_their_bins(values: tuple[float, ...], expected: list[int]) -> None:
    assert BINNING.codes(row(*values))[:, 0].tolist() == expected


def test_bins_in_use() -> None:
    assert BINNING.used() == [4, 3, 5]


def test_binning_refuses_nonsense() -> None:
    cuts, levels = BINNING.cuts, BINNING.levels
    for bad in (cuts[:1], cuts[:, ::-1], np.where(cuts == 10, np.nan, cuts)):
        with pytest.raises(ValueError, match="cuts"):
            Binning(CATALOGUE, bad, levels)
    for worse in (levels[:2], levels - 1):
        with pytest.raises(ValueError, match="levels"):
            Binning(CATALOGUE, cuts, worse)


def test_log_grid_resolves_ratios_and_money() -> None:
    ratio = grid(Feature(name="r", range=(-100, 100), scale="log"))
    money = grid(Feature(name="m", range=(0, 1e9), scale="log"))
    assert ratio.shape == money.shape == (CELLS - 1,)
    assert (np.diff(ratio) > 0).all() and (np.diff(money) > 0).all()
    np.testing.assert_allclose(ratio, -ratio[::-1], atol=1e-9)
    for edges, low in ((ratio, 0.01), (money, 1e4)):
        positive = edges[edges > low]
        assert (positive[1:] / positive[:-1]).max() < 1.07


def test_grid_cells_cover_the_range() -> None:
    share = CATALOGUE.features[2]
    column = np.array([np.nan, -1, 0, 0.5, 1, 2], dtype=np.float32)
    assert grid_cells(share, column).tolist() == [0, 1, 1, 257, CELLS, CELLS]


@settings(deadline=None)
@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-50, 50)), st.floats(0.1, 500))
def test_simplex_is_the_nearest_point(noisy: np.ndarray, total: float) -> None:
    found = to_simplex(noisy, total)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(total)
    # Nearest: entries above zero are moved by one amount, the others would have to go lower.
    moved = noisy - found
    inside = found > 1e-9
    assert np.ptp(moved[inside]) < 1e-6
    assert (moved[~inside] <= moved[inside].max() + 1e-6).all()


@settings(deadline=None)
@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 9)), st.integers(2, 24))
def test_merge_keeps_order_and_bound(mass: np.ndarray, bins: int) -> None:
    index = merge(mass, bins)
    assert index[0] == 0 and set(np.diff(index)) <= {0, 1}
    assert index[-1] < bins


def test_quantile_cuts_share_the_mass() -> None:
    random = np.random.default_rng(0)
    edges = np.linspace(0, 1, CELLS + 1)[1:-1]
    values = random.beta(2, 5, 20_000)
    cuts = quantile_cuts(np.histogram(values, np.r_[0, edges, 1])[0].astype(float), edges, 10)
    shares = np.histogram(values, np.r_[0, cuts, 1])[0] / len(values)
    assert np.abs(shares - 0.1).max() < 0.01


def test_a_spike_has_its_bin() -> None:
    mass = np.ones(CELLS)
    mass[100] = 2000.0
    edges = np.arange(1.0, CELLS)
    cuts = quantile_cuts(mass, edges, 8)
    assert {100.0, 101.0} <= set(cuts)
