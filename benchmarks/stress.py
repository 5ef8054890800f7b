"""Speed and memory of the loss distribution, against plain NumPy and the machine's own limits.

All scenarios over as many enterprises as Tianjin has, with the losses of every institution and of
the network in every draw. Contagion is off. Plain NumPy and the dense loop take too long for the
whole, so they are measured on a part of it and scaled up; the tables say so.

With ``creditriskengine`` at hand (``pip install --no-deps creditriskengine``; its pins do not go
with ours, so it is no dependency), its figures stand beside ours.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from benchmarks.harness import Row, parser, publish
from haihe_fl.stress import compiled
from haihe_fl.stress.distribution import LossDraws, simulate_losses
from haihe_fl.stress.draws import DrawSettings, factor_draws, uniforms
from haihe_fl.stress.ecl import lifetime_ecl
from haihe_fl.stress.exposures import Prepared, Workers, amounts
from haihe_fl.stress.kernel import Shock
from haihe_fl.stress.losses import irb_correlation, irb_risk_weight, vasicek_quantile
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import shipped, shock_of
from haihe_fl.stress.satellite import quarterly_hazard
from haihe_fl.stress.settings import StressSettings
from haihe_fl.stress.tail import tails

GOALS = {"memory_gb": 4.0, "vs_numpy": 50.0, "vs_limit": 3.0, "difference": 1e-5}


@dataclass(frozen=True)
class Size:
    """How large a run is; ``plain`` enterprises are run in plain NumPy."""

    enterprises: int
    draws: int
    scenarios: int
    institutions: int
    plain: int
    rounds: int


FULL = Size(380_000, 1000, 30, 8, 2000, 1000)
QUICK = Size(4_000, 200, 2, 3, 300, 50)


def made_up(size: Size, seed: int) -> Portfolio:
    """Return a random portfolio; missing cells move its log-odds at random."""
    rng, n = np.random.default_rng(seed), size.enterprises
    sectors = shipped()[0].sectors
    odds, noise = rng.normal(-3.7, 1.0, n), rng.normal(0.3, 0.5, n)
    names = np.array([f"institution {k}" for k in range(size.institutions)])
    share = 1.0 / np.arange(1, size.institutions + 1)
    return Portfolio.build(
        pd=expit(odds),
        ead=rng.lognormal(14, 1.2, n),
        lgd=rng.uniform(0.2, 0.6, n),
        sector=np.array(sectors)[rng.integers(0, len(sectors), n)],
        institution=names[rng.choice(size.institutions, n, p=share / share.sum())],
        turnover=rng.uniform(1, 60, n),
        collateral=rng.lognormal(13, 1.5, n),
        sectors=sectors,
        rescore=lambda lost, _: expit(odds + lost * noise),
    )


def plain_losses(
    portfolio: Portfolio, shock: Shock, settings: StressSettings, options: DrawSettings
) -> np.ndarray:
    """Code the same thing as one would in NumPy; losses, shape (draws, institutions)."""
    quarters = shock.shift.shape[1]
    n, n_inst = len(portfolio), len(portfolio.institutions)
    factors = factor_draws(options, len(portfolio.sectors), quarters).factors
    prepared = Prepared.of(portfolio, settings)
    lost = amounts(prepared, shock, settings, np.zeros(n), Workers(1)).loss.astype(np.float64)
    lost = lost[np.argsort(prepared.rows)]
    pd = expit(logit(portfolio.pd)[:, None] + shock.shift[portfolio.sector])
    rho = irb_correlation(pd, portfolio.turnover[:, None]) * (1.0 - settings.r2_macro)
    threshold = ndtri(quarterly_hazard(pd))
    alive = np.ones((n, options.draws))
    total = np.zeros((options.draws, n_inst))
    for t in range(quarters):
        y = factors[portfolio.sector, t]
        x = threshold[:, t, None] - np.sqrt(rho[:, t, None]) * y
        gone = alive * ndtr(x / np.sqrt(1.0 - rho[:, t, None]))
        alive -= gone
        loss = lost[:, t, None] * gone
        for k in range(n_inst):
            total[:, k] += loss[portfolio.institution == k].sum(axis=0)
    return total


def part_of(portfolio: Portfolio, count: int) -> Portfolio:
    """Return the first entries of a portfolio."""
    names = ("pd", "ead", "lgd", "turnover", "collateral")
    return Portfolio.build(
        **{name: getattr(portfolio, name)[:count] for name in names},
        sector=np.array(portfolio.sectors)[portfolio.sector[:count]],
        institution=np.array(portfolio.institutions)[portfolio.institution[:count]],
        sectors=portfolio.sectors,
    )


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return seconds on the clock, seconds of all threads' work, and the result."""
    start, used = time.perf_counter(), time.process_time()
    out = work()
    return time.perf_counter() - start, time.process_time() - used, out


@compiled.compiled
def multiply_add(x: Any, out: Any, rounds: Any) -> None:
    """Do 128 multiply-adds for each x, four at a time."""
    c = np.float32(0.3)
    for _ in range(rounds):
        for j in range(x.size):
            a = x[j]
            p, q, r, s = a, a + c, a - c, c
            for _ in range(32):
                p = p * a + c
                q = q * a + c
                r = r * a + c
                s = s * a + c
            out[j] += p + q + r + s


def limits(size: Size) -> dict[str, float]:
    """Measure what one core does in a second of its own: it may have to share the machine."""
    x = np.linspace(0, 0.9, 2048).astype(np.float32)
    out = np.zeros_like(x)
    multiply_add(x, out, 1)
    fma = min(timed(lambda: multiply_add(x, out, size.rounds))[1] for _ in range(5))

    def sweep() -> None:
        for _ in range(size.rounds):
            compiled.normal_cdf(x, out)

    cdf = min(timed(sweep)[1] for _ in range(5))
    count = 100 * size.rounds
    normals = timed(lambda: ndtri(uniforms("benchmark", count=count, width=4)))[1]
    return {
        "fma": 128.0 * x.size * size.rounds / fma,
        "cdf": float(x.size * size.rounds) / cdf,
        "normals": 4 * count / normals,
    }


def all_scenarios(
    portfolio: Portfolio, size: Size, options: DrawSettings, threads: int
) -> list[LossDraws]:
    """Run all scenarios, with the tails of each."""
    catalogue, satellite = shipped()
    settings, quiet = StressSettings(), catalogue.overlay("none")
    prepared = Prepared.of(portfolio, settings)
    results = []
    for scenario in catalogue.scenarios[: size.scenarios]:
        shock = shock_of(catalogue, satellite, scenario, quiet)
        lost = scenario.idiosyncratic.data_quality.feature_missing_rate
        results.append(
            simulate_losses(
                portfolio,
                shock,
                settings,
                options,
                threads=threads,
                impaired_pd=portfolio.impaired_pd(lost, 0),
                prepared=prepared,
            )
        )
        tails(results[-1])
    return results


def engine_beside_ours() -> list[Row]:
    """Compare with creditriskengine; nothing where it is not at hand."""
    try:
        irb = import_module("creditriskengine.rwa.irb.formulas")
        vasicek = import_module("creditriskengine.portfolio.vasicek")
        ecl = import_module("creditriskengine.ecl.ifrs9.ecl_calc")
        copula = import_module("creditriskengine.portfolio.copula")
    except ImportError:
        return []
    pds, sales = (0.0005, 0.005, 0.01, 0.03, 0.1, 0.3), (5.0, 20.0, 50.0)
    weights = [
        (
            irb.irb_risk_weight(p, 0.45, "corporate", 2.5, s),
            100 * float(irb_risk_weight(p, 0.45, s)),
        )
        for p in pds
        for s in sales
    ]
    quantiles = [
        (vasicek.vasicek_loss_quantile(p, r, 0.45), 0.45 * float(vasicek_quantile(p, r)))
        for p in pds
        for r in (0.08, 0.12, 0.2)
    ]
    hazard = np.array([0.03, 0.05, 0.02])
    marginal = hazard * np.cumprod(np.concatenate([[1.0], 1 - hazard[:-1]]))
    ead = np.array([100.0, 70.0, 40.0])
    losses = [
        (ecl.ecl_lifetime(marginal, 0.45, ead, 0.05), float(lifetime_ecl(hazard, 0.45, ead, 0.05)))
    ]
    rows: list[Row] = []
    for name, pairs in (
        ("IRB risk weight, %", weights),
        ("Vasicek 99.9 % loss", quantiles),
        ("lifetime ECL", losses),
    ):
        apart = max(abs(a - b) for a, b in pairs)
        rows.append({"figure": name, "cases": len(pairs), "largest difference": f"{apart:.2e}"})
    n, draws = 2000, 1000
    one = [np.full(n, 0.02), np.full(n, 0.45), np.ones(n)]
    theirs, *_ = timed(lambda: copula.simulate_single_factor(*one, 0.12, draws, 1))
    portfolio = Portfolio.build(
        pd=0.02 * np.ones(n), ead=1.0, lgd=0.45, sector="a", sectors=("a",), institution="x"
    )
    options = DrawSettings(draws=draws, method="dense")
    ours, *_ = timed(lambda: simulate_losses(portfolio, Shock.none(1, 1), options=options))
    rows.append(
        {"figure": f"{n} enterprises x {draws} draws, s: theirs", "cases": 1, "seconds": theirs}
    )
    rows.append({"figure": "the same, ours (dense, one quarter)", "cases": 1, "seconds": ours})
    return rows


def figures(measured: dict[str, float]) -> list[Row]:
    """Set what was measured against the goals."""
    rows: list[Row] = []
    for name, title, at_most in (
        ("memory_gb", "peak memory, GB", True),
        ("vs_numpy", "plain NumPy over bucketed, seconds", False),
        ("vs_limit", "dense run over its multiply-adds alone, core-seconds", True),
        ("difference", "bucketed against plain, share of the loss in a draw", True),
    ):
        value, goal = measured[name], GOALS[name]
        met = value <= goal if at_most else value >= goal
        said = f"{'<=' if at_most else '>='} {goal:g}"
        row = {"figure": title, "measured": f"{value:.3g}", "goal": said}
        rows.append({**row, "ok": "yes" if met else "NO"})
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    args = parser(__doc__).parse_args(argv)
    size = QUICK if args.quick else FULL
    threads = len(os.sched_getaffinity(0))
    options = DrawSettings(draws=size.draws, seed=args.seed)
    catalogue, satellite = shipped()
    settings = StressSettings()
    shock = shock_of(catalogue, satellite, catalogue["gfc-replay"], catalogue.overlay("none"))
    quarters = shock.shift.shape[1]
    portfolio = made_up(size, args.seed)
    part = part_of(portfolio, size.plain)
    for method in ("dense", "bucketed"):  # compile
        simulate_losses(part, shock, options=options.model_copy(update={"method": method}))

    seconds, work, results = timed(lambda: all_scenarios(portfolio, size, options, threads))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    nodes = max(r.nodes for r in results)
    dense = options.model_copy(update={"method": "dense", "idiosyncratic": "none"})
    dense_run = timed(lambda: simulate_losses(portfolio, shock, settings, dense))
    plain_run = timed(lambda: plain_losses(part, shock, settings, options))
    quiet = options.model_copy(update={"method": "bucketed", "idiosyncratic": "none"})
    ours = simulate_losses(part, shock, settings, quiet).losses
    limit = limits(size)

    each = size.enterprises * quarters * size.draws
    cells = each * size.scenarios
    times = size.enterprises / size.plain * size.scenarios
    plain_whole, plain_work = plain_run[0] * times, plain_run[1] * times
    dense_whole, dense_work = dense_run[0] * size.scenarios, dense_run[1] * size.scenarios
    floor, cdf = cells * compiled.OPERATIONS / limit["fma"], cells / limit["cdf"]
    measured = {
        "seconds": seconds,
        "work": work,
        "memory_gb": memory,
        "vs_numpy": plain_whole / seconds,
        "vs_numpy_work": plain_work / work,
        "dense_vs_numpy_work": plain_work / dense_work,
        "vs_limit": dense_work / floor,
        "vs_cdf": dense_work / cdf,
        "difference": float(np.abs(ours / plain_run[2] - 1).max()),
        "nodes": float(nodes),
        **{f"limit_{k}": v for k, v in limit.items()},
    }
    whole = f"{size.scenarios} x {quarters} x {size.enterprises:,} x {size.draws:,}"
    lines = (
        ("bucketed", seconds, work, f"all of it, {threads} threads; up to {nodes:,} nodes"),
        ("dense", dense_whole, dense_work, f"one scenario, {threads} threads; scaled up"),
        ("plain NumPy", plain_whole, plain_work, f"one scenario, {size.plain} entries; scaled up"),
        ("dense: only the distribution function", None, cdf, "one core"),
        ("dense: only the multiply-adds", None, floor, "one core, at its peak"),
    )
    rows: list[Row] = [
        {
            "way": name,
            "seconds": clock,
            "core-seconds": used,
            "ns of a core per cell": 1e9 * used / cells,
            "plain / this, of work": plain_work / used,
            "measured on": note,
        }
        for name, clock, used, note in lines
    ]
    tables: dict[str, list[Row]] = {
        f"Scenarios x quarters x enterprises x draws: {whole}": rows,
        "Goals": figures(measured),
    }
    if beside := engine_beside_ours():
        tables["Beside creditriskengine"] = beside
    publish(args, "stress", tables, {**measured, "numba": version("numba"), "threads": threads})
    return 0


if __name__ == "__main__":
    sys.exit(main())
