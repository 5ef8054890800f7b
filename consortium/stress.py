"""A federated stress test over a consortium: counts, then cells, then draws, all masked."""

import contextlib
import uuid
from collections.abc import Sequence

from flwr.serverapp import Grid

from haihe_fl.models.base import RiskModel
from haihe_fl.models.plan import ExactStep, TrainingPlan, release_steps
from haihe_fl.models.releases import PlannedRelease, ReleaseRequest
from haihe_fl.privacy.accountant import epsilon_spent
from haihe_fl.privacy.events import GaussianEvent
from haihe_fl.privacy.noise import Quorum
from haihe_fl.securesum.coordinator import SecureSum
from haihe_fl.stress.cellsums import merge_cells
from haihe_fl.stress.centre import (
    NetworkStress,
    StressQuestion,
    counts_of,
    make_spec,
    planned,
    read_network,
)
from haihe_fl.stress.federated import CELLS
from haihe_fl.stress.run import shipped
from haihe_fl.stress.satellite import Satellite
from haihe_fl.stress.settings import StressSettings
from strategies.exchange import Exchange, Progress
from strategies.secure_sum import SecureSumSession

COUNTS_NOISE = 8.0
"""Noise multiplier of the firm counts: epsilon 0.43 at delta 1e-5."""


def run_federated_stress(
    grid: Grid,
    model: RiskModel,
    scenarios: Sequence[str],
    overlay: str = "none",
    settings: StressSettings | None = None,
    *,
    institutions: int,
    counts_noise: float = COUNTS_NOISE,
    cells_noise: float | None = None,
    quorum: Quorum | None = None,
    delta: float = 1e-5,
    satellite: Satellite | None = None,
    deadline_s: float = 120.0,
    poll_s: float = 0.1,
    progress: Progress = lambda *_: None,
    **choices: object,
) -> NetworkStress:
    """Run scenarios over all institutions of a grid; the centre sees network sums only.

    Parameters
    ----------
    grid : Grid
        Flower's grid, or ``InProcessConsortium.grid``.
    model : RiskModel
        Scores each institution's rows there.
    scenarios : sequence of str
        Ids in the catalogue; all in one release, so that one set of survivors answers all.
    institutions : int
        How many to wait for.
    counts_noise : float
        Noise multiplier of the firm counts by sector.
    cells_noise : float, optional
        Noise multiplier of the cells; left out, they are exact, which every institution's policy
        must allow (``exact_stress_sums``).
    quorum : Quorum, optional
        The default for so many institutions; exact sums need three honest survivors at least.
    choices : optional
        ``measures``, ``draws``, ``clip``, ``minimum_cell`` of ``StressSpec``.

    Raises
    ------
    UserError
        H2510, H2511, H2562 for settings that are none.
    PolicyError
        H3306 if institutions refuse; H3562 if the network holds too few firms.
    NetworkError
        H4204 if too few accept, H4201 if too few stay, or not the same as were counted.
    """
    spec = make_spec(
        model,
        satellite,
        scenarios=tuple(scenarios),
        overlay=overlay,
        settings=settings or StressSettings(),
        **choices,
    )
    question = StressQuestion(spec, model, satellite or shipped()[1])
    exchange = Exchange(grid, deadline_s=deadline_s, poll_s=poll_s)
    present = exchange.discover(institutions)
    noisy, exact = planned(spec, counts_noise, cells_noise)
    plan = stress_plan(
        noisy,
        exact,
        tuple(sorted(present)),
        quorum or Quorum.default(len(present)),
        delta=delta,
        model=spec.model[:16],
        catalogue=model.catalogue.fingerprint,
    )
    sums = SecureSumSession(exchange, plan)
    try:
        result = _ask(sums, question, [*noisy, *exact], cells_noise or 0.0, progress)
    except Exception:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            sums.abort()
        raise
    sums.close()
    return result


def stress_plan(
    noisy: Sequence[PlannedRelease],
    exact: Sequence[PlannedRelease],
    participants: tuple[str, ...],
    quorum: Quorum,
    *,
    delta: float,
    model: str,
    catalogue: str,
) -> TrainingPlan:
    """Return the plan of a stress test; its epsilon is what the releases with noise cost."""
    events = [GaussianEvent(release.noise_multiplier) for release in noisy]
    return TrainingPlan(
        run=uuid.uuid4().hex[:16],
        model=f"stress of {model}",
        family="stress",
        mode="secure",
        catalogue_fingerprint=catalogue,
        participants=participants,
        minimum=quorum.minimum,
        colluders=quorum.colluders,
        epsilon=epsilon_spent([events], delta),
        delta=delta,
        holdout_share=0.0,
        releases=release_steps(list(noisy)),
        exact=tuple(ExactStep(name=r.name, kind=r.kind, length=r.length) for r in exact),
    )


def _ask(
    sums: SecureSumSession,
    question: StressQuestion,
    steps: Sequence[PlannedRelease],
    cells_noise: float,
    progress: Progress,
) -> NetworkStress:
    sums.open()
    first, *others = steps
    result = _sum(sums, question.counts(first), progress, (0, len(steps)))
    inflation = len(result.survivors) / sums.plan.quorum.noise_parties
    counted = counts_of(result.total, first.noise_multiplier, inflation)
    merge_cells(*counted, question.spec.minimum_cell)  # nothing is asked of too small a network
    totals = {}
    for number, step in enumerate(others, start=1):
        request = question.sums(step, *counted)
        result = _sum(sums, request, progress, (number, len(steps)))
        totals[step.kind] = result.total
        if step.kind == CELLS:
            inflation = len(result.survivors) / sums.plan.quorum.noise_parties
    return read_network(
        question.spec,
        counted,
        totals,
        result.survivors,
        noise_multiplier=cells_noise,
        inflation=inflation,
        epsilon=sums.plan.epsilon,
        delta=sums.plan.delta,
    )


def _sum(
    sums: SecureSumSession, request: ReleaseRequest, progress: Progress, done: tuple[int, int]
) -> SecureSum:
    """Run one release; whoever is not in it is not asked again: all sums are of the same."""
    progress(request.name, *done)
    result = sums.sum(request)
    sums.out |= {name: "no answer" for name in result.missing if name not in sums.out}
    return result
