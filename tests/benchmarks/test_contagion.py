import json
from pathlib import Path

from benchmarks import contagion


def test_a_quick_run_writes_costs_and_effects(tmp_path: Path) -> None:
    path = tmp_path / "contagion.json"
    assert contagion.main(["--quick", "--enterprises", "9", "--json", str(path)]) == 0
    document = json.loads(path.read_text("utf-8"))
    assert document["figures"]["enterprises"] == contagion.QUICK
    (rows,) = document["tables"].values()
    assert len(rows) == 9
    calm, strong = rows[0], rows[2]
    assert calm["lambda"] == 0.0
    assert strong["extra %"] > calm["extra %"] > 0
    assert rows[6]["defaults drawn %"] > calm["defaults drawn %"]
    assert all(row["clearing / product"] > 0 for row in rows)
    assert 0 <= document["figures"]["pool"]["exhausted"] <= 1
