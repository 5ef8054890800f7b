"""A small model by hand: linear in centred numbers, tables for categories and missing."""

from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.i18n import Text
from haihe_fl.models.base import RiskModel, Term
from haihe_fl.scorecard.scale import load_scale
from server.scoring import ModelInfo, ScoringService

CATALOGUE = FeatureCatalogue(
    name="toy",
    features=(
        Feature(
            name="debt_ratio",
            range=(0, 2),
            direction=1,
            title=Text(en="Debt to assets", zh="资产负债率"),
        ),
        Feature(
            name="sales_growth",
            range=(-100, 300),
            unit="%",
            direction=-1,
            missing=(-999, "NA"),
            title=Text(en="Sales growth", zh="销售增长率"),
        ),
        Feature(
            name="sector",
            kind="category",
            categories=("retail", "farm", "biotech"),
            missing=("unknown",),
            title=Text(en="Sector", zh="行业"),
        ),
    ),
)
GOOD: dict[str, Any] = {"debt_ratio": 0.2, "sales_growth": 30, "sector": "biotech"}
BAD: dict[str, Any] = {"debt_ratio": 1.92, "sales_growth": -40.0, "sector": "farm"}


class ToyModel(RiskModel):
    family = "toy"

    def __init__(self, catalogue: FeatureCatalogue = CATALOGUE, shift: float = 0.0) -> None:
        self.catalogue = catalogue
        self.shift = shift
        self.slope = np.array([2.0, -0.02])
        self.mean = np.array([0.5, 10.0])
        self.table = np.array([0.1, 0.4, -0.3])

    def contributions(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        numbers = (values[:, :2].astype(np.float64) - self.mean) * self.slope
        codes = np.nan_to_num(values[:, 2]).astype(int)
        sector = np.where(np.isnan(values[:, 2]), 0.2, self.table[codes])
        return np.column_stack([np.where(np.isnan(numbers), 0.25, numbers), sector])

    def logit(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(self.base + self.contributions(values).sum(axis=1))

    def terms(self) -> list[Term]:
        return [Term((0,)), Term((1,)), Term((2,))]

    @property
    def base(self) -> float:
        return -3.0 + self.shift

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"shift": self.shift}, {"table": self.table}

    @classmethod
    def from_state(
        cls, catalogue: FeatureCatalogue, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        model = cls(catalogue, meta["shift"])
        model.table = arrays["table"]
        return model


@pytest.fixture
def toy() -> ToyModel:
    return ToyModel()


@pytest.fixture
def service(toy: ToyModel) -> ScoringService:
    info = ModelInfo(
        name="haihe-risk",
        version="7",
        fingerprint=toy.fingerprint,
        family=toy.family,
        run_id="run",
        created=datetime(2024, 1, 2, tzinfo=UTC),
        scale=load_scale(),
    )
    return ScoringService(toy, info, max_batch=50)
