"""What one draw of contagion costs, in products of the network's matrix and a vector.

``python -m benchmarks.contagion --json FILE [--quick]``

The synthetic city: 380,000 enterprises and about a million guarantees and receivables. "clearing"
calls guarantees and clears them, "both layers" adds distress along the supply chain and its turns
back to the guarantees. Every ratio is of medians, taken one after the other.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from benchmarks import harness
from haihe_fl.data.synth import synthesise
from haihe_fl.data.synth.consortium import Consortium
from haihe_fl.stress.clearing import call_guarantees
from haihe_fl.stress.distress import GAMMA, distressed_pd
from haihe_fl.stress.network import Network, propagate
from haihe_fl.stress.pool import load_pool, settle_pool

ENTERPRISES, QUICK, GOAL = 380_000, 5_000, 20.0
LOSS = 0.45


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return 1 where clearing takes more than the goal in the full run."""
    parser = harness.parser(__doc__, seed=2023)
    parser.add_argument("--enterprises", type=int, default=ENTERPRISES)
    parser.add_argument("--repeat", type=int, default=9, help="draws of each kind")
    args = parser.parse_args(argv)
    if args.quick:
        args.enterprises, args.repeat = QUICK, 3
    city = synthesise(args.enterprises, args.seed)
    network, seconds = build(city)
    both = (network.guarantees + network.leverage).tocsr()
    rows = [
        measure(city, network, both, multiple, lambda_, args)
        for multiple in (1.0, 3.0, 8.0)
        for lambda_ in (0.0, 1.0, 2.5)
    ]
    title = (
        f"{len(network)} enterprises, {both.nnz} edges; network built in {seconds:.2f} s; "
        "product: the matrix of all edges times a vector"
    )
    figures = {
        "enterprises": len(network),
        "edges": int(both.nnz),
        "build_seconds": seconds,
        "goal": GOAL,
        "worst_clearing": max(row["clearing / product"] for row in rows),
        "pool": pool_cost(args),
    }
    harness.publish(args, "contagion", {title: rows}, figures)
    # A small network measures calls of functions, not products.
    return int(not args.quick and figures["worst_clearing"] > GOAL)


def build(city: Consortium) -> tuple[Network, float]:
    """Return the network of a synthetic city, and how long it took to join."""
    began = time.perf_counter()
    network = Network.from_consortium(city)
    return network, time.perf_counter() - began


def median_seconds(work: Callable[[int], object], repeat: int) -> float:
    """Return the median over repetitions; the first, which warms up, is not counted."""
    times = []
    for i in range(repeat + 1):
        began = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def measure(
    city: Consortium,
    network: Network,
    both: csr_array,
    multiple: float,
    lambda_: float,
    args: argparse.Namespace,
) -> harness.Row:
    """Return costs and effects of draws at a multiple of the enterprises' PDs."""
    rng = np.random.default_rng([args.seed, int(10 * multiple), int(10 * lambda_)])
    pd = np.minimum(multiple * city.enterprises.true_pd, 0.9)
    draws = [rng.random(len(network)) < pd for _ in range(args.repeat + 1)]
    claim = LOSS * network.debt
    haircut = 0.2
    usable = network.debt + (1.0 - haircut) * network.liquid

    def guarantees_only(i: int) -> object:
        cash = np.where(draws[i], network.debt - claim, usable)
        return call_guarantees(cash, network.debt, claim, network.guarantees, network.guaranteed)

    def both_layers(i: int) -> object:
        return propagate(network, draws[i], claim, lambda_=lambda_, guarantee_haircut=haircut)

    vector = rng.random(len(network))
    # Beside what it is compared with: on a busy machine a product's time drifts.
    product = median_seconds(lambda _: both @ vector, 2 * args.repeat)
    clearing = median_seconds(guarantees_only, args.repeat)
    whole = median_seconds(both_layers, args.repeat)
    found = propagate(network, draws[0], claim, lambda_=lambda_, guarantee_haircut=haircut)
    sound = ~draws[0] & ~found.extra_defaults
    healthy_pd = city.enterprises.true_pd[sound]
    rise = distressed_pd(healthy_pd, found.h[sound], GAMMA).mean() / healthy_pd.mean()
    return {
        "PD x": multiple,
        "lambda": lambda_,
        "defaults drawn %": 100 * float(draws[0].mean()),
        "extra %": 100 * float(found.extra_defaults.mean()),
        "calls paid %": 100 * float(found.paid.sum() / max(found.called.sum(), 1.0)),
        "PD of the rest x": float(rise),
        "waves": found.rounds,
        "product ms": 1e3 * product,
        "clearing ms": 1e3 * clearing,
        "clearing / product": clearing / product,
        "both layers / product": whole / product,
    }


def pool_cost(args: argparse.Namespace) -> dict[str, float]:
    """Return seconds to settle many draws, and how often the pool is empty."""
    shape = (100, 23, 12) if args.quick else (1_000, 23, 12)
    losses = np.random.default_rng(args.seed).gamma(0.5, 1e7, shape)
    terms = load_pool()
    outcome = settle_pool(losses, terms)
    return {
        "draws": shape[0],
        "seconds": median_seconds(lambda _: settle_pool(losses, terms), args.repeat),
        "exhausted": float((outcome.exhausted > 0).mean()),
    }


if __name__ == "__main__":
    sys.exit(main())
