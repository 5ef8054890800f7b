import json
from pathlib import Path

from benchmarks import warning


def test_quick_run_sets_nobody_beside_the_warnings(tmp_path: Path) -> None:
    assert warning.main(["--quick", "--json", str(tmp_path / "w.json")]) == 0
    tables = json.loads((tmp_path / "w.json").read_text("utf-8"))["tables"]
    title, rows = next(iter(tables.items()))
    assert "synthetic" in title
    nobody = rows[-1]
    assert nobody["warning"] == "nobody" and nobody["accuracy"] == nobody["of nobody"]
    assert nobody["MCC"].startswith("0.000") and nobody["defaults warned"].startswith("0 of")
