import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from haihe_fl.scorecard.scale import load_scale
from server.records import FieldError
from server.scoring import Scored, ScoringService

GOOD: dict[str, Any] = {"debt_ratio": 0.2, "sales_growth": 30, "sector": "biotech"}
BAD: dict[str, Any] = {"debt_ratio": 1.92, "sales_growth": -40.0, "sector": "farm"}


def test_score_band_and_reasons(service: ScoringService) -> None:
    good, bad = service.score([GOOD, BAD])
    logit = -3 + 2 * (1.92 - 0.5) + 0.02 * 50 + 0.4
    assert bad.pd == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-6)
    assert bad.score == pytest.approx(load_scale().score([bad.pd])[0], abs=0.005)
    assert (good.band, bad.band) == ("BBB", "D")
    assert [r.features[0] for r in bad.reasons] == ["debt_ratio", "sales_growth", "sector"]
    assert bad.reasons[0].en == "Debt to assets 1.92: raises risk"
    assert bad.reasons[1].zh == "销售增长率 -40%:提高风险"
    assert good.reasons == ()


def test_one_row_equals_batch(service: ScoringService) -> None:
    rng = np.random.default_rng(1)
    rows = [
        {
            "debt_ratio": float(rng.uniform(0, 2)),
            "sales_growth": None if i % 7 == 0 else float(rng.uniform(-100, 300)),
            "sector": ["retail", "farm", "biotech"][i % 3],
        }
        for i in range(50)
    ]
    assert service.score(rows) == [service.score([row])[0] for row in rows]


def test_every_way_of_missing_is_the_same(service: ScoringService) -> None:
    rest = {"debt_ratio": 0.5}
    ways: list[dict[str, object]] = [
        {},
        {"sales_growth": None, "sector": None},
        {"sales_growth": -999, "sector": "unknown"},
        {"sales_growth": -999.0},
        {"sales_growth": "NA"},
        {"sales_growth": float("nan")},
        {"sales_growth": np.float64("nan")},
    ]
    answers = service.score([rest | way for way in ways])
    assert len({a.pd for a in answers}) == 1
    assert answers[0].reasons[0].en == "Sales growth not given: raises risk"


@pytest.mark.parametrize(
    ("row", "code", "field", "says"),
    [
        ({"debt_ration": 1}, "H2403", "debt_ration", "did you mean debt_ratio"),
        ({"DEBT_RATIO": 1}, "H2403", "DEBT_RATIO", "did you mean debt_ratio"),
        ({"zzz": 1}, "H2403", "zzz", "/v1/model"),
        ({}, "H2404", "", "at least one"),
        ({"debt_ratio": "0.9"}, "H2405", "debt_ratio", "must be a number, not '0.9'"),
        ({"debt_ratio": True}, "H2405", "debt_ratio", "must be a number, not bool"),
        ({"debt_ratio": [1]}, "H2405", "debt_ratio", "not list"),
        ({"sector": 1}, "H2405", "sector", "a category name, not int"),
        ({"sector": "mining"}, "H2406", "sector", "allowed: {retail, farm, biotech}"),
        ({"debt_ratio": 92}, "H2407", "debt_ratio", "is 92, outside [0, 2]"),
        ({"debt_ratio": -0.001}, "H2407", "debt_ratio", "outside"),
        ({"sales_growth": 10**400}, "H2407", "sales_growth", "[-100, 300] %"),
        ({"sales_growth": -math.inf}, "H2407", "sales_growth", "-inf"),
    ],
)
def test_faults_name_field_and_domain(
    service: ScoringService, row: dict[str, object], code: str, field: str, says: str
) -> None:
    with pytest.raises(FieldError) as caught:
        service.score([GOOD, row])
    error = caught.value
    assert (error.code, error.field, error.row) == (code, field, 1)
    assert says in error.en
    assert error.zh != error.en


def test_a_faulty_row_does_not_touch_the_others(service: ScoringService) -> None:
    first, wrong, last = service.score_each([BAD, {"debt_ratio": "x"}, GOOD])
    assert isinstance(wrong, FieldError)
    assert [first, last] == service.score([BAD, GOOD])


def test_range_may_be_clipped_on_request(service: ScoringService) -> None:
    lenient = ScoringService(service.model, service.info, out_of_range="clip")
    (clipped,) = lenient.score([{"debt_ratio": 5.0}])
    (end,) = lenient.score([{"debt_ratio": 2.0}])
    assert clipped == replace(end, clipped=("debt_ratio",))


@pytest.mark.parametrize("n", [0, 51])
def test_batch_limit(service: ScoringService, n: int) -> None:
    with pytest.raises(FieldError, match="1 to 50") as caught:
        service.score([GOOD] * n)
    assert caught.value.code == "H2408"


def test_reasons_are_limited(service: ScoringService) -> None:
    assert [len(service.score([BAD], top=k)[0].reasons) for k in (0, 1, 4, 99)] == [0, 1, 3, 3]


def test_description_lists_features_and_scale(service: ScoringService) -> None:
    told = service.describe()
    assert told["features"][0]["range"] == [0, 2]
    assert told["scale"]["bands"][0] == {"name": "AAA", "from": 660.0}
    assert isinstance(service.score([GOOD])[0], Scored)
