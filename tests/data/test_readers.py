import datetime
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from haihe_fl.data.mapping import Mapping, load_mapping
from haihe_fl.data.readers import read, read_cohort
from haihe_fl.errors import UserError

SETS = Path(__file__).parents[2] / "benchmarks" / "datasets"


def mapping(**given: Any) -> Mapping:
    features = {"AGE": [18, 100], "GRADE": {"categories": ["A", "B"]}}
    return Mapping.model_validate({"name": "t", "label": "Y", "features": features, **given})


def csv(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_cells_become_numbers_codes_and_labels(tmp_path: Path) -> None:
    c = read_cohort(csv(tmp_path, "AGE,GRADE,Y\n20,B,1\n,A,0\n 30.5 ,,0.0\n"), mapping())
    assert_array_equal(c.values, np.array([[20, 1], [np.nan, 0], [30.5, np.nan]], np.float32))
    assert_array_equal(c.label, [1, 0, 0])
    assert c.values.dtype == np.float32 and c.label.dtype == np.int8
    assert c.key.tolist() == ["t:2", "t:3", "t:4"]
    assert set(c.institution) == {"t"}


def test_codes_become_sectors_of_the_scenarios_beside_a_feature(tmp_path: Path) -> None:
    codes = {"column": "code", "values": {11: "agri_food", 45: "retail"}}
    features = {"code": {"categories": [11, 45, 92, "retail"]}}
    text = "code,Y\n11,1\n45.0,0\n92,0\n,0\nretail,0\n"
    path = csv(tmp_path, text)
    with_other = read_cohort(path, mapping(features=features, sector={**codes, "other": "rest"}))
    plain = read_cohort(path, mapping(features=features, sector=codes))
    expected = ["agri_food", "retail", "rest", "rest", "rest"]
    assert with_other.extra["sector"].tolist() == expected
    assert plain.extra["sector"].tolist() == ["agri_food", "retail", "92", "", "retail"]
    for cohort in (with_other, plain):  # the feature of the same column keeps its codes
        assert_array_equal(cohort.values[:, 0], np.array([0, 1, 2, np.nan, 3], np.float32))


def test_every_column_of_a_record(tmp_path: Path) -> None:
    text = (
        "id,bank,day,wan,loss,w,ind,AGE,GRADE,Y\n"
        "007,甲,2024-03-01,12.5,45%,2,C39,20,1.0,1\n"
        "008,乙,,1,100%,1,,30,2,0\n"
    )
    m = mapping(
        key="id",
        institution="bank",
        date="day",
        ead={"column": "wan", "factor": 10000},
        lgd={"column": "loss", "strip": "%", "factor": 0.01},
        weight="w",
        sector={"column": "ind", "values": {"C39": "electronics"}},
        columns={"GRADE": {"column": "GRADE", "values": {1: "A", 2: "B"}}},
    )
    c = read_cohort(csv(tmp_path, text), m)
    assert c.key.tolist() == ["007", "008"]
    assert c.institution.tolist() == ["甲", "乙"]
    assert c.date is not None and c.weight is not None
    assert_array_equal(c.date, np.array(["2024-03-01", "NaT"], "datetime64[D]"))
    assert_array_equal(c.weight, [2, 1])
    assert_array_equal(c.extra["ead"], [125000, 10000])
    assert_array_equal(c.extra["lgd"], np.array([0.45, 1], np.float32))
    assert c.extra["sector"].tolist() == ["electronics", ""]
    assert_array_equal(c.values[:, 1], [0, 1])


@pytest.mark.parametrize(
    ("date", "cells"),
    [
        ({"column": "d", "origin": "1960-01-01"}, "15074,0"),
        ({"column": "d", "format": "%d/%m/%Y"}, "09/04/2001,01/01/1960"),
        ({"column": "d"}, "2001-04-09,1960-01-01"),
    ],
)
def test_dates(tmp_path: Path, date: dict[str, Any], cells: str) -> None:
    a, b = cells.split(",")
    path = csv(tmp_path, f"d,AGE,GRADE,Y\n{a},20,A,1\n{b},20,A,0\n")
    c = read_cohort(path, mapping(date=date))
    assert c.date is not None
    assert_array_equal(c.date, np.array(["2001-04-09", "1960-01-01"], "datetime64[D]"))


def test_derived_columns(tmp_path: Path) -> None:
    text = (
        "a,b,code,d1,d2,s,t,Y\n"
        "1,4,722110,2020-01-01,2020-03-01,CA,CA,1\n"
        "3,0,0,,2020-03-01,CA,NY,0\n"
    )
    derive = {
        "ratio": {"op": "ratio", "of": ["a", "b"]},
        "difference": {"op": "difference", "of": ["a", "b"]},
        "total": {"op": "sum", "of": ["a", "b", "ratio"]},
        "sector": {"op": "prefix", "of": "code", "by": 2},
        "many": {"op": "above", "of": "a", "by": 1},
        "year": {"op": "year", "of": "d1"},
        "days": {"op": "days", "of": ["d1", "d2"]},
        "home": {"op": "same", "of": ["s", "t"]},
    }
    features: dict[str, Any] = {n: [-1e4, 1e4] for n in derive}
    features["sector"] = {"categories": [11, 72]}
    c = read_cohort(csv(tmp_path, text), mapping(features=features, derive=derive))
    expected = [
        [0.25, -3, 5.25, 1, 0, 2020, 60, 1],
        [np.nan, 3, np.nan, np.nan, 1, np.nan, np.nan, 0],
    ]
    assert_array_equal(c.values, np.array(expected, np.float32))


def test_missing_codes_of_file_feature_and_source(tmp_path: Path) -> None:
    path = csv(tmp_path, "AGE,GRADE,Y\n-1,A,1\n999.0,unknown,0\nNA,B,0\n")
    columns = {
        "AGE": {"column": "AGE", "missing": [-1, 999]},
        "GRADE": {"column": "GRADE", "missing": ["unknown"]},
    }
    reading = read(path, mapping(columns=columns))
    assert np.isnan(reading.cohort.values).tolist() == [[True, False], [True, True], [True, False]]
    assert reading.mended == ()


def sample(n: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [f"{i:04d}" for i in range(n)],
            "AGE": np.where(rng.random(n) < 0.1, np.nan, rng.integers(18, 100, n)),
            "CODE": np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 4, n)),
            "GRADE": rng.choice(["A", "B"], n),
            "RATE": rng.random(n).astype(np.float32),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 999, n), "D"),
            "Y": rng.integers(0, 2, n),
        }
    )


def test_all_formats_give_the_same_cohort(tmp_path: Path) -> None:
    frame = sample()
    m = mapping(
        key="id",
        date="day",
        features={
            "AGE": [18, 100],
            "CODE": {"categories": [1, 2, 3]},
            "GRADE": {"categories": ["A", "B"]},
            "RATE": [0, 1],
        },
    )
    frame.to_csv(tmp_path / "a.csv", index=False, encoding="utf-8-sig")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    head = "".join(f"@attribute '{c}' numeric\n" for c in frame)
    body = frame.to_csv(index=False, header=False, na_rep="?")
    (tmp_path / "a.arff").write_text(f"@relation x\n% note\n{head}\n@data\n{body}")
    (tmp_path / "a.arff.gz").write_bytes(gzip.compress((tmp_path / "a.arff").read_bytes()))
    names = ("a.csv", "a.parquet", "a.csv.gz", "a.arff", "a.arff.gz")
    cohorts = [read_cohort(tmp_path / name, m) for name in names]
    assert np.isnan(cohorts[0].values).any()
    for c in cohorts[1:]:
        assert c.fingerprint == cohorts[0].fingerprint
        assert_array_equal(c.date, cohorts[0].date)


def test_chinese_encodings_and_delimiters(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("年龄;等级;违约\n20;甲;是\n30;乙;否\n".encode("gb18030"))
    m = mapping(
        file={"encoding": "gb18030", "delimiter": ";"},
        label={"column": "违约", "positive": ["是"], "negative": ["否"]},
        features={
            "AGE": {"range": [18, 100], "column": "年龄"},
            "GRADE": {"categories": ["甲", "乙"], "column": "等级"},
        },
    )
    assert_array_equal(read_cohort(path, m).values, [[20, 0], [30, 1]])
    with pytest.raises(UserError, match="H2022"):
        read_cohort(path, mapping(columns=m.columns))


def test_out_of_range_is_clipped_and_counted_by_default(tmp_path: Path) -> None:
    path = csv(tmp_path, "AGE,GRADE,Y\n17,A,1\n1e3,A,0\n50,A,0\n")
    reading = read(path, mapping())
    assert_array_equal(reading.cohort.values[:, 0], [18, 100, 50])
    assert [str(m) for m in reading.mended] == ["AGE: 2 numbers clipped to the public range"]
    with pytest.raises(UserError, match=r"H2026.*2 faults.*row 2, column AGE"):
        read(path, mapping(on_fault={"range": "reject"}))


FAULTS = {
    "type": ("1,2O,A,0", [np.nan, 0], 3),
    "category": ("1,20,Z,0", [20, np.nan], 3),
    "label": ("1,20,A,maybe", None, 2),
    "key": ("0,20,A,1", None, 2),
    "row": ("1,20,A,0,0", None, 2),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_other_faults_reject_or_are_mended(tmp_path: Path, kind: str) -> None:
    line, values, left = FAULTS[kind]
    path = csv(tmp_path, f"id,AGE,GRADE,Y\n0,20,A,1\n{line}\n2,30,B,0\n")
    with pytest.raises(UserError, match=f"H2026.*1 faults.*\\({kind}\\) in row 3"):
        read(path, mapping(key="id"))
    reading = read(path, mapping(key="id", on_fault={kind: "clip"}))
    assert [(m.kind, m.count) for m in reading.mended] == [(kind, 1)]
    assert len(reading.cohort) == left
    if values is not None:
        assert_array_equal(reading.cohort.values[1], np.array(values, np.float32))
    else:
        assert reading.rows.tolist() == [2, 4]


def test_without_negatives_any_other_value_is_good(tmp_path: Path) -> None:
    path = csv(tmp_path, "AGE,GRADE,Y\n20,A,Charged Off\n20,A,Paid\n20,A,Current\n")
    m = mapping(label={"column": "Y", "positive": ["Charged Off"]})
    assert read_cohort(path, m).label.tolist() == [1, 0, 0]


def test_rows_are_counted_as_in_the_file(tmp_path: Path) -> None:
    text = 'note,AGE,GRADE,Y\n\n"two\nlines",20,A,1\nx,20\n\n,30,B,0\n\n'
    reading = read(csv(tmp_path, text), mapping(on_fault={"row": "clip"}))
    assert reading.rows.tolist() == [3, 6]  # a break inside a cell starts no row


def test_small_institutions_are_pooled(tmp_path: Path) -> None:
    banks = ["big"] * 5 + ["s1"] * 2 + ["s2"] * 2 + ["s3"] + [""]
    states = ["CA"] * 5 + ["CA"] * 2 + ["CA"] * 2 + ["NY"] + ["NY"]
    lines = "".join(f"{b},{s},20,A,1\n" for b, s in zip(banks, states, strict=True))
    where = {"column": "b", "min_rows": 4, "rest": "s"}
    c = read_cohort(csv(tmp_path, "b,s,AGE,GRADE,Y\n" + lines), mapping(institution=where))
    names, counts = np.unique(c.institution, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "big": 5,
        "rest:CA": 4,
        "rest": 2,
    }


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("none.csv", None, "H2020"),
        ("t.csv.gz", b"\x1f\x8b broken", "H2020"),
        ("t.xlsx", b"x", "H2021"),
        ("t.csv", b"AGE,GRADE,Y\n\xff\xfe,A,1\n", "H2022"),
        ("t.parquet", b"no parquet", "H2023"),
        ("t.arff", b"@relation x\n", "H2023"),
        ("t.csv", b"", "H2024"),
        ("t.csv", b"AGE,GRADE,Y\n", "H2024"),
        ("t.csv", b"AGE,Y\n20,1\n", "H2025"),
        ("t.csv", b"AGE,GRADE,Y\n20,Z,1\n", "H2026"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, code: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_cohort(tmp_path / name, mapping())
    assert error.value.code == code


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="H2027"):
        read_cohort(csv(tmp_path, "AGE,GRADE,Y\n20,A,\n"), mapping(on_fault="clip"))


@pytest.mark.parametrize(
    ("name", "file", "shape", "rate", "institutions"),
    [
        ("uci_card", "uci_default_credit_card/UCI_Credit_Card.csv.gz", (30000, 23), 0.2212, 20),
        ("sba_loans", "sba_loans/loans.parquet", (47706, 14), 0.4857, 62),
        ("sba_case", "sba_case/SBAcase.11.13.17.csv", (2101, 13), 0.3265, 22),
        ("polish_year1", "polish_bankruptcy/1year.arff.gz", (7027, 64), 0.0386, 20),
        ("hmeq", "hmeq/hmeq.csv", (5960, 12), 0.1995, 10),
        ("german", "german_credit/germancredit.csv", (1000, 20), 0.3, 1),
    ],
)
def test_real_sets(
    real_data: Path,
    name: str,
    file: str,
    shape: tuple[int, int],
    rate: float,
    institutions: int,
) -> None:
    m = load_mapping(SETS / f"{name}.yaml")
    c = read_cohort(real_data / file, m)
    assert c.values.shape == shape
    assert c.label.mean() == pytest.approx(rate, abs=5e-5)
    assert len(np.unique(c.institution)) == institutions
    assert len(np.unique(c.key)) == len(c)
    for feature, column in zip(c.catalogue.features, c.values.T, strict=True):
        seen = column[~np.isnan(column)]
        low, high = feature.range or (0, len(feature.categories or ()) - 1)
        assert seen.size and low <= seen.min() < seen.max() <= high, feature.name


def test_sba_loans_is_a_natural_partition_without_leaks(real_data: Path) -> None:
    m = load_mapping(SETS / "sba_loans.yaml")
    c = read_cohort(real_data / "sba_loans" / "loans.parquet", m)
    names, counts = np.unique(c.institution, return_counts=True)
    banks = [n for n in names if not n.startswith("rest")]
    assert len(banks) == 30 and len(names) > 30 and counts.min() >= 200
    leaking = {"term", "balance_gross", "chg_off_date", "chg_off_prin_gr"}
    leaking |= {"disbursement_date", "disbursement_gross"}
    assert not leaking & set(m.needed) and leaking == set(m.ignore)
    assert c.weight is not None and c.date is not None
    assert np.average(c.label, weights=c.weight) == pytest.approx(0.1741, abs=1e-4)
    assert c.date.max().astype(datetime.date).year == 2014
