"""How well the federated private model ranks borrowers, against what it could be measured by.

``python -m benchmarks.utility --data FILE --mapping M --epsilon 1,3,8 --seeds 5 --json FILE``

In the same run and on the same splits: the federated additive model at each epsilon and with
the noise off, the additive model and LightGBM on the pooled rows, and each institution's own
models. A random split is one fold of five, so that over five seeds every row is tested once.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks import harness
from benchmarks.baselines import TREES, Predict, alone, gradient_boosting, pooled_additive
from haihe_fl.data.cohort import Cohort
from haihe_fl.data.mapping import Mapping, load_mapping
from haihe_fl.data.partition import partition
from haihe_fl.data.readers import read_cohort
from haihe_fl.evaluation.metrics import auc, brier, ks
from haihe_fl.models.additive import AdditiveConfig, AdditiveTrainer
from haihe_fl.models.inmemory import train_in_memory
from haihe_fl.privacy.gaussian import mu_for
from haihe_fl.privacy.noise import NoiseSource, Quorum

FOLDS = 5
LOCAL = ("local only, LightGBM", "local only, additive")
QUICK_ROWS = 6000
Floats = NDArray[np.float64]


@dataclass
class Run:
    """Predictions on one split: by method, for the test rows in order."""

    test: Cohort
    predictions: dict[str, Floats] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark on a data set, or on the public sets that are at hand."""
    parser = harness.parser(__doc__)
    parser.add_argument("--data", type=Path, help="file of records; left out, the public sets")
    parser.add_argument("--mapping", type=Path, help="mapping of --data")
    parser.add_argument("--institutions", type=int, help="of a synthetic partition (default 20)")
    parser.add_argument("--epsilon", type=harness.numbers, default=[1.0, 3.0, 8.0])
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--split", choices=("random", "time"), default="random")
    parser.add_argument("--without", default="", help="features left out, comma-separated")
    parser.add_argument(
        "--set", type=_setting, nargs="*", default=[], metavar="NAME=VALUE", help="AdditiveConfig"
    )
    parser.add_argument(
        "--inner", action="store_true", help="choose settings: train and test inside training folds"
    )
    parser.add_argument("--ours-only", action="store_true", help="leave the baselines out")
    args = parser.parse_args(argv)
    if (args.data is None) != (args.mapping is None):
        parser.error("--data and --mapping belong together")
    if args.quick:
        args.seeds = min(args.seeds, 1)
    tables: dict[str, list[harness.Row]] = {}
    figures: dict[str, Any] = {}
    for data, mapping in _sets(args):
        runs, facts = measure(data, load_mapping(mapping), args)
        name = f"{mapping.stem}, {args.split} split"
        tables[f"{name}: {facts['institutions']} institutions, delta {args.delta:g} (record)"] = (
            overall(runs)
        )
        figures[name] = facts | {"per_seed": per_seed(runs)}
        if args.ours_only:
            continue
        banks = by_institution(runs, facts["natural"], args)
        figures[name]["by_institution"] = banks
        tables[f"{name}: AUC at the institutions, weighted by test rows"] = weighted(banks)
        if facts["natural"]:
            tables[f"{name}: AUC of each institution, 95 % bootstrap"] = _readable(banks)
    harness.publish(args, "utility", tables, figures)
    return 0


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    default = getattr(AdditiveConfig(), name, None)
    if default is None:
        raise argparse.ArgumentTypeError(f"{name} is no setting of the additive model")
    return name, type(default)(value)


def _sets(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    if args.data:
        return [(args.data, args.mapping)]
    root = Path(os.environ.get("HAIHE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    known = {
        "uci_card": root / "uci_default_credit_card" / "UCI_Credit_Card.csv.gz",
        "sba_loans": root / "sba_loans" / "loans.parquet",
    }
    mappings = Path(__file__).parent / "datasets"
    found = [(file, mappings / f"{name}.yaml") for name, file in known.items() if file.is_file()]
    if not found:
        print("no public data set at hand; set HAIHE_DATA or give --data and --mapping")
    return found


def measure(
    data: Path, mapping: Mapping, args: argparse.Namespace
) -> tuple[list[Run], dict[str, Any]]:
    """Train and predict with every method on every split."""
    cohort = _without(read_cohort(data, mapping), args.without)
    natural = mapping.institution is not None and mapping.institution.column is not None
    if args.inner and args.split == "time":
        raise SystemExit("--inner goes with a random split")
    if args.quick and len(cohort) > QUICK_ROWS:
        rows = np.random.default_rng(args.seed).permutation(len(cohort))[:QUICK_ROWS]
        cohort = cohort.take(np.sort(rows))
    runs = [
        _run(train, test, seed, args)
        for seed, train, test in _splits(cohort, mapping, natural, args)
    ]
    sizes = [len(c) for c in cohort.by_institution().values()] if natural else []
    facts = {
        "records": len(cohort),
        "features": len(cohort.catalogue.features),
        "positive_rate": float(cohort.label.mean()),
        "natural": natural,
        "institutions": runs[0].facts["institutions"],
        "quorum": runs[0].facts["quorum"],
        "sizes": sizes,
        "unit": "record",
        "lightgbm": TREES,
        "additive": vars(AdditiveConfig(**dict(args.set))),
    }
    return runs, facts


def _without(cohort: Cohort, names: str) -> Cohort:
    gone = {name for name in names.split(",") if name}
    keep = [j for j, name in enumerate(cohort.catalogue.names) if name not in gone]
    if len(keep) + len(gone) != len(cohort.catalogue.names):
        raise SystemExit(f"--without {names}: not all of them are features")
    features = tuple(cohort.catalogue.features[j] for j in keep)
    catalogue = cohort.catalogue.model_copy(update={"features": features})
    return Cohort(
        catalogue=type(catalogue).model_validate(catalogue.model_dump()),
        values=cohort.values[:, keep],
        label=cohort.label,
        key=cohort.key,
        institution=cohort.institution,
        date=cohort.date,
        weight=cohort.weight,
        extra=cohort.extra,
    )


def _splits(
    cohort: Cohort, mapping: Mapping, natural: bool, args: argparse.Namespace
) -> Iterator[tuple[int, Cohort, Cohort]]:
    for seed in range(args.seed, args.seed + args.seeds):
        dealt = cohort if natural else _deal(cohort, mapping, seed, args.institutions)
        if args.split == "time":
            if dealt.date is None:
                raise SystemExit("--split time: the mapping names no date")
            known = ~np.isnat(dealt.date)
            cut = np.sort(dealt.date[known])[int(0.8 * known.sum())]
            test = known & (dealt.date >= cut)
            yield seed, dealt.take(known & ~test), dealt.take(test)
        else:
            train, test = _fold(dealt, seed, 1000)
            if args.inner:
                train, test = _fold(train, seed, 2000)
            yield seed, train, test


def _fold(cohort: Cohort, seed: int, base: int) -> tuple[Cohort, Cohort]:
    order = np.random.default_rng(base + seed // FOLDS).permutation(len(cohort))
    test = np.zeros(len(cohort), dtype=np.bool_)
    test[order[seed % FOLDS :: FOLDS]] = True
    return cohort.take(~test), cohort.take(test)


def _deal(cohort: Cohort, mapping: Mapping, seed: int, count: int | None) -> Cohort:
    skew = mapping.institution.skewed if mapping.institution else None
    wanted = count or (skew.count if skew else 20)
    # No institution so small that it holds less than a tenth of an equal share.
    least = min(skew.min_rows if skew else 50, max(len(cohort) // wanted // 10, 2))
    return partition(cohort, wanted, seed, skew.by if skew else None, min_rows=least)


def _run(train: Cohort, test: Cohort, seed: int, args: argparse.Namespace) -> Run:
    config = AdditiveConfig(**dict(args.set))
    cohorts = train.by_institution()
    quorum = Quorum.default(len(cohorts))
    run = Run(test, facts={"seed": seed, "institutions": len(cohorts), "quorum": vars(quorum)})
    for epsilon in (*args.epsilon, None):
        mu = np.inf if epsilon is None else mu_for(epsilon, args.delta)
        trainer = AdditiveTrainer(train.catalogue, config, mu)
        model = train_in_memory(trainer, cohorts, quorum, NoiseSource())
        name = "federated, noise off" if epsilon is None else f"federated, epsilon {epsilon:g}"
        run.predictions[name] = model.predict_pd(test.values)
    if args.ours_only:
        return run
    pooled = pooled_additive(train, config)
    run.predictions["pooled additive, no privacy"] = pooled.predict_pd(test.values)
    run.predictions["pooled LightGBM, no privacy"] = gradient_boosting(train, seed)(test.values)
    own: dict[str, dict[str, Predict]] = {
        LOCAL[0]: alone(cohorts, lambda rows: gradient_boosting(rows, seed)),
        LOCAL[1]: alone(cohorts, lambda rows: pooled_additive(rows, config).predict_pd),
    }
    for name, models in own.items():
        out = np.full(len(test), np.nan)
        for institution, predict in models.items():
            mine = test.institution == institution
            if mine.any():
                out[mine] = predict(test.values[mine])
        run.predictions[name] = out
    return run


def per_seed(runs: list[Run]) -> list[dict[str, Any]]:
    """Return the figures of every method on every split."""
    out = []
    for run in runs:
        for name, pd in run.predictions.items():
            if name in LOCAL:
                continue
            label = run.test.label
            out.append(
                {"seed": run.facts["seed"], "method": name, "auc": auc(label, pd)}
                | {"ks": ks(label, pd), "brier": brier(label, pd)}
            )
    return out


def overall(runs: list[Run]) -> list[harness.Row]:
    """Return mean and standard error over the splits."""
    rows: list[harness.Row] = []
    seen = per_seed(runs)
    for name in dict.fromkeys(row["method"] for row in seen):
        mine = [row for row in seen if row["method"] == name]
        found = harness.summary([row["auc"] for row in mine])
        rows.append(
            {
                "method": name,
                "AUC": found["mean"],
                "s.e.": found["se"],
                "KS": harness.summary([row["ks"] for row in mine])["mean"],
                "Brier": harness.summary([row["brier"] for row in mine])["mean"],
                "AUC by seed": " ".join(f"{v:.4f}" for v in found["values"]),
            }
        )
    return rows


def by_institution(
    runs: list[Run], natural: bool, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return AUC of each institution by method, and the federated model's gains.

    Of natural institutions the test rows of all splits are put together; synthetic ones are
    others in each split, so each split's institutions stand alone.
    """
    draws = 50 if args.quick else 400
    ours = f"federated, epsilon {min(args.epsilon, key=lambda e: abs(e - 3.0)):g}"
    # A split by time has the same test rows for every seed: once is enough.
    used = runs[:1] if args.split == "time" else runs
    groups: dict[str, list[tuple[Run, NDArray[np.bool_]]]] = {}
    for run in used:
        for name in np.unique(run.test.institution):
            key = str(name) if natural else f"{name}, seed {run.facts['seed']}"
            groups.setdefault(key, []).append((run, run.test.institution == name))
    out = []
    for name, parts in sorted(groups.items()):
        label = np.concatenate([run.test.label[rows] for run, rows in parts])
        scores = {
            method: np.concatenate([run.predictions[method][rows] for run, rows in parts])
            for method in runs[0].predictions
        }
        usable = min(int(label.sum()), int((1 - label).sum())) >= 5
        if not usable or any(np.isnan(s).any() for s in scores.values()):
            continue
        compared = (ours, LOCAL[0], LOCAL[1], "pooled LightGBM, no privacy")
        low_high = _bootstrap(label, [scores[m] for m in compared], draws, args.seed)
        row: dict[str, Any] = {"institution": name, "rows": len(label)}
        for method, score in scores.items():
            row[method] = auc(label, score)
        row["intervals"] = dict(zip(compared, low_high["auc"], strict=True))
        row["gain"] = dict(zip(compared[1:], low_high["gain"], strict=True))
        out.append(row)
    return out


def _bootstrap(
    label: NDArray[np.int8], scores: list[Floats], draws: int, seed: int
) -> dict[str, list[tuple[float, float]]]:
    """Return 95 % intervals of each AUC, and of the first's gain over the others, paired."""
    random = np.random.default_rng(seed)
    bad, good = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    found = np.empty((draws, len(scores)))
    for i in range(draws):
        rows = np.concatenate([random.choice(bad, len(bad)), random.choice(good, len(good))])
        for k, score in enumerate(scores):
            ranks = rankdata(score[rows])[: len(bad)]
            found[i, k] = (ranks.sum() - len(bad) * (len(bad) + 1) / 2) / (len(bad) * len(good))
    ends = np.quantile(found, [0.025, 0.975], axis=0).T
    gains = np.quantile(found[:, :1] - found[:, 1:], [0.025, 0.975], axis=0).T
    pairs = {"auc": ends, "gain": gains}
    return {key: [(float(a), float(b)) for a, b in value] for key, value in pairs.items()}


def weighted(banks: list[dict[str, Any]]) -> list[harness.Row]:
    """Return each method's AUC at the institutions, weighted by their test rows."""
    if not banks:
        return []
    rows = np.array([bank["rows"] for bank in banks], dtype=np.float64)
    methods = [key for key in banks[0] if key not in ("institution", "rows", "intervals", "gain")]
    return [
        {
            "method": method,
            "institutions": len(banks),
            "weighted AUC": float(np.average([b[method] for b in banks], weights=rows)),
            "plain mean AUC": float(np.mean([b[method] for b in banks])),
        }
        for method in methods
    ]


def _readable(banks: list[dict[str, Any]]) -> list[harness.Row]:
    out: list[harness.Row] = []
    for bank in banks:
        row: dict[str, Any] = {"institution": bank["institution"], "rows": bank["rows"]}
        for method, (low, high) in bank["intervals"].items():
            row[method] = f"{bank[method]:.3f} [{low:.3f}, {high:.3f}]"
        low, high = bank["gain"][LOCAL[0]]
        row["gain over local LightGBM"] = f"[{low:+.3f}, {high:+.3f}]"
        out.append(row)
    return out


if __name__ == "__main__":
    sys.exit(main())
