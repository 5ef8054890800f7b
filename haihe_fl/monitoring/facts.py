"""A trial as plain figures for JSON: what has no value is null, intervals are pairs."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from haihe_fl.monitoring.breakdown import GroupFigures, Rate
from haihe_fl.monitoring.trial import NOBODY, PD, RULES, Trial
from haihe_fl.monitoring.warning import FIGURES, WarningReport

SCORES = ("auc", "ks", "average_precision", "brier_skill")


def trial_facts(trial: Trial, *, seed: int = 0, latest: int = 0) -> dict[str, Any]:
    """Return all measures of a trial.

    Parameters
    ----------
    seed : int
        Of the panel, and of the bootstrap.
    latest : int
        Last alerts to list.
    """
    stable = trial.stability()
    facts: dict[str, Any] = {
        "synthetic": True,
        "firms": len(trial.event),
        "seed": seed,
        "firm_quarters": int(trial.judged.sum()),
        "pd_threshold": trial.threshold,
        "alerts": {r: sum(a.rule == r for a in trial.alerts) for r in ("red", "ambers", "pd")},
        "latest": [
            {
                "firm": a.firm,
                "day": a.day,
                "rule": a.rule,
                "reason": a.reason.model_dump(),
                "owner": a.owner.model_dump(),
                "due": a.due,
                "outcome": a.outcome,
            }
            for a in trial.alerts[len(trial.alerts) - latest :]
        ],
        "warnings": {
            name: {
                **_report(trial.report(name, seed=seed)),
                "warned": len(trial.leads(name)),
                "defaults": trial.defaults,
            }
            for name in trial.warnings
        },
        "calibration": asdict(trial.calibration(seed=seed)),
        "stability": {**asdict(stable), "band": stable.band},
        "costs": {name: [asdict(p) for p in curve] for name, curve in trial.costs().items()},
        "worth": {name: tuple(trial.worth(name)) for name in (RULES, PD)},
        "breakdown": {
            name: {by: [_group(g) for g in groups] for by, groups in trial.breakdown(name).items()}
            for name in trial.warnings
            if name != NOBODY
        },
    }
    plain: dict[str, Any] = _plain(facts)
    return plain


def _report(report: WarningReport) -> dict[str, Any]:
    figures = {name: getattr(report.confusion, name) for name in FIGURES}
    figures |= {name: getattr(report, name) for name in (*SCORES, "lead_days")}
    return {**figures, "intervals": report.intervals}


def _group(group: GroupFigures) -> dict[str, Any]:
    def rate(r: Rate) -> dict[str, Any]:
        return {"value": r.value, **asdict(r)}

    return {**asdict(group), "recall": rate(group.recall), "precision": rate(group.precision)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
