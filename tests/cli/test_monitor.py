"""``haihe monitor`` and ``haihe satellite`` from the command line."""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from haihe_fl.cli.app import build
from haihe_fl.errors import HaiheError
from haihe_fl.i18n import set_language
from haihe_fl.stress.run import shipped
from haihe_fl.stress.satellite import load_satellite


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "120")
    set_language("en")
    yield
    set_language("en")


def haihe(*arguments: str) -> Result:
    return CliRunner().invoke(build(), list(arguments))


def figures(*arguments: str) -> dict:
    done = haihe(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_indicators_stand_in_both_languages() -> None:
    catalogue = figures("monitor", "show")
    assert len(catalogue["indicators"]) == 32
    for language in ("en", "zh"):
        set_language(language)
        shown = haihe("monitor", "show").output
        for indicator in catalogue["indicators"]:
            if len(indicator["name"]["en"]) < 25:
                assert indicator["name"]["en"] in shown
            assert indicator["name"]["zh"] in shown
    set_language("en")
    shown = haihe("monitor", "show").output
    assert "≥ 30 days" in shown and "< -15 %" in shown and "none is fitted" in shown


def test_the_demo_stands_beside_whoever_never_warns() -> None:
    facts = figures("monitor", "demo", "--firms", "400", "--seed", "3")
    assert facts["synthetic"] is True and sum(facts["alerts"].values()) > 50
    nobody, rules = facts["warnings"]["nobody"], facts["warnings"]["rules"]
    assert nobody["accuracy"] == nobody["null_accuracy"] == rules["null_accuracy"]
    assert nobody["recall"] == nobody["warned"] == 0 and nobody["precision"] is None
    assert rules["accuracy"] < rules["null_accuracy"] and 0 < rules["warned"] <= rules["defaults"]
    for name in ("precision", "recall", "mcc", "auc"):
        low, high = rules["intervals"][name]
        assert low <= rules[name] <= high
    days = [a["day"] for a in facts["latest"]]
    assert len(days) == 8 and days == sorted(days)
    assert figures("monitor", "demo", "--firms", "400", "--seed", "3") == facts


def test_the_demo_says_that_its_firms_are_invented() -> None:
    done = haihe("monitor", "demo", "--firms", "300", "--latest", "2")
    assert done.exit_code == 0
    for words in ("SYNTHETIC", "never warning", "accuracy says nothing", "invented firms"):
        assert words in " ".join(done.output.split()), words


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_demo_fits_80_columns_and_shows_every_measure(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_language(language)
    monkeypatch.setenv("COLUMNS", "80")
    names = {
        "en": {"sector": "port logistics", "size": "micro", "district": "Hongqiao"},
        "zh": {"sector": "港口物流", "size": "微型", "district": "红桥区"},
    }[language]
    for by, name in names.items():
        done = haihe("monitor", "demo", "--firms", "2000", "--latest", "0", "--by", by)
        assert done.exit_code == 0, done.output
        words = {"en": ("slope", "ECE", "PSI", "never"), "zh": ("斜率", "ECE", "PSI", "从不")}
        for word in (name, *words[language], "PD ≥ 1/(1+r)"):
            assert word in done.output, word
        wide = [text_columns(line) for line in done.output.splitlines()]
        assert max(wide) <= 80
        # A cell that had to be folded leaves a row without a name.
        rows = [line for line in done.output.splitlines() if line.startswith("│ ")]
        assert len(rows) > 20 and all(line[1:6].strip("│ ") for line in rows)


def text_columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def test_satellite_estimate_writes_what_a_stress_test_reads(tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    facts = figures(
        "satellite", "estimate", "--enterprises", "1000", "--quarters", "8", "--seed", "4",
        "--work", str(tmp_path / "work"), "--out", str(target),
    )  # fmt: skip
    assert facts["epsilon"] == 3.0 and facts["delta"] == 1e-6 and facts["institutions"] == 23
    assert facts["unit"] == "borrower-quarter record" and facts["borrower_epsilon"] > 3.0
    assert facts["private"] is True
    catalogue, prior = shipped()
    rows = {c["driver"]: c for c in facts["coefficients"]}
    assert list(rows) == list(catalogue.drivers)
    assert {k: c["prior"] for k, c in rows.items()} == prior.beta
    assert any(abs(c["truth"] - c["prior"]) > 0.1 * c["prior"] for c in rows.values())
    written = load_satellite(catalogue, target)
    assert written.beta == {k: c["estimate"] for k, c in rows.items()}
    assert written.evidence.startswith("estimated: ") and "synthetic" in written.evidence
    assert facts["run"] in written.version and "epsilon 3" in written.note
    assert written.loadings == prior.loadings
    rows_left = haihe("budget", "--json", "--work", str(tmp_path / "work"))
    assert all(r["spent"] > 2 for r in json.loads(rows_left.stdout))


def test_satellite_estimate_shows_a_table_and_what_it_cost(tmp_path: Path) -> None:
    done = haihe(
        "satellite", "estimate", "--enterprises", "1000", "--quarters", "8",
        "--work", str(tmp_path / "work"),
    )  # fmt: skip
    shown = " ".join(done.output.split())
    assert done.exit_code == 0, done.output
    for words in ("gdp_growth", "truth", "synthetic data", "delta 1e-06", "curious centre"):
        assert words in shown, words


@pytest.mark.parametrize("target", [".", "no/such/folder/x.yaml"])
def test_nothing_is_spent_on_a_file_that_cannot_be_written(tmp_path: Path, target: str) -> None:
    work = tmp_path / "work"
    done = haihe("satellite", "estimate", "--work", str(work), "--out", str(tmp_path / target))
    assert isinstance(done.exception, HaiheError) and done.exception.code == "H2620"
    assert not (work / "consortium").exists()
