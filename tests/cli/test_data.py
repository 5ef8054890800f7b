import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from haihe_fl.cli.data import app
from haihe_fl.errors import UserError

MAPPING = """
name: small
key: id
label: Y
institution: bank
features: {AGE: [18, 100], GRADE: {categories: [A, B]}}
"""
GOOD = "id,bank,AGE,GRADE,Y\n1,甲,20,A,1\n2,甲,30,B,0\n3,乙,40,,0\n"
BAD = "id,bank,AGE,GRADE,Y\n1,甲,old,A,1\n1,甲,300,C,0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(MAPPING, encoding="utf-8")
    (tmp_path / "good.csv").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.csv").write_text(BAD, encoding="utf-8")
    return tmp_path


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_check_ends_with_2_on_faults(folder: Path) -> None:
    code, text = run("check", folder / "bad.csv", "-m", folder / "m.yaml")
    assert code == 2
    assert "H2041" in text and "2 records, 4 faults, 0 warnings" in text
    code, text = run("check", folder / "good.csv", "-m", folder / "m.yaml")
    assert code == 0 and "0 faults" in text


def test_check_as_json(folder: Path) -> None:
    code, text = run("check", folder / "bad.csv", "-m", folder / "m.yaml", "--json")
    assert code == 2
    found = {(f["kind"], f["row"], f["column"]) for f in json.loads(text)["findings"]}
    assert found == {
        ("type", 2, "AGE"),
        ("range", 3, "AGE"),
        ("category", 3, "GRADE"),
        ("key", 3, "id"),
    }


def test_check_limits_what_it_shows(folder: Path) -> None:
    code, text = run("check", folder / "bad.csv", "-m", folder / "m.yaml", "--limit", 1)
    assert code == 2 and "3 more lines" in text and "4 faults" in text


def test_cells_that_look_like_markup_are_shown_as_they_stand(folder: Path) -> None:
    (folder / "odd.csv").write_text("id,bank,AGE,GRADE,Y\n1,[b],[/x],A,1\n2,[b],20,[red]A,0\n")
    code, text = run("check", folder / "odd.csv", "-m", folder / "m.yaml")
    assert code == 2 and "[/x]" in text and "[red]A" in text


def test_describe(folder: Path) -> None:
    code, text = run("describe", folder / "good.csv", "-m", folder / "m.yaml", "--json")
    summary = json.loads(text)
    assert code == 0 and summary["records"] == 3
    assert summary["institutions"] == [
        {"institution": "甲", "records": 2, "default_rate": 0.5},
        {"institution": "乙", "records": 1, "default_rate": 0.0},
    ]
    assert [f["missing"] for f in summary["features"]] == pytest.approx([0, 1 / 3])
    code, text = run("describe", folder / "good.csv", "-m", folder / "m.yaml")
    assert code == 0 and "3 records, 2 features, 2 institutions" in text


def test_errors_are_left_to_the_root_command(folder: Path) -> None:
    with pytest.raises(UserError, match="H2020"):
        run("check", folder / "none.csv", "-m", folder / "m.yaml")


def test_synth_saves_what_it_makes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def synthesise(*, enterprises: int, seed: int) -> SimpleNamespace:
        return SimpleNamespace(save=lambda to: [to / f"{enterprises}-{seed}.parquet"])

    monkeypatch.setattr("haihe_fl.data.synth.consortium.synthesise", synthesise)
    code, text = run("synth", "--enterprises", 7, "--seed", 3, "--out", folder, "--json")
    assert code == 0 and json.loads(text)["files"] == [str(folder / "7-3.parquet")]
