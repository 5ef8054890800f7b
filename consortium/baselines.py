"""What federation is measured against: each institution alone, and all rows pooled.

Only possible where one process holds everybody's rows: in the demo, in tests and benchmarks.
Both baselines are boosted trees without any privacy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (  # type: ignore[import-untyped]
    HistGradientBoostingClassifier,
)

from haihe_fl.data.cohort import Cohort

LEAST_RECORDS = 50
LEAST_OF_EACH_CLASS = 5


def boosted_trees(train: Cohort, seed: int = 0) -> HistGradientBoostingClassifier | None:
    """Fit boosted trees to a cohort, or None where there is too little to learn from."""
    positives = int(train.label.sum())
    if len(train) < LEAST_RECORDS or min(positives, len(train) - positives) < LEAST_OF_EACH_CLASS:
        return None
    # Small institutions over-fit with the library's defaults; a tenth of the rows stops early.
    model = HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=150,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=len(train) >= 500,
        categorical_features=[
            f.kind == "category" and len(f.categories or ()) <= 255
            for f in train.catalogue.features
        ],
        random_state=seed,
    )
    return model.fit(train.values, train.label)


@dataclass(frozen=True)
class BaselineScores:
    """PDs of the test rows: by the pooled model, and by each row's own institution's model.

    ``local`` is NaN where an institution has too little to learn from.
    """

    pooled: NDArray[np.float64]
    local: NDArray[np.float64]


def score_baselines(train: Cohort, test: Cohort, seed: int = 0) -> BaselineScores:
    """Fit the baselines to training rows and score the test rows."""
    pooled = boosted_trees(train, seed)
    if pooled is None:
        nothing = np.full(len(test), np.nan)
        return BaselineScores(nothing, nothing)
    local = np.full(len(test), np.nan)
    for name, rows in train.by_institution().items():
        model = boosted_trees(rows, seed)
        own = np.flatnonzero(test.institution == name)
        if model is not None and len(own):
            local[own] = model.predict_proba(test.values[own])[:, 1]
    return BaselineScores(pooled.predict_proba(test.values)[:, 1], local)
