"""What local training costs, and how much noise a budget asks for."""

import math
import warnings
from functools import lru_cache

from opacus.accountants import RDPAccountant  # type: ignore[import-untyped]

from haihe_fl.errors import PolicyError
from haihe_fl.models.neural.settings import NeuralSettings
from haihe_fl.models.plan import LocalStep
from haihe_fl.privacy.accountant import epsilon_spent, fits
from haihe_fl.privacy.events import Event, GaussianEvent, SampledGaussianEvent
from haihe_fl.privacy.gaussian import Budget

_LARGEST = 1e3


def local_steps(settings: NeuralSettings, noise_multiplier: float) -> tuple[LocalStep, ...]:
    """Return one step of the plan for each round, ``local/01`` and so on.

    Examples
    --------
    >>> plan = local_steps(NeuralSettings(rounds=3, local_steps=4), 5.0)
    >>> [(step.name, step.steps) for step in plan]
    [('local/01', 4), ('local/02', 4), ('local/03', 4)]
    """
    return tuple(
        LocalStep(
            name=f"local/{number:02d}",
            noise_multiplier=noise_multiplier,
            sample_rate=settings.sample_rate,
            steps=settings.local_steps,
        )
        for number in range(1, settings.rounds + 1)
    )


def events_for(settings: NeuralSettings, noise_multiplier: float) -> dict[str, Event]:
    """Return the privacy event of every round, by the name of its step.

    The number of records is not needed: the rate q, not a batch size, is the plan's. All
    rounds read the same records, so they are to stand in one ledger and be composed together.

    Examples
    --------
    >>> events_for(NeuralSettings(rounds=1, local_steps=4), 5.0)["local/01"].steps
    4
    """
    return {
        step.name: SampledGaussianEvent(step.noise_multiplier, step.sample_rate, step.steps)
        for step in local_steps(settings, noise_multiplier)
    }


@lru_cache(maxsize=256)
def noise_multiplier_for(
    budget: Budget, sample_rate: float, total_steps: int, mu_spent: float = 0.0
) -> float:
    """Return the least noise multiplier (to 0.3 %) with which a whole run keeps a budget.

    Judged by the ledger's own accountant (PRV), so that what is planned here is what a node
    accepts.

    Parameters
    ----------
    budget : Budget
        Record-level budget of the run.
    sample_rate : float
        Probability of each record to be in a step's batch.
    total_steps : int
        Steps of all rounds together.
    mu_spent : float
        Gaussian DP parameter of full-batch releases on the same records in the same run, such
        as the quantiles: the root of the sum of their 1 / z^2.

    Raises
    ------
    PolicyError
        H3151 if no noise keeps the budget.

    Examples
    --------
    >>> budget = Budget(3.0, 1e-5)  # at rate 1 the root of the steps over mu, 8 / .719
    >>> 11.12 < noise_multiplier_for(budget, 1.0, 64) < 11.25
    True
    """
    other: list[Event] = [GaussianEvent(1.0 / mu_spent)] if mu_spent > 0.0 else []

    def events(z: float) -> list[Event]:
        return [*other, SampledGaussianEvent(z, sample_rate, total_steps)]

    if mu_spent >= budget.mu:
        raise _too_small(budget, mu_spent)
    if sample_rate == 1.0:
        high = math.sqrt(total_steps / (budget.mu**2 - mu_spent**2))
        low = high
    else:
        # RDP is quick and 8 to 15 % loose: a start from the safe side. PRV at far too little
        # noise takes minutes.
        high = _by_rdp(budget, sample_rate, total_steps, mu_spent)
        low = 0.8 * high
    while not fits([events(high)], budget):
        low, high = high, high * 1.01
        if high > _LARGEST * math.sqrt(total_steps):
            raise _too_small(budget, mu_spent)
    while high > low * 1.003:
        # Epsilon falls about as 1 / z: aim a little above what that suggests.
        aim = 1.001 * high * epsilon_spent([events(high)], budget.delta) / budget.epsilon
        middle = aim if low * 1.001 < aim < high / 1.001 else math.sqrt(low * high)
        low, high = (low, middle) if fits([events(middle)], budget) else (middle, high)
    return high


def _by_rdp(budget: Budget, sample_rate: float, total_steps: int, mu_spent: float) -> float:
    accountant = RDPAccountant()

    def spent(z: float) -> float:
        accountant.history = [(z, sample_rate, total_steps)]
        if mu_spent > 0.0:
            accountant.history.append((1.0 / mu_spent, 1.0, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the best order lies at the end of Opacus' list
            return float(accountant.get_epsilon(budget.delta))

    low = high = 1.0
    while spent(high) > budget.epsilon:
        high *= 2
        if high > _LARGEST * math.sqrt(total_steps):
            raise _too_small(budget, mu_spent)
    while spent(low) <= budget.epsilon:
        low /= 2
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spent(middle) <= budget.epsilon else (middle, high)
    return high


def _too_small(budget: Budget, mu_spent: float) -> PolicyError:
    return PolicyError(
        "H3151",
        en=f"epsilon {budget.epsilon:g} at delta {budget.delta:g} leaves nothing for local "
        f"training after releases of mu {mu_spent:.3g}; raise the budget or spend less before",
        zh=f"在 epsilon {budget.epsilon:g}、delta {budget.delta:g} 下,"
        f"扣除 mu 为 {mu_spent:.3g} 的发布后,本地训练已无预算;请提高预算或减少前序支出",
    )
