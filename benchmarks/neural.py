"""How well the neural family ranks borrowers when each institution adds the whole noise itself.

``python -m benchmarks.neural --data FILE --mapping M --epsilon 1,3,8 --seeds 3 --json FILE``

One process plays all institutions: a quantile release with the full noise at every institution
(5 % of mu^2), then DP-SGD at each and plain averaging of their weights. Rows are dealt out
evenly, and unevenly as the mapping says. ``noise off`` is the same training without noise.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import harness
from haihe_fl.data.cohort import Cohort
from haihe_fl.data.mapping import Mapping, load_mapping
from haihe_fl.data.partition import partition
from haihe_fl.data.readers import read_cohort
from haihe_fl.evaluation.metrics import auc, ks
from haihe_fl.models.neural import (
    Encoder,
    NeuralModel,
    NeuralSettings,
    absorb_quantiles,
    average_weights,
    initial_weights,
    quantile_release,
)
from haihe_fl.models.neural.accounting import noise_multiplier_for
from haihe_fl.models.neural.local import LocalTrainer
from haihe_fl.models.releases import ReleaseComputer, ReleaseRequest
from haihe_fl.privacy.gaussian import Budget
from haihe_fl.privacy.noise import NoiseSource

FOLDS = 5
SHARE = 0.05


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; without data it uses the UCI card set where it is at hand."""
    parser = harness.parser(__doc__)
    parser.add_argument("--data", type=Path, help="file of records; left out, UCI card")
    parser.add_argument("--mapping", type=Path, help="mapping of --data")
    parser.add_argument("--institutions", type=int, default=20)
    parser.add_argument("--epsilon", type=harness.numbers, default=[1.0, 3.0, 8.0])
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    if (args.data is None) != (args.mapping is None):
        parser.error("--data and --mapping belong together")
    if args.data is None:
        root = Path(os.environ.get("HAIHE_DATA", Path(__file__).parents[2] / "shared" / "data"))
        args.data = root / "uci_default_credit_card" / "UCI_Credit_Card.csv.gz"
        args.mapping = Path(__file__).parent / "datasets" / "uci_card.yaml"
        if not args.data.is_file():
            print("no public data set at hand; set HAIHE_DATA or give --data and --mapping")
            return 0
    if args.quick:
        args.seeds, args.epsilon = 1, args.epsilon[:1]
    mapping = load_mapping(args.mapping)
    cohort = read_cohort(args.data, mapping)
    rows = [
        measure(cohort, mapping, sizes, epsilon, args)
        for sizes in ("even", "skewed")
        for epsilon in (*args.epsilon, None)
    ]
    title = (
        f"{args.mapping.stem}: {args.institutions} institutions, each adds the full noise; "
        f"epsilon per record at delta {args.delta:g}"
    )
    harness.publish(args, "neural", {title: rows}, {"settings": NeuralSettings().model_dump()})
    return 0


def measure(
    cohort: Cohort, mapping: Mapping, sizes: str, epsilon: float | None, args: argparse.Namespace
) -> harness.Row:
    """Return the mean test figures over the seeds."""
    ranks, gaps, seconds, spread = [], [], [], []
    for seed in range(args.seed, args.seed + args.seeds):
        skew = mapping.institution.skewed if mapping.institution else None
        uneven = {"by": skew.by} if skew and sizes == "skewed" else {"correlation": 0.0}
        evenly = {"spread": 0.0} if sizes == "even" else {}
        dealt = partition(cohort, args.institutions, seed, **uneven, **evenly)
        order = np.random.default_rng(1000 + seed // FOLDS).permutation(len(dealt))
        held = np.zeros(len(dealt), dtype=np.bool_)
        held[order[seed % FOLDS :: FOLDS]] = True
        test, parts = dealt.take(held), list(dealt.take(~held).by_institution().values())
        began = time.perf_counter()
        budget = None if epsilon is None else Budget(epsilon, args.delta)
        pd = train(parts, budget, seed).predict_pd(test.values)
        seconds.append(time.perf_counter() - began)
        ranks.append(auc(test.label, pd))
        gaps.append(ks(test.label, pd))
        spread.append(max(len(p) for p in parts) / np.mean([len(p) for p in parts]))
    figures = harness.summary(ranks)
    return {
        "sizes": f"{sizes}, largest {np.mean(spread):.1f} x the mean",
        "budget": "noise off" if epsilon is None else f"epsilon {epsilon:g}",
        "AUC": figures["mean"],
        "s.e.": figures["se"],
        "KS": float(np.mean(gaps)),
        "seconds": float(np.mean(seconds)),
    }


def train(parts: list[Cohort], budget: Budget | None, seed: int) -> NeuralModel:
    """Train with the default settings; without a budget no noise is added anywhere."""
    catalogue, source = parts[0].catalogue, NoiseSource()
    mu_quantiles = SHARE**0.5 * budget.mu if budget else 0.0
    encoder, records = _quantiles(parts, mu_quantiles, source)
    settings = NeuralSettings(records=max(round(records / len(parts)), 1))
    z = 0.0
    if budget:
        total, rate = settings.total_steps, settings.sample_rate
        z = noise_multiplier_for(budget, rate, total, mu_quantiles)
    trainers = [LocalTrainer(part, encoder, settings, z, source=source) for part in parts]
    weights, history = initial_weights(seed, encoder, settings), []
    for _ in range(settings.rounds):
        answers = [trainer.train(weights) for trainer in trainers]
        weights = average_weights([[np.mean(w, axis=0) for w in zip(*answers, strict=True)]])
        history.append(weights)
    return NeuralModel.from_weights(catalogue, encoder, settings, average_weights(history))


def _quantiles(parts: list[Cohort], mu: float, source: NoiseSource) -> tuple[Encoder, float]:
    catalogue = parts[0].catalogue
    release = quantile_release(catalogue, 1.0 / mu if mu else 1.0)
    request = ReleaseRequest(**vars(release))
    total = np.zeros(release.length, dtype=np.int64)
    for part in parts:
        answer = ReleaseComputer(part, 0.0).answer(request)
        total += answer.vector
        if mu:
            sd = release.noise_multiplier * answer.sensitivity
            total += source.rounded_gaussian(sd, release.length)
    return absorb_quantiles(catalogue, total)


if __name__ == "__main__":
    sys.exit(main())
