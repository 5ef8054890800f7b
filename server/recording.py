"""Writing a finished run into the registry: parameters, curves, budgets, card, model."""

import datetime
import hashlib
import json
import math
from typing import Any

from haihe_fl.i18n import Text
from haihe_fl.models.card import CardFacts, model_card
from haihe_fl.workspace import Workspace
from server.registry import RegisteredRun, record_run
from server.report import TrainingReport

FIXED_NOISE = Text(
    en="TEST RUN: the noise was seeded, so nothing is private whatever epsilon says.",
    zh="测试运行:噪声使用固定种子,无论 epsilon 为何值均不具备隐私保护。",
)


def record(workspace: Workspace, report: TrainingReport) -> RegisteredRun:
    """Log a run and register its model as the newest version, which becomes the champion."""
    plan, job = report.plan, report.job
    spent = {name: status.epsilon_spent for name, status in report.status.items()}
    metrics = validation_metrics(report)
    prints = fingerprints(report)
    return record_run(
        workspace,
        report.model,
        run_name=f"{plan.model}-{plan.run}",
        params={
            "run": plan.run,
            "family": plan.family,
            "mode": plan.mode,
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "unit": "record",
            "institutions": len(plan.participants),
            "minimum_survivors": plan.minimum,
            "tolerated_colluders": plan.colluders,
            "releases": len(plan.releases) + len(plan.local),
            "holdout_share": plan.holdout_share,
            "settings": json.dumps(job.settings, sort_keys=True),
        },
        metrics={
            **metrics,
            "seconds": report.seconds,
            "bytes_up_per_institution": mean_bytes(report.bytes_up),
            "bytes_down_per_institution": mean_bytes(report.bytes_down),
            "left_out": len(report.left_out),
        },
        curves=report.trace,
        budgets=spent,
        fingerprints=prints,
        delta=plan.delta,
        card=_card(report, metrics, prints),
        artifacts={
            "plan.json": plan.model_dump_json(indent=2),
            "job.json": job.model_dump_json(indent=2),
            "survivors.json": json.dumps(report.survivors, ensure_ascii=False, indent=2),
        },
        register_as=plan.model,
    )


def summary(report: TrainingReport) -> dict[str, Any]:
    """Return what a command shows of a run, as plain values."""
    plan = report.plan
    return {
        "run": plan.run,
        "model": plan.model,
        "version": report.registered.version if report.registered else None,
        "fingerprint": report.model.fingerprint,
        "family": plan.family,
        "mode": plan.mode,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "unit": "record",
        "institutions": len(plan.participants),
        "left_out": report.left_out,
        "releases": len(plan.releases) + len(plan.local),
        "validation": validation_metrics(report),
        "budgets": {
            name: {"spent": status.epsilon_spent, "cap": status.epsilon_cap}
            for name, status in report.status.items()
        },
        "private": not any(status.fixed_noise for status in report.status.values()),
        "bytes_up_per_institution": mean_bytes(report.bytes_up),
        "bytes_down_per_institution": mean_bytes(report.bytes_down),
        "seconds": report.seconds,
    }


def validation_metrics(report: TrainingReport) -> dict[str, float]:
    """Return the figures from the noisy held-out histograms, with AUC's interval."""
    if report.metrics is None:
        return {}
    found = {
        name: float(getattr(report.metrics, name))
        for name in (
            "auc",
            "ks",
            "average_precision",
            "brier",
            "brier_skill",
            "calibration_intercept",
            "calibration_slope",
            "ece",
        )
    }
    if (interval := report.metrics.intervals.get("auc")) is not None:
        found |= {"auc_low": float(interval.low), "auc_high": float(interval.high)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def fingerprints(report: TrainingReport) -> dict[str, str]:
    """Return hashes of model, plan, catalogue, and of all institutions' keyed commitments.

    The data hash is over keyed hashes: it tells two runs on other rows apart, and nothing else.
    """
    commitments = "\n".join(
        f"{name} {status.data_commitment}" for name, status in sorted(report.status.items())
    )
    return {
        "model": report.model.fingerprint,
        "config": report.plan.fingerprint,
        "catalogue": report.plan.catalogue_fingerprint,
        "data": hashlib.sha256(commitments.encode()).hexdigest(),
    }


def mean_bytes(counted: dict[str, int]) -> float:
    """Return the average number of bytes an institution sent or received."""
    return sum(counted.values()) / max(len(counted), 1)


def _card(report: TrainingReport, metrics: dict[str, float], prints: dict[str, str]) -> str:
    plan, job = report.plan, report.job
    limits = [Text(en=job.data_label, zh=job.data_label)] if job.data_label else []
    if any(status.fixed_noise for status in report.status.values()):
        limits.append(FIXED_NOISE)
    share = f"{plan.holdout_share:.0%}"
    return model_card(
        CardFacts(
            name=plan.model,
            family=plan.family,
            mode=plan.mode,
            catalogue=report.model.catalogue,
            institutions=len(plan.participants) - len(report.left_out),
            epsilon=plan.epsilon,
            delta=plan.delta,
            metrics=metrics,
            measured=Text(
                en=f"On {share} of borrowers, held out by a hash of their key, from one noisy "
                "masked sum of score histograms; intervals include the noise.",
                zh=f"在按标识哈希留出的 {share} 借款人上,由一次加噪的掩码求和(评分直方图)得出;"
                "区间已包含噪声。",
            )
            if metrics
            else Text(en="Not measured: no borrowers were held out.", zh="未评估:没有留出借款人。"),
            gaussian=not plan.local,
            tolerated=plan.colluders,
            releases=len(plan.releases) + len(plan.local),
            fingerprints=prints,
            limitations=tuple(limits),
            trained=datetime.date.today(),
            synthetic=job.synthetic,
        )
    )
