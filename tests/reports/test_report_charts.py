import math
import xml.etree.ElementTree as ET

import pytest
from fake_results import fake_results

from haihe_fl.reports import charts
from haihe_fl.reports.results import Estimate, FeatureShape, PairShape
from haihe_fl.reports.svg import inline_svg


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
    assert charts.shape_chart(shape) == charts.shape_chart(shape)
    assert "<dc:date>" not in charts.shape_chart(shape)


def test_long_chinese_names_are_cut_to_the_room():
    assert charts.text_width("海河") > charts.text_width("ab")
    name = "天津市滨海新区中小企业融资担保有限责任公司第一分公司"
    short = charts.shorten(name, 2.0)
    assert short.endswith("…") and charts.text_width(short) <= 2.0
    assert charts.shorten("短", 2.0) == "短"


def test_missing_bin_and_categories_are_drawn():
    with_missing = charts.shape_chart(FeatureShape("x", 1, (0.1, 0.2), (5.0,), None, 0.3))
    without = charts.shape_chart(FeatureShape("x", 1, (0.1, 0.2), (5.0,)))
    assert "NA" in texts(with_missing) and "NA" not in texts(without)
    named = charts.shape_chart(FeatureShape("x", 1, (0.1, 0.2), None, ("A", "乙")))
    assert {"A", "乙"} <= set(texts(named))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.institution_chart((), None),
        lambda: charts.calibration_chart(()),
        lambda: charts.trace_chart((), ()),
        lambda: charts.trace_chart(({"release": 1.0, "step": math.nan},), ("q",)),
        lambda: charts.trace_chart(({"release": 1.0, "a": 1e-6}, {"release": 2.0, "a": 1.0}), ()),
        lambda: charts.shape_chart(FeatureShape("x", 0.0, (0.0,), (), None, None)),
        lambda: charts.pair_chart(PairShape("x", "y", 0.0, ((0.0, 0.0),))),
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
