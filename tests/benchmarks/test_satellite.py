import json
from pathlib import Path

import pytest

from benchmarks import satellite


def test_quick_run_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert satellite.main(["--quick", "--json", str(tmp_path / "s.json")]) == 0
    assert "synthetic" in capsys.readouterr().out
    document = json.loads((tmp_path / "s.json").read_text("utf-8"))
    one, summary, robust = document["tables"].values()
    assert len(one) == 14 and [row["epsilon"] for row in summary] == ["inf", 8.0, 3.0, 1.0]
    assert all(row["rmse / prior"] < row["prior's rmse"] for row in summary[:3])
    assert summary[2]["eps of a borrower"] > 3.0
    assert len(robust) == 6
