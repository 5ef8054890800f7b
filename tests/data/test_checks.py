from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from haihe_fl.data.checks import CheckReport, check
from haihe_fl.data.mapping import Mapping, load_mapping
from haihe_fl.i18n import set_language

SETS = Path(__file__).parents[2] / "benchmarks" / "datasets"

MAPPING: dict[str, Any] = {
    "name": "faulty",
    "key": "id",
    "label": "Y",
    "date": "day",
    "lgd": "loss",
    "features": {
        "AGE": {"range": [18, 100], "unit": "years"},
        "GRADE": {"categories": ["A", "B"]},
        "FLAT": [0, 10],
        "GONE": [0, 1],
        "TWICE": [0, 1],
    },
}

# one fault of every kind; the comment is the row as a person counts it
FAULTY = """\
id,day,loss,AGE,GRADE,FLAT,TWICE,TWICE,NOTE,Y
a,2024-01-01,0.5,20,A,1,0,0,x,1
b,2024-01-01,0.5,abc,A,1,0,0,x,0
c,2024-01-01,0.5,200,B,1,0,0,x,0

d,2024-13-01,0.5,30,B,1,0,0,x,0
e,2024-01-01,1.5,30,C,1,0,0,x,0
a,2024-01-01,0.5,30,A,1,0,0,x,0
a,2024-02-01,0.5,30,A,1,0,0,x,0
,2024-01-01,0.5,30,A,1,0,0,x,0
f,2024-01-01,0.5,30,A,1,0,0,x,2
g,2024-01-01,0.5,30,A,1,0,0,x,
h,2024-01-01,0.5,30,A,1,0,0
i,2024-01-01,0.5,-5,A,1,0,0,x,1
"""


def lines(report: CheckReport) -> set[tuple[str, str, str, int | None, str]]:
    return {(f.severity, f.kind, f.column, row, value) for f, row, value in report.lines()}


def faulty(folder: Path) -> Path:
    path = folder / "faulty.csv"
    path.write_text(FAULTY, encoding="utf-8")
    return path


def test_every_fault_is_found_in_its_place_and_nothing_else(tmp_path: Path) -> None:
    report = check(faulty(tmp_path), Mapping.model_validate(MAPPING))
    assert lines(report) == {
        ("fault", "column", "GONE", None, ""),
        ("fault", "twice", "TWICE", None, ""),
        ("fault", "type", "AGE", 3, "abc"),
        ("fault", "range", "AGE", 4, "200"),
        ("fault", "type", "day", 6, "2024-13-01"),
        ("fault", "range", "loss", 7, "1.5"),
        ("fault", "category", "GRADE", 7, "C"),
        ("fault", "key", "id", 8, "a"),
        ("fault", "key", "id", 10, ""),
        ("fault", "label", "Y", 11, "2"),
        ("fault", "label", "Y", 12, ""),
        ("fault", "row", "*", 13, "h,2024-01-01,0.5,30,A,1,0,0"),
        ("fault", "range", "AGE", 14, "-5"),
        ("warning", "constant", "FLAT", None, ""),
        ("warning", "constant", "TWICE", None, ""),
        ("info", "unmapped", "NOTE", None, ""),
    }
    assert not report.clean
    assert (report.records, report.count("fault"), report.count("warning")) == (11, 13, 2)


def test_texts_in_both_languages(tmp_path: Path) -> None:
    report = check(faulty(tmp_path), Mapping.model_validate(MAPPING))
    by_kind = {(f.kind, f.column): f for f in report.findings}
    assert str(by_kind["range", "AGE"]) == "outside the public range [18, 100] years"
    assert str(by_kind["category", "GRADE"]) == "no known category (A, B)"
    set_language("zh")
    assert str(by_kind["range", "AGE"]) == "超出公开取值范围 [18, 100] years"
    assert all(f.en != f.zh and f.code.startswith("H20") for f in report.findings)


def test_a_fault_stated_as_clipped_is_a_warning(tmp_path: Path) -> None:
    m = Mapping.model_validate({**MAPPING, "on_fault": {"range": "clip", "row": "clip"}})
    report = check(faulty(tmp_path), m)
    severities = {f.kind: f.severity for f in report.findings}
    assert severities["range"] == severities["row"] == "warning"
    assert severities["type"] == "fault"


def test_json_holds_every_line_or_the_first_few(tmp_path: Path) -> None:
    report = check(faulty(tmp_path), Mapping.model_validate(MAPPING))
    data = report.as_json()
    assert len(data["findings"]) == 16 and data["faults"] == 13 and data["clean"] is False
    assert len(report.as_json(limit=3)["findings"]) == 3
    abc = next(f for f in data["findings"] if f["value"] == "abc")
    assert (abc["row"], abc["column"], abc["code"]) == (3, "AGE", "H2041")


def test_parquet_counts_from_its_first_record(tmp_path: Path) -> None:
    pd.DataFrame({"AGE": [20.0, 17.0, np.inf], "Y": [0, 1, 5]}).to_parquet(tmp_path / "a.parquet")
    m = Mapping.model_validate({"name": "p", "label": "Y", "features": {"AGE": [18, 100]}})
    assert lines(check(tmp_path / "a.parquet", m)) == {
        ("fault", "range", "AGE", 2, "17.0"),
        ("fault", "type", "AGE", 3, "inf"),
        ("fault", "label", "Y", 3, "5"),
    }


def test_rows_are_right_far_down_a_large_file(tmp_path: Path) -> None:
    n = 150_000  # several blocks of the reader
    cells = ["20,1,some padding to fill the blocks of the reader"] * n
    for row, line in {70_001: "20,1", 70_002: "", 140_003: "x,1,pad", 140_004: "1,2,3,4"}.items():
        cells[row - 2] = line
    (tmp_path / "a.csv").write_text("AGE,Y,PAD\n" + "\n".join(cells) + "\n")
    m = Mapping.model_validate(
        {"name": "p", "label": "Y", "features": {"AGE": [18, 100]}, "ignore": ["PAD"]}
    )
    found = {x for x in lines(check(tmp_path / "a.csv", m)) if x[0] == "fault"}
    assert found == {
        ("fault", "row", "*", 70_001, "20,1"),
        ("fault", "type", "AGE", 140_003, "x"),
        ("fault", "row", "*", 140_004, "1,2,3,4"),
    }


@pytest.fixture
def outcomes() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = (rng.random(1000) < 0.3).astype(int)
    return pd.DataFrame({"Y": y, "honest": y + rng.normal(0, 1, 1000)})


@pytest.mark.parametrize(
    ("kind", "leaking"),
    [
        ("leak", lambda y, r: y.astype(float)),
        ("leak", lambda y, r: -3.0 * y + r.normal(0, 0.9, len(y))),
        ("leak", lambda y, r: np.where(r.random(len(y)) < 0.03, 1 - y, y).astype(float)),
        ("leak-missing", lambda y, r: np.where(y == 1, np.nan, r.random(len(y)))),
        ("leak-missing", lambda y, r: np.where(y == 1, r.random(len(y)), np.nan)),
    ],
)
def test_leaks_are_found(tmp_path: Path, outcomes: pd.DataFrame, kind: str, leaking: Any) -> None:
    outcomes["z"] = leaking(outcomes["Y"].to_numpy(), np.random.default_rng(1))
    outcomes.to_csv(tmp_path / "a.csv", index=False)
    features = {"honest": [-9, 9], "z": [-9, 9]}
    m = Mapping.model_validate({"name": "l", "label": "Y", "features": features})
    assert [(f.kind, f.column) for f in check(tmp_path / "a.csv", m).findings] == [(kind, "z")]


def test_a_leaking_category_is_found(tmp_path: Path, outcomes: pd.DataFrame) -> None:
    outcomes["status"] = np.where(outcomes["Y"] == 1, "CHGOFF", "PIF")
    outcomes["coin"] = np.where(np.arange(len(outcomes)) % 2, "a", "b")
    outcomes.to_csv(tmp_path / "a.csv", index=False)
    features = {
        "honest": [-9, 9],
        "status": {"categories": ["CHGOFF", "PIF"]},
        "coin": {"categories": ["a", "b"]},
    }
    m = Mapping.model_validate({"name": "l", "label": "Y", "features": features})
    found = [(f.severity, f.kind, f.column) for f in check(tmp_path / "a.csv", m).findings]
    assert found == [("warning", "leak", "status")]


@pytest.mark.parametrize("column", ["balance_gross", "chg_off_prin_gr", "term"])
def test_columns_of_the_sba_that_know_the_outcome(real_data: Path, column: str) -> None:
    m = load_mapping(SETS / "sba_loans.yaml")
    raw = {**m.model_dump(), "ignore": ()}
    raw["catalogue"] = {"name": "x", "features": [{"name": column, "range": (0, 1e7)}]}
    raw["columns"], raw["institution"] = {}, None
    kinds = [
        f.kind
        for f in check(real_data / "sba_loans/loans.parquet", Mapping.model_validate(raw)).findings
        if f.column == column
    ]
    expected: dict[str, list[str]] = {
        "balance_gross": ["constant"],
        "chg_off_prin_gr": ["leak"],
        "term": [],  # leaks by its remainder modulo 12, which no single threshold shows
    }
    assert kinds == expected[column]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("uci_card", "uci_default_credit_card/UCI_Credit_Card.csv.gz"),
        ("sba_loans", "sba_loans/loans.parquet"),
        ("sba_case", "sba_case/SBAcase.11.13.17.csv"),
        ("polish_year1", "polish_bankruptcy/1year.arff.gz"),
        ("hmeq", "hmeq/hmeq.csv"),
        ("german", "german_credit/germancredit.csv"),
    ],
)
def test_the_real_sets_are_clean(real_data: Path, name: str, file: str) -> None:
    report = check(real_data / file, load_mapping(SETS / f"{name}.yaml"))
    assert report.clean
    assert {f.kind for f in report.findings} <= {"range"}
