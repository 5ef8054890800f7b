from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import shipped


@pytest.fixture(scope="session")
def make_portfolio() -> Callable[..., Portfolio]:
    """Random but fixed portfolios; keywords override columns."""

    def make(n: int = 600, **columns: Any) -> Portfolio:
        catalogue, _ = shipped()
        rng = np.random.default_rng(7)
        given: dict[str, Any] = {
            "pd": 1 / (1 + np.exp(-rng.normal(-3.7, 1.0, n))),
            "ead": rng.lognormal(14, 1, n),
            "lgd": rng.uniform(0.2, 0.6, n),
            "sector": np.array(catalogue.sectors)[rng.integers(0, 12, n)],
            "institution": np.array(["bank a", "bank b", "guarantor c"])[rng.integers(0, 3, n)],
            "turnover": rng.uniform(1, 60, n),
            "sectors": catalogue.sectors,
        }
        return Portfolio.build(**{**given, **columns})

    return make


@pytest.fixture(scope="session")
def portfolio(make_portfolio: Callable[..., Portfolio]) -> Portfolio:
    return make_portfolio()
