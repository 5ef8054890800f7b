from pathlib import Path
from xml.etree import ElementTree

import pytest

from haihe_fl.errors import UserError
from haihe_fl.i18n import set_language
from haihe_fl.stress.charts import SECTORS_ZH, heatmap_svg, loss_svg, write_chart
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import run_all, shipped


def test_svg_holds_its_text_in_chinese(portfolio: Portfolio) -> None:
    set_language("zh")
    results = run_all(portfolio, ["gfc-replay", "haihe-flood"])
    for svg in (heatmap_svg(results), loss_svg(results), loss_svg(results[:1])):
        assert svg.startswith("<svg")
        ElementTree.fromstring(svg)
        assert "全球金融危机重演" in svg
        assert "Noto Sans CJK SC" in svg
    assert "港口物流" in heatmap_svg(results)
    assert "部分核实" in heatmap_svg(results)
    assert "partly" not in heatmap_svg(results)
    assert heatmap_svg(results) == heatmap_svg(results)


def test_every_sector_has_a_chinese_name() -> None:
    assert set(SECTORS_ZH) == set(shipped()[0].sectors)


def test_charts_by_suffix(portfolio: Portfolio, tmp_path: Path) -> None:
    results = run_all(portfolio, ["gfc-replay", "haihe-flood"])
    write_chart(tmp_path / "a.svg", "heatmap", results)
    write_chart(tmp_path / "a.PNG", "loss", results)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="H2531"):
        write_chart(tmp_path / "a.pdf", "loss", results)
