"""How well the neural family ranks borrowers when each institution adds the whole noise itself.

``python -m benchmarks.neural --data FILE --mapping M --epsilon 1,3,8 --seeds 3 --json FILE``

One process plays all institutions, as a run does: quantiles as one noisy sum, DP-SGD with the
whole noise at each institution and plain averaging of their weights, calibration as one more sum.
Rows are dealt out evenly, and unevenly as the mapping says. ``noise off`` is the same training
without noise. ``PD/rate`` is the mean PD over the default rate of the test rows, with and without
the calibration; ``slope`` that of the calibrated log-odds, ideally 1.
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
from haihe_fl.evaluation.calibration import calibration_fit
from haihe_fl.evaluation.metrics import auc, ks
from haihe_fl.models.neural import NeuralModel, NeuralSettings
from haihe_fl.models.neural.accounting import noise_multiplier_for
from haihe_fl.models.neural.session import train_round
from haihe_fl.models.neural.trainer import NeuralTrainer
from haihe_fl.models.releases import ReleaseComputer
from haihe_fl.privacy.gaussian import Budget
from haihe_fl.privacy.noise import NoiseSource

FOLDS = 5
NO_NOISE = 1e6
"""Gaussian-DP budget at which the trainer takes its sums for exact."""


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
        f"{args.mapping.stem}: {args.institutions} institutions, all noise of training at each; "
        f"epsilon per record at delta {args.delta:g}"
    )
    harness.publish(args, "neural", {title: rows}, {"settings": NeuralSettings().model_dump()})
    return 0


def measure(
    cohort: Cohort, mapping: Mapping, sizes: str, epsilon: float | None, args: argparse.Namespace
) -> harness.Row:
    """Return the mean test figures over the seeds."""
    ranks, gaps, seconds, spread, levels = [], [], [], [], []
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
        before, after = train(parts, budget)
        seconds.append(time.perf_counter() - began)
        pd = after.predict_pd(test.values)
        rate = test.label.mean()
        slope = calibration_fit(after.logit(test.values), test.label, np.ones(len(test))).slope
        levels.append((before.predict_pd(test.values).mean() / rate, pd.mean() / rate, slope))
        ranks.append(auc(test.label, pd))
        gaps.append(ks(test.label, pd))
        spread.append(max(len(p) for p in parts) / np.mean([len(p) for p in parts]))
    figures = harness.summary(ranks)
    raw, level, slope = np.mean(levels, axis=0)
    return {
        "sizes": f"{sizes}, largest {np.mean(spread):.1f} x the mean",
        "budget": "noise off" if epsilon is None else f"epsilon {epsilon:g}",
        "AUC": figures["mean"],
        "s.e.": figures["se"],
        "KS": float(np.mean(gaps)),
        "PD/rate, not calibrated": float(raw),
        "PD/rate": float(level),
        "slope": float(slope),
        "seconds": float(np.mean(seconds)),
    }


def train(parts: list[Cohort], budget: Budget | None) -> tuple[NeuralModel, NeuralModel]:
    """Train with the default settings; without a budget no noise is added anywhere.

    Returns
    -------
    NeuralModel, NeuralModel
        Before and after calibration.
    """
    settings, source = NeuralSettings(), NoiseSource()
    mu = budget.mu if budget else NO_NOISE
    trainer = NeuralTrainer(parts[0].catalogue, settings, mu, len(parts))
    nodes = [ReleaseComputer(part, 0.0) for part in parts]
    ask(trainer, nodes, source if budget else None)
    z = 0.0
    if budget:
        total, rate = settings.total_steps, settings.sample_rate
        z = noise_multiplier_for(budget, rate, total, trainer.mu_spent)
    chosen, arrays = settings.model_dump(), trainer.arrays()
    weights, history = trainer.start(), []
    for _ in range(settings.rounds):
        answers = [
            train_round(node, chosen, z, weights, arrays, proximal_mu=0.0, noise=source)
            for node in nodes
        ]
        weights = [np.mean(w, axis=0, dtype=np.float32) for w in zip(*answers, strict=True)]
        history.append(weights)
    trainer.finish_local(history)
    before = trainer.model()
    ask(trainer, nodes, source if budget else None)
    return before, trainer.model()


def ask(trainer: NeuralTrainer, nodes: list[ReleaseComputer], source: NoiseSource | None) -> None:
    """Give the trainer the sums that it asks for now, with the noise of a secure sum."""
    while (request := trainer.next_request()) is not None:
        answers = [node.answer(request) for node in nodes]
        total = np.sum([answer.vector for answer in answers], axis=0)
        if source is not None:
            sd = request.noise_multiplier * answers[0].sensitivity
            total = total + source.rounded_gaussian(sd, request.length)
        trainer.absorb(total)


if __name__ == "__main__":
    sys.exit(main())
