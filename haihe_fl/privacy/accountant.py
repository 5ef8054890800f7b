"""Composition of privacy events over the releases and runs of one institution.

Full-batch Gaussian releases compose exactly (``haihe_fl.privacy.gaussian``). As soon as a
DP-SGD event is among them, everything goes through the PRV accountant of Opacus, which takes a
full-batch release as sampling rate one and returns an upper bound; it costs about a second.
Far beyond any budget worth keeping, where PRV would need minutes or gigabytes, the bound is
RDP's: a plan from the centre must not be able to stop a node.

Parts of the data. Within one run, training and held-out records are disjoint, so a record
pays for the releases of one part only. Which part that is may change from run to run (the
held-out share may differ), so the loss of a record is that of the worst choice of one part a
run: the largest over all choices. For Gaussian runs this is simply the larger mu of each run.
"""

import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import product

import numpy as np

from haihe_fl.privacy.events import Event, GaussianEvent, SampledGaussianEvent
from haihe_fl.privacy.gaussian import Budget, compose, epsilon_for

_TOLERANCE = 1e-9  # relative; a schedule made to fill a budget fills it to rounding
_MAX_CHOICES = 16
_FAR_BEYOND = 100.0  # epsilon above which a bound need not be tight


def supports(event: object) -> bool:
    """Return whether the event can be composed; asked before any state changes."""
    return isinstance(event, GaussianEvent | SampledGaussianEvent)


def epsilon_spent(runs: Iterable[Iterable[Event]], delta: float) -> float:
    """Return epsilon of all runs together, per record.

    Parameters
    ----------
    runs : iterable of iterable of Event
        The events of each run.
    delta : float
        In (0, 1).

    Examples
    --------
    >>> main = [GaussianEvent(4.0)] * 8
    >>> round(epsilon_spent([main], 1e-5), 3)
    2.943
    >>> round(epsilon_spent([[*main, GaussianEvent(4.0, "holdout")]], 1e-5), 3)  # disjoint data
    2.943
    >>> round(epsilon_spent([main, main], 1e-5), 3)
    4.377
    """
    choices = [_parts(list(events)) for events in runs]
    if np.prod([len(parts) for parts in choices], dtype=float) > _MAX_CHOICES:
        # Too many to try: charge every record for both parts, which is never too little.
        choices = [[[event for part in parts for event in part]] for parts in choices]
    return max(
        _epsilon([e for part in chosen for e in part], delta) for chosen in product(*choices)
    )


def fits(runs: Iterable[Iterable[Event]], budget: Budget) -> bool:
    """Return whether all runs together keep a record-level budget.

    Examples
    --------
    >>> fits([[GaussianEvent(4.0)] * 8], Budget(3.0, 1e-5))
    True
    >>> fits([[GaussianEvent(4.0)] * 9], Budget(3.0, 1e-5))
    False
    """
    if budget.unit != "record":
        raise ValueError("events are counted by record; convert with Budget.for_record first")
    return epsilon_spent(runs, budget.delta) <= budget.epsilon * (1 + _TOLERANCE)


def _parts(events: list[Event]) -> list[list[Event]]:
    """Return the events of each part, less those parts that another part outdoes."""
    by_part: dict[str, list[Event]] = {"train": [], "holdout": []}
    for event in events:
        by_part[event.part].append(event)
    train, holdout = by_part.values()
    if _outdoes(train, holdout):
        return [train]
    return [holdout] if _outdoes(holdout, train) else [train, holdout]


def _outdoes(one: list[Event], other: list[Event]) -> bool:
    if any(isinstance(event, SampledGaussianEvent) for event in other):
        return False
    return _mu(one) >= _mu(other)


def _mu(events: list[Event]) -> float:
    return compose(e.noise_multiplier for e in events if isinstance(e, GaussianEvent))


def _epsilon(events: list[Event], delta: float) -> float:
    sampled: dict[tuple[float, float], int] = {}
    for event in events:
        if isinstance(event, SampledGaussianEvent):
            key = (event.noise_multiplier, event.sample_rate)
            sampled[key] = sampled.get(key, 0) + event.steps
    if not sampled:
        return epsilon_for(_mu(events), delta)
    history = [(z, rate, steps) for (z, rate), steps in sorted(sampled.items())]
    if mu := _mu(events):
        history.append((1 / mu, 1.0, 1))
    return _prv_epsilon(tuple(history), delta)


@lru_cache(maxsize=64)
def _prv_epsilon(history: tuple[tuple[float, float, int], ...], delta: float) -> float:
    # Seconds to import, and only needed here.
    from opacus.accountants import PRVAccountant, RDPAccountant  # type: ignore[import-untyped]

    accountant, quick = PRVAccountant(), RDPAccountant()
    accountant.history = quick.history = list(history)
    # The error is an absolute term of the bound: a coarse pass first, then about 0.4 %.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        loose = float(quick.get_epsilon(delta))
        if not loose < _FAR_BEYOND:
            return loose
        bound = float(accountant.get_epsilon(delta, eps_error=0.01))
        if bound < 2.5:
            error = min(max(0.004 * bound, 0.0005), 0.005)
            bound = min(bound, float(accountant.get_epsilon(delta, eps_error=error)))
    return max(bound, 0.0)


def combined(runs: Mapping[str, Mapping[str, Event]]) -> list[list[Event]]:
    """Return the events of each run, as ``epsilon_spent`` takes them, from events by name."""
    return [list(events.values()) for events in runs.values()]
