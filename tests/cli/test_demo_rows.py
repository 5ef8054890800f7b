"""``haihe demo`` on a file of real form: with and without what a stress test needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MAPPING = """
name: rows
label: bad
{institution}
features:
  debt: {{range: [0, 1], unit: share, direction: 1}}
  age: {{range: [0, 60], unit: years}}
  code: {{categories: [C36, F, Z]}}
"""
STRESS = """
note: {en: A convention., zh: 一项约定。}
ead: {column: wan, factor: 10000}
weight: w
sector: {column: code, values: {C36: auto_parts}, other: services_retail}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    debt, age = rng.random(1200), rng.integers(0, 60, 1200)
    bad = rng.random(1200) < 1 / (1 + np.exp(2 - 4 * debt + age / 30))
    lines = ["bank,debt,age,code,wan,w,bad"]
    for i in range(1200):
        code = ("C36", "F", "Z", "")[i % 4]
        lines.append(f"b{i % 4},{debt[i]:.3f},{age[i]},{code},20,{1 if bad[i] else 3},{bad[i]:d}")
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def demo(
    folder: Path, rows: Path, institution: str, extra: str = ""
) -> subprocess.CompletedProcess[str]:
    mapping = folder / "mapping.yaml"
    mapping.write_text(MAPPING.format(institution=institution) + extra, encoding="utf-8")
    command = ["-m", "haihe_fl.cli.main", "demo", "--json", "--lang", "en", "--work", str(folder)]
    return subprocess.run(
        [sys.executable, *command, "--data", str(rows), "--mapping", str(mapping)],
        capture_output=True, text=True, env=dict(os.environ), timeout=200, check=False,
    )  # fmt: skip


def test_rows_with_exposure_and_codes_are_stressed(tmp_path: Path, rows: Path) -> None:
    done = demo(tmp_path, rows, "institution: bank", STRESS)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert len(facts["scenarios"]) == 30 and facts["note"] == ""
    assert facts["scenarios"][0]["exposure"] > 0
    assert facts["auc"]["institutions_judged"] == 4
    page = Path(facts["report"]).read_text(encoding="utf-8")
    for words in ("A convention.", "一项约定。", "auto parts", "服务零售", "weighted rate"):
        assert words in page, words
    # Per-institution means stand in the report as on the screen.
    assert f"{facts['auc']['local']:.3f}</b>" in page
    assert "petrochemicals" not in page  # no borrower of that sector


def test_rows_without_a_sector_end_with_a_reason(tmp_path: Path, rows: Path) -> None:
    done = demo(tmp_path, rows, "institution: bank", "ead: wan\nignore: [w]\n")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["scenarios"] == [] and "carry no sector" in facts["note"]
    page = Path(facts["report"]).read_text(encoding="utf-8")
    assert "carry no sector" in page and "没有行业" in page and "No stress test" in page


def test_a_single_institution_is_told_what_to_add(tmp_path: Path, rows: Path) -> None:
    done = demo(tmp_path, rows, "")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "H2606" in done.stderr and "institution: {skewed:" in done.stderr
