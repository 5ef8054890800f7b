from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from haihe_fl.errors import UserError
from haihe_fl.i18n import set_language, text_width
from haihe_fl.stress.charts import SIZE, heatmap_svg, loss_svg, sector_label, write_chart
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import run_all

Maker = Callable[..., Portfolio]


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


def test_labels_stay_inside_the_picture(portfolio: Portfolio) -> None:
    results = run_all(portfolio)
    for language in ("en", "zh"):
        set_language(language)
        for svg in (heatmap_svg(results), loss_svg(results)):
            root = ElementTree.fromstring(svg)
            ends = [e for e in root.iter() if "text-anchor: end" in (e.get("style") or "")]
            assert len(ends) >= len(results)
            for label in ends:
                x = float((label.get("x") or label.get("transform", "")[10:]).split()[0])
                width = 72 * text_width("".join(label.itertext()), SIZE)
                assert width <= x, "".join(label.itertext())


def test_loss_bars_are_named_and_scaled_in_both_units(portfolio: Portfolio) -> None:
    set_language("en")
    svg = loss_svg(run_all(portfolio, ["gfc-replay", "haihe-flood"]))
    for words in (
        "expected loss of a quiet economy",
        "added by the scenario",
        "worst one-year loss at 99.9 %",
        "CNY 100 million, 3 years",
        "of the exposure",
    ):
        assert words in svg, words


def test_a_sector_without_borrowers_has_no_column(make_portfolio: Maker) -> None:
    set_language("en")
    svg = heatmap_svg(run_all(make_portfolio(sector="petrochem"), ["gfc-replay", "haihe-flood"]))
    assert "petrochemicals" in svg and "aerospace" not in svg


def test_sectors_are_titled() -> None:
    set_language("zh")
    assert sector_label("construction_materials") == "建材"


def test_charts_by_suffix(portfolio: Portfolio, tmp_path: Path) -> None:
    results = run_all(portfolio, ["gfc-replay", "haihe-flood"])
    write_chart(tmp_path / "a.svg", "heatmap", results)
    write_chart(tmp_path / "a.PNG", "loss", results)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="H2531"):
        write_chart(tmp_path / "a.pdf", "loss", results)
