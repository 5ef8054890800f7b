"""Losses of one institution in draws of factors that all institutions share.

Given the factors, institutions lose independently. Each draws its losses with the shared seed
for the factors (`haihe_fl.stress.draws`) and a stream of its own, by its name, for the rest; so
the network's loss in draw j is the sum of the institutions' losses in draw j, and no row is
needed to know it.
"""

import numpy as np
from numpy.typing import NDArray

from haihe_fl.stress.distribution import simulate_losses
from haihe_fl.stress.draws import DrawSettings
from haihe_fl.stress.kernel import Shock
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]


def joint_losses(
    portfolio: Portfolio,
    shock: Shock,
    settings: StressSettings,
    draws: int,
    seed: int,
    impaired_pd: Floats | None = None,
) -> Floats:
    """Return an institution's loss over all quarters in each common draw, shape (draws,), CNY.

    Parameters
    ----------
    portfolio : Portfolio
        Of one institution; of several, their sum.
    seed : int
        Shared by all institutions, not negative.
    impaired_pd : ndarray, optional
        PDs by `Portfolio.impaired_pd`, where the scenario loses data.

    Examples
    --------
    >>> def bank(name):
    ...     return Portfolio.build(pd=[0.02] * 300, ead=1e6, lgd=0.45, sector="a", sectors=("a",),
    ...                            institution=name)
    >>> x, y = (joint_losses(bank(n), Shock.none(1, 4), StressSettings(), 2000, 1) for n in "xy")
    >>> bool((x != y).any()), bool(np.corrcoef(x, y)[0, 1] > 0.2)  # one economy, two banks
    (True, True)
    """
    drawn = simulate_losses(
        portfolio,
        shock,
        settings,
        DrawSettings(),
        draws=draws,
        seed=seed,
        impaired_pd=impaired_pd,
    )
    return drawn.network
