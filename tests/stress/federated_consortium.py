"""Five institutions with loans, one of them empty, for federated stress tests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from small_consortium import CATALOGUE, NAMES, make_cohorts

from clients.policy import NodePolicy
from consortium.inprocess import InProcessConsortium
from haihe_fl.data.cohort import Cohort
from haihe_fl.models.additive import AdditiveConfig, AdditiveTrainer
from haihe_fl.models.base import RiskModel
from haihe_fl.models.inmemory import train_in_memory
from haihe_fl.privacy.noise import NoiseSource, Quorum
from haihe_fl.stress.run import shipped

EMPTY = NAMES[3]
SECTORS = shipped()[0].sectors
OPEN = NodePolicy(families=("additive", "stress"), exact_stress_sums=True)
NOISY = NodePolicy(families=("additive", "stress"))


def loans(rows: int = 400) -> dict[str, Cohort]:
    """Rows by institution with exposure and sector; petrochem holds a handful of firms."""
    cohorts = {}
    for number, (name, cohort) in enumerate(make_cohorts(rows=rows).items()):
        rng = np.random.default_rng(100 + number)
        sector = rng.integers(0, len(SECTORS), rows)
        sector[sector == SECTORS.index("petrochem")] = 0
        sector[:2] = SECTORS.index("petrochem")
        extra = {
            "ead": rng.lognormal(13, 1, rows),
            "lgd": rng.uniform(0.2, 0.6, rows),
            "sector": np.array(SECTORS)[sector],
        }
        cohort = replace(cohort, extra=extra)
        cohorts[name] = cohort.take(np.arange(0)) if name == EMPTY else cohort
    return cohorts


def small_model() -> RiskModel:
    """Return a quickly trained model of the small catalogue."""
    cohorts = make_cohorts()
    config = AdditiveConfig(main_rounds=2, joint_rounds=2, rounds_without_pairs=2, pairs=1)
    trainer = AdditiveTrainer(CATALOGUE, config, 2.0)
    quorum = Quorum(len(cohorts), len(cohorts), 0)
    return train_in_memory(trainer, cohorts, quorum, NoiseSource(bytes(32)))


Opened = Callable[..., InProcessConsortium]


def opener(folder: Path, opened: list[InProcessConsortium]) -> Opened:
    """Return a function that opens a consortium in a new folder and remembers it."""

    def open_(policy: NodePolicy = OPEN, cohorts: dict[str, Cohort] | None = None) -> object:
        one = InProcessConsortium.open(
            folder / str(len(opened)), cohorts or loans(), policy, noise_seed="7"
        )
        opened.append(one)
        return one

    return open_
