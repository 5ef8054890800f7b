import json
from pathlib import Path

import pytest

from benchmarks import macro


def test_without_the_series_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert macro.main(["--data", str(tmp_path)]) == 0
    assert "Nothing computed" in capsys.readouterr().out


def test_the_page_holds_what_the_series_say(real_data: Path, tmp_path: Path) -> None:
    if not (real_data / macro.FILE).exists():
        pytest.skip("no macro series")
    assert macro.main(["--data", str(real_data), "--json", str(tmp_path / "m.json")]) == 0
    sigmas, anchors = json.loads((tmp_path / "m.json").read_text("utf-8"))["tables"].values()
    assert [r["driver"] for r in sigmas if r["verdict"] == "far off"] == ["lpr"]
    said = {(r["scenario"], r["figure"].partition(",")[0]): r["series say"] for r in anchors}
    assert said[("power-rationing-dual-control", "PPI in Oct 2021")] == 13.5
    page = (Path(__file__).parents[2] / "docs" / "scenario-evidence.md").read_text("utf-8")
    for row in anchors:
        figure = f"{abs(row['series say']):.1f}".removesuffix(".0")
        assert figure in page, row
