import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from fake_results import fake_results

from haihe_fl.i18n import Text
from haihe_fl.reports import charts
from haihe_fl.reports.results import Estimate, FeatureShape, PairShape, Tick
from haihe_fl.reports.shape_charts import SIZE, pair_chart, shape_chart
from haihe_fl.reports.svg import inline_svg
from haihe_fl.reports.units import tick_labels, unit_title


def texts(svg):
    return ["".join(e.itertext()) for e in ET.fromstring(svg).iter() if e.tag.endswith("text")]


def test_text_stays_text_in_both_languages():
    rows = fake_results().institutions
    both = charts.institution_chart(rows, Estimate(0.8))
    assert "津门城市商业银行" in texts(both.zh) and "Jinmen City Commercial Bank" in texts(both.en)
    assert "Observed default rate" in texts(
        charts.calibration_chart(fake_results().validation.calibration).en
    )


def test_same_data_same_bytes_and_no_date():
    shape = FeatureShape("x", 0.1, (0.1, -0.2, 0.3), (1.0, 2.0), None, 0.4)
    assert shape_chart(shape) == shape_chart(shape)
    assert "<dc:date>" not in shape_chart(shape).en


def test_long_chinese_names_are_cut_to_the_room():
    assert charts.text_width("海河") > charts.text_width("ab")
    name = "天津市滨海新区中小企业融资担保有限责任公司第一分公司"
    short = charts.shorten(name, 2.0)
    assert short.endswith("…") and charts.text_width(short) <= 2.0
    assert charts.shorten("短", 2.0) == "短"


def test_missing_bin_and_categories_are_drawn():
    with_missing = shape_chart(FeatureShape("x", 1, (0.1, 0.2), (5.0,), None, 0.3))
    without = shape_chart(FeatureShape("x", 1, (0.1, 0.2), (5.0,)))
    assert "NA" in texts(with_missing.en) and "NA" not in texts(without.en)
    assert "缺失" in texts(with_missing.zh)
    named = shape_chart(FeatureShape("x", 1, (0.1, 0.2), None, ("A", "乙")))
    assert {"A", "乙"} <= set(texts(named.en))


def test_log_axes_have_plain_numbers():
    rows = tuple({"release": float(i), "step": 10.0**-i} for i in range(1, 5))
    for text in charts.trace_chart(rows, ()):
        assert "mathdefault" not in str(text)
    assert "0.01" in texts(charts.trace_chart(rows, ()).en)


def test_an_interval_beyond_the_axis_is_marked():
    row = fake_results().institutions[0]
    inside = charts.institution_chart([row], None).en
    assert not {"0", "0.1"} & set(texts(inside)) and "0.4" in texts(inside)
    beyond = replace(row, local=Estimate(0.7, 0.1, 1.0))
    assert charts.institution_chart([beyond], None).en.count("<use") > inside.count("<use")
    nothing = replace(row, federated=Estimate(math.nan), local=Estimate(math.nan))
    assert any("one class" in t for t in texts(charts.institution_chart([nothing], None).en))
    low = replace(row, local=Estimate(0.25))
    assert "0.2" in texts(charts.institution_chart([low], None).en)


@pytest.mark.parametrize("edges", [(1e-6, 2e-6, 9e9), (0.1, 0.2, 0.3), (-900.0, -1.0, 123456.0)])
def test_ticks_of_a_small_chart_never_touch(edges):
    shape = FeatureShape("x", 1, (0.1, 0.2, 0.1, 0.3), edges, None, 0.3, "CNY 10k")
    root = ET.fromstring(shape_chart(shape).en)
    found = []
    for e in root.iter():
        style = e.get("style") or ""
        if e.tag.endswith("text") and "anchor: middle" in style:
            at = float(e.get("x") or e.get("transform")[10:].split()[0])
            found.append((at, 72 * charts.text_width(e.text, SIZE)))
    found.sort()
    assert 2 <= len(found) <= 4
    for (a, wide), (b, next_) in pairwise(found):
        assert a + wide / 2 < b - next_ / 2


def test_many_categories_show_the_ends():
    names = tuple(f"c{i:02}" for i in range(16))
    values = tuple(0.1 * i for i in range(16))
    drawn = texts(shape_chart(FeatureShape("x", 1, values, None, names)).en)
    assert {"c15", "c11", "c04", "c00", "…"} <= set(drawn) and "c08" not in drawn


def test_pair_maps_name_both_sides():
    ticks = (Tick(0.5, Text(en="NA", zh="缺失")), Tick(1.5, Text(en="retail", zh="零售")))
    pair = PairShape("x", "y", 0.1, ((0.1, 0.2), (0.0, -0.1)), (Tick(1.0, "30%"),), ticks)
    assert {"NA", "retail", "30%"} <= set(texts(pair_chart(pair).en))
    assert "零售" in texts(pair_chart(pair).zh)


def test_numbers_stand_in_their_unit():
    assert tick_labels([0.1, 0.25], "share", "en") == ["10%", "25%"]
    assert tick_labels([2.5e6, 4e8], "TWD", "en") == ["2.5m", "400m"]
    assert tick_labels([2.5e6, 4e8], "TWD", "zh") == ["250万", "4亿"]
    assert tick_labels([1999.0, 2005.0], "year", "en") == ["1999", "2005"]
    assert tick_labels([1e-6, 0.4], "times", "en") == [">0", "0.4"]
    assert unit_title("cases").zh == "" and unit_title("USD").zh == "USD"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.institution_chart((), None),
        lambda: charts.calibration_chart(()),
        lambda: charts.trace_chart((), ()),
        lambda: charts.trace_chart(({"release": 1.0, "step": math.nan},), ("q",)),
        lambda: charts.trace_chart(({"release": 1.0, "a": 1e-6}, {"release": 2.0, "a": 1.0}), ()),
        lambda: shape_chart(FeatureShape("x", 0.0, (0.0,), (), None, None)),
        lambda: pair_chart(PairShape("x", "y", 0.0, ((0.0, 0.0),))),
    ],
)
def test_little_data_still_draws(draw):
    assert draw()


SVG = (
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" '
    'xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="9pt" viewBox="0 0 9 9">'
    "<metadata>m</metadata><style>*{color:red}</style><script>x()</script>"
    '<clipPath id="c"><path d="M 0 0\nL 1 1"/></clipPath>'
    '<g clip-path="url(#c)" onclick="x()" style="fill:url(https://e.x/a);stroke: red">'
    '<use xlink:href="#c"/><use href="https://e.x/b.svg#c"/></g>'
    "<text style=\"font: 700 9px 'DejaVu Sans', sans-serif; fill: #111\">a &lt;b&gt;</text>"
    "<text style=\"font-size: 9px; font-family: 'DejaVu Sans'; fill: red\">海</text></svg>"
)


def test_foreign_svg_is_made_harmless():
    out = inline_svg(SVG, "p", 'a "chart"')
    for gone in ("http", "script", "metadata", "onclick", "<style", "DejaVu", "xmlns", "x()"):
        assert gone not in out, gone
    assert 'id="p-c"' in out and 'href="#p-c"' in out and "url(#p-c)" in out
    assert "max-width:96px" in out and 'aria-label="a &quot;chart&quot;"' in out
    assert "a &lt;b&gt;" in out and "font-size:9px" in out and ">海<" in out


def test_two_charts_share_no_id():
    one, two = (inline_svg(SVG, p) for p in ("a1", "a2"))
    ids = [{e.get("id") for e in ET.fromstring(s).iter() if e.get("id")} for s in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
