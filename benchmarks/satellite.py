"""The satellite's coefficients from noisy counts of a synthetic panel whose truth is known.

Truths are drawn about the priors, so the coverage of the 95 % intervals should be about 95 %.
Beta is in log-odds per adverse standard deviation. Epsilon is per borrower-quarter record.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import expit

from benchmarks.harness import parser, publish
from haihe_fl.data.synth import synthesise
from haihe_fl.data.synth.panel import Panel
from haihe_fl.privacy.gaussian import epsilon_for, mu_for
from haihe_fl.privacy.noise import NoiseSource, Quorum
from haihe_fl.stress.estimation import (
    EstimationSettings,
    SatelliteEstimate,
    SatelliteTrainer,
    estimate_in_memory,
)
from haihe_fl.stress.panels import PanelCounts, borrower_factor
from haihe_fl.stress.run import shipped

EPSILONS = (np.inf, 8.0, 3.0, 1.0)
DELTA = 1e-6  # below 1 over the borrower-quarters of a run


def _truth(prior: dict[str, float], seed: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, 11])
    spread = EstimationSettings().prior_sd
    return {
        k: float(np.clip(b * (1 + spread * rng.standard_normal()), 0.3 * b, 2.5 * b))
        for k, b in prior.items()
    }


def _with_shocks(panel: Panel, sd: float, seed: int) -> list[PanelCounts]:
    """Draw the defaults again with a shift of each quarter that no driver explains."""
    rng = np.random.default_rng([seed, 12])
    truth = panel.satellite
    shift = panel.z @ (truth.loading * truth.beta).T
    shift = shift + sd * rng.standard_normal((len(shift), 1))
    pd = expit(panel.grade_logit + shift[:, None, :, None])
    drawn = rng.binomial(panel.performing_by_grade, 1 - (1 - pd) ** 0.25)
    return PanelCounts.split(replace(panel, defaults_by_grade=drawn))


def _figures(
    estimates: Sequence[SatelliteEstimate], truths: Sequence[dict[str, float]]
) -> dict[str, float]:
    pairs = [
        (c, truth[c.driver])
        for e, truth in zip(estimates, truths, strict=True)
        for c in e.coefficients
    ]
    error = np.array([(c.value - t) / c.prior for c, t in pairs])
    inside = [c.interval[0] <= t <= c.interval[1] for c, t in pairs]
    return {
        "rmse / prior": float(np.sqrt((error**2).mean())),
        "coverage of 95 %": float(np.mean(inside)),
        "estimated": float(np.mean([c.source == "estimated" for c, _ in pairs])),
        "dispersion": float(np.mean([e.dispersion for e in estimates])),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables."""
    options = parser(__doc__, seed=1)
    options.add_argument("--enterprises", type=int, default=30_000)
    options.add_argument("--quarters", type=int, default=24)
    options.add_argument("--draws", type=int, default=20, help="panels with a truth each")
    args = options.parse_args(argv)
    if args.quick:
        args.enterprises, args.draws = 4_000, 2
    catalogue, prior = shipped()
    names = tuple(catalogue.drivers)
    found: dict[float, list[SatelliteEstimate]] = {e: [] for e in EPSILONS}
    shocked: dict[tuple[float, float], list[SatelliteEstimate]] = {}
    truths = []
    for draw in range(args.draws):
        seed = args.seed + draw
        truth = _truth(prior.beta, seed)
        panel = synthesise(enterprises=args.enterprises, seed=seed).panel(args.quarters, truth)
        counts = PanelCounts.split(panel)
        truths.append(truth)
        for epsilon in EPSILONS:
            mu = np.inf if epsilon == np.inf else mu_for(epsilon, DELTA)
            trainer = SatelliteTrainer(names, panel.z, panel.satellite.loading, prior, mu)
            noise = NoiseSource(seed.to_bytes(32, "big"))  # a benchmark protects nobody
            estimate = estimate_in_memory(trainer, counts, Quorum.default(len(counts)), noise)
            found[epsilon].append(estimate)
        for sd in (0.0, 0.1, 0.2):
            again = _with_shocks(panel, sd, seed)
            for allowed in (0.0, EstimationSettings().quarter_sd):
                settings = EstimationSettings(quarter_sd=allowed)
                trainer = SatelliteTrainer(
                    names, panel.z, panel.satellite.loading, prior, mu_for(3.0, DELTA), settings
                )
                noise = NoiseSource(seed.to_bytes(32, "big"))
                estimate = estimate_in_memory(trainer, again, Quorum.default(len(again)), noise)
                shocked.setdefault((sd, allowed), []).append(estimate)
    one = [
        {
            "driver": name,
            "truth": truths[0][name],
            "prior": prior.beta[name],
            **{f"eps {e:g}": found[e][0][name].value for e in EPSILONS},
            "se inf": found[np.inf][0][name].se,
            "se eps 3": found[3.0][0][name].se,
            "source eps 3": found[3.0][0][name].source,
        }
        for name in names
    ]
    before = np.array([t[k] / prior.beta[k] - 1 for t in truths for k in names])
    summary = []
    for epsilon in EPSILONS:
        finite = np.isfinite(epsilon)
        mu = mu_for(epsilon, DELTA) if finite else np.inf
        longest = borrower_factor(args.quarters)
        summary.append(
            {
                "epsilon": epsilon if finite else "inf",
                "eps of a borrower": epsilon_for(mu * longest, DELTA) if finite else "inf",
                "noise z": 1 / mu,
                "prior's rmse": float(np.sqrt((before**2).mean())),
                **_figures(found[epsilon], truths),
            }
        )
    robust = [
        {"unexplained shock, sd": sd, "allowed for, sd": allowed, **_figures(estimates, truths)}
        for (sd, allowed), estimates in shocked.items()
    ]
    title = f"{args.enterprises} enterprises, {args.quarters} quarters, synthetic"
    tables = {
        f"One panel: {title}": one,
        f"{args.draws} panels: {title}; a borrower of all quarters at one lender": summary,
        f"{args.draws} panels at epsilon 3 with shocks that no driver explains": robust,
    }
    publish(args, "satellite", tables, {"delta": DELTA, "unit": "borrower-quarter record"})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
