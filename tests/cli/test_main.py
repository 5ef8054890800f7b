import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HAIHE = [sys.executable, "-m", "haihe_fl.cli.main"]


def haihe(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HAIHE, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "120", **env},
        timeout=120,
        check=False,
    )


def test_help_lists_the_nine_groups() -> None:
    shown = haihe("--help", HAIHE_LANG="en")
    assert shown.returncode == 0
    groups = ("demo", "data", "train", "serve", "stress", "consortium", "budget")
    for group in (*groups, "satellite", "monitor"):
        assert group in shown.stdout


def test_one_switch_changes_help_and_errors() -> None:
    assert "联邦" in haihe("--help", "--lang", "zh").stdout
    english = haihe("train", "--family", "forest", "--lang", "en")
    chinese = haihe("--lang=zh", "train", "--family", "forest")
    assert english.returncode == chinese.returncode == 2
    assert english.stderr.startswith("H2601 --family is additive or neural")
    assert "只能是" in chinese.stderr


def test_an_unknown_language_is_refused() -> None:
    done = haihe("--lang", "fr", "--help")
    assert done.returncode == 2
    assert "zh" in done.stderr and "en" in done.stderr


def test_errors_never_show_a_traceback(tmp_path: Path) -> None:
    for arguments, code in (
        (["stress", "run", "no-such-scenario"], "H2510"),
        (["budget", "--work", str(tmp_path)], "H2604"),
        (["consortium", "status", "--work", str(tmp_path)], "H2302"),
        (["train", "--deployed", "--work", str(tmp_path)], "H2302"),
        (["demo", "--data", "x.csv", "--work", str(tmp_path)], "H2602"),
        (["train", "--set", "bins", "--work", str(tmp_path)], "H2603"),
    ):
        done = haihe(*arguments, HAIHE_LANG="en")
        assert done.returncode == 2, arguments
        assert code in done.stderr, done.stderr
        assert "Traceback" not in done.stderr + done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A working folder after one short training run, and what it printed."""
    work = tmp_path_factory.mktemp("work")
    done = haihe(
        "train", "--json", "--enterprises", "1000", "--work", str(work),
        "--set", "main_rounds=2", "--set", "joint_rounds=2", "--set", "pairs=2",
        HAIHE_LANG="en",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return work, json.loads(done.stdout)


def test_train_prints_json_that_says_what_it_cost(
    trained: tuple[Path, dict[str, object]],
) -> None:
    _, result = trained
    assert result["epsilon"] == 3.0 and result["delta"] == 1e-5 and result["unit"] == "record"
    assert result["private"] is True and result["mode"] == "secure"
    assert len(str(result["fingerprint"])) == 64
    assert result["version"] == "1"


def test_budget_reads_every_ledger(trained: tuple[Path, dict[str, object]]) -> None:
    work, result = trained
    done = haihe("budget", "--json", "--work", str(work))
    rows = json.loads(done.stdout)
    assert len(rows) == result["institutions"] == 23
    for row in rows:
        assert row["spent"] == pytest.approx(3.0, abs=1e-6)
        assert row["left"] == pytest.approx(row["cap"] - row["spent"], abs=1e-6)
        assert row["borrower_at_2"] > 2 * row["spent"]
    table = haihe("budget", "--work", str(work), HAIHE_LANG="en", COLUMNS="80").stdout
    assert all(len(line) <= 80 for line in table.splitlines())


def test_stress_runs_on_the_registered_model(trained: tuple[Path, dict[str, object]]) -> None:
    work, result = trained
    done = haihe("stress", "run", "gfc-replay", "--synth", "1000", "--json", "--work", str(work))
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads(done.stdout)
    assert scenario["scenario"] == "gfc-replay"
    assert str(result["model"]) in scenario["model"]
    assert scenario["pd_peak"] > scenario["pd_start"]


def test_bad_settings_are_told_before_anything_is_spent(tmp_path: Path) -> None:
    for setting, code in (
        (["--set", "bins=1"], "H2101"),
        (["--set", "no_such_setting=1"], "H2101"),
        (["--family", "neural", "--set", "hidden=[5000000]"], "H2101"),
        (["--minimum", "3"], "H2102"),
    ):
        done = haihe(
            "train", "--enterprises", "1000", "--work", str(tmp_path), *setting, HAIHE_LANG="en"
        )
        assert done.returncode == 2, done.stderr
        assert code in done.stderr
        assert "Traceback" not in done.stderr
    rows = json.loads(haihe("budget", "--json", "--work", str(tmp_path)).stdout)
    assert all(row["spent"] == row["reserved"] == 0 for row in rows)
