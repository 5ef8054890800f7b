"""Loss formulas against published and independently computed figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from haihe_fl.stress.ecl import (
    lifetime_ecl,
    provision_matrix,
    significant_increase,
    stage,
    twelve_month_ecl,
)
from haihe_fl.stress.lgd import collateral_lgd, frye_jacobs
from haihe_fl.stress.losses import (
    irb_capital,
    irb_correlation,
    irb_risk_weight,
    residual_correlation,
    vasicek_quantile,
    vasicek_variance,
)


@pytest.mark.parametrize(
    ("pd", "lgd", "sales", "weight"),
    [
        (0.005, 0.45, 50, 69.61),
        (0.005, 0.45, 5, 54.91),
        (0.01, 0.45, 50, 92.32),
        (0.01, 0.45, 5, 72.40),
        (0.02, 0.45, 50, 114.86),
        (0.02, 0.45, 5, 88.55),
        (0.01, 0.40, 50, 82.06),
        (0.01, 0.40, 5, 64.35),
        (0.01, 0.45, 20, 78.90),
    ],
)
def test_t3_published_risk_weights(pd: float, lgd: float, sales: float, weight: float) -> None:
    assert 100 * float(irb_risk_weight(pd, lgd, sales)) == pytest.approx(weight, abs=0.02)


def test_t3_retail_and_details() -> None:
    retail = 100 * float(irb_risk_weight(0.01, 0.45, retail=True))
    assert retail == pytest.approx(45.77, abs=0.02)
    assert float(irb_correlation(0.01, 5)) == pytest.approx(0.152784, abs=5e-7)
    assert float(irb_capital(0.01, 0.45, 5)) == pytest.approx(0.057916, abs=5e-7)
    assert float(irb_correlation(0.01, 1)) == float(irb_correlation(0.01, 5))
    assert float(irb_correlation(0.01, 500)) == float(irb_correlation(0.01))


def test_t4_vasicek_quantile() -> None:
    assert float(vasicek_quantile(0.02, 0.20)) == pytest.approx(0.226313, abs=5e-7)
    assert float(vasicek_quantile(0.02, 0.12)) == pytest.approx(0.147282, abs=5e-7)


@pytest.mark.parametrize(("pd", "rho"), [(0.02, 0.12), (0.1, 0.2), (0.005, 0.06)])
def test_vasicek_moments_by_integration(pd: float, rho: float) -> None:
    def conditional(f: float) -> float:
        return float(norm.cdf((norm.ppf(pd) - np.sqrt(rho) * f) / np.sqrt(1 - rho)))

    mean = quad(lambda f: conditional(f) * norm.pdf(f), -9, 9, epsabs=1e-12)[0]
    second = quad(lambda f: conditional(f) ** 2 * norm.pdf(f), -9, 9, epsabs=1e-13)[0]
    assert mean == pytest.approx(pd, abs=1e-9)
    assert float(vasicek_variance(pd, rho)) == pytest.approx(second - pd**2, rel=1e-6)


@given(st.floats(0.001, 0.5), st.floats(0.001, 0.5), st.floats(0.01, 0.5))
def test_quantile_rises_with_pd_and_residual_correlation_lowers_it(
    a: float, b: float, rho: float
) -> None:
    low, high = sorted((a, b))
    assert vasicek_quantile(low, rho) <= vasicek_quantile(high, rho) + 1e-15
    if a < 0.2:
        assert vasicek_quantile(a, residual_correlation(rho, 0.5)) <= vasicek_quantile(a, rho)


@pytest.mark.parametrize(
    ("conditional", "pd", "lgd", "rho", "expected", "tolerance"),
    [
        (0.05, 0.08, 0.40, 0.2, 0.3197, 5e-5),
        (0.10, 0.09, 0.45, 0.2, 0.4151, 5e-5),
        (0.15, 0.10, 0.50, 0.2, 0.4971, 5e-5),
        (0.10, 0.03, 0.45, 0.12, 0.511184, 5e-7),
    ],
)
def test_t7_frye_jacobs(
    conditional: float, pd: float, lgd: float, rho: float, expected: float, tolerance: float
) -> None:
    assert float(frye_jacobs(conditional, pd, lgd, rho)) == pytest.approx(expected, abs=tolerance)


def test_collateral_term() -> None:
    assert float(collateral_lgd(100, 100, 0.0, haircut=0.3)) == pytest.approx(0.3)
    assert float(collateral_lgd(100, 100, -0.5, haircut=0.3)) == pytest.approx(0.65)
    assert float(collateral_lgd(1000, 100)) == 0.1
    assert float(collateral_lgd(0, 100)) == 1.0


def test_t12_expected_credit_loss() -> None:
    exposure = [100, 70, 40]
    assert float(lifetime_ecl([0.03] * 3, 0.45, exposure, 0.05)) == pytest.approx(
        2.556047, abs=5e-7
    )
    assert float(twelve_month_ecl([0.03] * 3, 0.45, exposure, 0.05)) == pytest.approx(
        1.285714, abs=5e-7
    )
    assert float(twelve_month_ecl([0.005], 0.25, [1e6], 0.0)) == pytest.approx(1250)
    buckets = [15e6, 7.5e6, 4e6, 2.5e6, 1e6]
    assert provision_matrix(buckets, [0.003, 0.016, 0.036, 0.066, 0.106]) == pytest.approx(580_000)
    assert float(lifetime_ecl([1.0, 0.5], 0.5, 100, 0.0)) == pytest.approx(50)


def test_stages() -> None:
    assert significant_increase(0.025, 0.01)
    assert not significant_increase(0.024, 0.01)
    assert not significant_increase(0.004, 0.001)  # four times, but a rise of 0.3 points only
    assert significant_increase(0.01, 0.01, past_due_days=31)
    assert not significant_increase(0.01, 0.01, past_due_days=30)
    assert significant_increase(0.01, 0.01, watch_list=True)
    assert stage([False, True, False], [0, 0, 0], [False, False, True]).tolist() == [1, 2, 3]
    assert stage([False], [89]).tolist() == [1]
