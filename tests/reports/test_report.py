import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_results import NAMES, SCENARIOS, fake_results

from haihe_fl.errors import UserError
from haihe_fl.evaluation.metrics import evaluate
from haihe_fl.i18n import Text, set_language
from haihe_fl.reports.guide import advice
from haihe_fl.reports.means import mean_auc
from haihe_fl.reports.report import interval, money, number, render_report, write_report
from haihe_fl.reports.results import (
    BudgetLine,
    Comparison,
    Estimate,
    PrivacyResult,
    ValidationResult,
)
from haihe_fl.reports.words import GLOSSARY, THREAT_MODEL, findings


class Page(HTMLParser):
    """Ids, links, and the text a reader of one language would see."""

    def __init__(self, html, lang="en"):
        super().__init__()
        self.ids, self.refs, self.tags, self.handlers = [], [], [], []
        self.hidden, self.depth, self.words = {"en": "zh", "zh": "en"}[lang], [], []
        self.feed(html)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        classes = (dict(attrs).get("class") or "").split()
        if tag not in ("meta", "link", "br", "img", "input"):
            self.depth.append(self.hidden in classes or tag in ("style", "script"))
        self.note(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.note(attrs)

    def note(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
                self.refs.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag):
        if self.depth:
            self.depth.pop()

    def handle_data(self, data):
        if not any(self.depth):
            self.words.append(data)


@pytest.fixture(scope="module")
def results():
    return fake_results()


@pytest.fixture(scope="module")
def slim(results):
    return replace(results, shapes=(), pairs=(), trace=(), stress=None, validation=None)


@pytest.fixture(scope="module")
def html(results):
    set_language("en")
    return render_report(results)


def test_nothing_is_fetched(html):
    page = Page(html)
    assert "http:" not in html and "https:" not in html and not re.search(r"[\"'(]//", html)
    assert "@import" not in html and not re.search(r"url\((?!#)", html)
    assert not {"link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert all(ref.startswith(("#", "data:image/png;base64,")) for ref in page.refs)
    assert "image" in page.tags  # the stress heat map, drawn from inline data
    assert "default-src 'none'" in html


def test_ids_are_unique_and_every_reference_leads_somewhere(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids)) > 500
    inside = {r[1:] for r in page.refs if r[0] == "#"} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert inside <= set(page.ids)


def test_both_languages_are_there_and_each_reader_sees_one(html):
    en, zh = Page(html, "en"), Page(html, "zh")
    for name_en, name_zh, _, kind_zh in NAMES:
        assert name_en in en.text and name_zh in zh.text and kind_zh in zh.text
        assert name_zh not in en.text and name_en not in zh.text
    for scenario_en, scenario_zh, *_ in SCENARIOS:
        assert scenario_en in en.text and scenario_zh in zh.text
    # An English reader sees no Chinese but the toggle.
    assert set(re.findall(r"[\u4e00-\u9fff]+", en.text)) == {"中文"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_opens_in_the_language_in_force(slim, lang):
    set_language(lang)
    assert f'data-lang="{lang}"' in render_report(slim)


def test_figures_shown_are_the_data(html, results):
    text = Page(html).text
    for i in results.institutions:
        row = f"{i.federated.value:.3f}[{i.federated.low:.3f}, {i.federated.high:.3f}]"
        assert row in text.replace(" [", "[").replace("] ", "]")
        assert f"{i.records:,}" in text
    m = results.validation.metrics
    for name in ("auc", "ks", "average_precision", "brier", "calibration_slope"):
        assert number(getattr(m, name)) in text
        assert interval(*m.intervals[name]) in text
    for s in results.stress.rows:
        assert money(s.loss_999).en in text and number(s.sigma, 2) in text
    for wanted in (
        "0.787",
        "0.799",
        "214 KB",
        "33",
        "4.6",
        "ε = 3.00",
        "δ = 1e-5",
        "6.70",
        "11.00",
    ):
        assert wanted in text, wanted
    mean = mean_auc(results.institutions)
    weights = [i.test_records for i in results.institutions]
    local = np.average([i.local.value for i in results.institutions], weights=weights)
    fed = np.average([i.federated.value for i in results.institutions], weights=weights)
    assert mean == pytest.approx((fed, local, 6))
    assert f"{local:.3f}mean within 6 institutions, weighted by test records" in text
    assert f"federated on the same: {fed:.3f}" in text
    assert results.run.model_fingerprint in text and "haihe stress run gfc-replay" in text
    assert all(line.en in text for line in THREAT_MODEL)
    assert all(meaning.en in text for _, meaning in GLOSSARY)


def test_gauges_are_to_scale(slim):
    budgets = (BudgetLine("half", 2.0, 1.0, 4.0), BudgetLine("over", 6.0, 0.0, 4.0))
    html = render_report(replace(slim, privacy=replace(slim.privacy, budgets=budgets)))
    assert 'style="width:50.00%"' in html and 'class="res" style="width:25.00%"' in html
    assert html.count('class="bar over"') == 1 and 'style="width:100.00%"' in html


def test_many_equal_budgets_are_one_line(slim):
    alike = tuple(BudgetLine(f"bank {k}", 3.0, 0.0, 8.0) for k in range(62))
    text = Page(render_report(replace(slim, privacy=replace(slim.privacy, budgets=alike)))).text
    assert "Each of the 62 institutions ε 3.00 / 8.00" in text and "bank 7" not in text
    other = (*alike[1:], BudgetLine("bank 0", 4.0, 0.0, 8.0))
    text = Page(render_report(replace(slim, privacy=replace(slim.privacy, budgets=other)))).text
    assert "bank 7" in text


def test_hostile_names_are_only_names(results):
    evil = '<script>alert(1)</script>"&$x_1$<img src=x onerror=alert(1)>'
    bad = replace(
        results,
        institutions=(replace(results.institutions[0], name=evil, kind=evil),),
        run=replace(results.run, run_id=evil, data=Text(en=evil, zh="<b>")),
        shapes=(replace(results.shapes[4], label=evil, categories=(evil, *"BMCD")),),
        stress=None,
        commands=(),
        reproducibility=((evil, evil),),
    )
    html = render_report(bad)
    page = Page(html)
    assert page.tags.count("script") == 1 and "img" not in page.tags and not page.handlers
    assert evil in page.text


def test_findings_are_counted_from_the_figures(results):
    text = " ".join(f.en for f in findings(results))
    assert "better at 4 of 6 institutions" in text
    assert f"weighted by test records, is {mean_auc(results.institutions).gain:+.3f}" in text
    assert "better at 3, worse at 0, undecided at 3" in text
    assert "Port Leasing (−0.012), Beichen Micro-lending (−0.001)" in text
    assert "0.012 below the reference" in text


def test_findings_own_up_to_losses_and_to_what_is_not_known(results):
    one = results.institutions[0]
    worse = replace(one, gain=Estimate(-0.02, -0.03, -0.01))
    blind = replace(one, gain=None)
    empty = replace(one, gain=None, federated=Estimate(math.nan), local=Estimate(math.nan))
    say = lambda *rows: " ".join(f.en for f in findings(replace(results, institutions=rows)))  # noqa: E731
    assert "better at 0, worse at 1" in say(worse) and "It gains nothing at: Jinmen" in say(worse)
    assert "chance is not ruled out" in say(blind) and "No institution is worse" in say(blind)
    assert "1 could not be judged" in say(empty) and "mean change" not in say(empty)
    above = replace(results, comparison=Comparison(Estimate(0.8), Estimate(0.79)))
    assert "0.010 above the reference" in " ".join(f.en for f in findings(above))


def test_the_smallest_report(results):
    bare = replace(
        fake_results(institutions=1),
        comparison=Comparison(Estimate(0.7)),
        privacy=PrivacyResult(1.0, 1e-6, {}, (), threat_model=("Only line.",)),
        validation=None,
        trace=(),
        stages=(),
        shapes=(),
        pairs=(),
        examples=(),
        stress=None,
        commands=(),
        reproducibility=(),
    )
    page = Page(render_report(bare))
    for gone in (
        "Held-out validation",
        "Training, release",
        "What moves",
        "Stress test",
        "to type",
    ):
        assert gone not in page.text
    assert "Only line." in page.text and THREAT_MODEL[0].en not in page.text
    render_report(replace(bare, institutions=()))


def test_the_reader_is_told_what_it_means_and_what_to_do(results, slim):
    text = Page(
        render_report(replace(slim, data_note="A convention.", no_stress="No sector."))
    ).text
    for wanted in (
        "How to read this page",
        "e^3 = 20",
        "A convention.",
        "No stress test",
        "No sector.",
        "Made up by a generator",
        "do not use the PDs before",
    ):
        assert wanted in text, wanted
    do = " ".join(a.en for a in advice(results))
    assert "3 institutions are undecided" in do and "beyond chance" not in do
    tightest = min(b.cap - b.spent - b.reserved for b in results.privacy.budgets)
    assert f"has ε {tightest:.2f} left" in do
    assert f"Worst scenario: {SCENARIOS[-1][0]} (evidence: verified)" in do
    only = replace(results.stress, rows=results.stress.rows[:2])
    assert "confirmed before" in " ".join(a.en for a in advice(replace(results, stress=only)))


@pytest.mark.parametrize(
    ("slope", "level", "says"),
    [((0.9, 1.1), (-0.1, 0.1), "Nothing"), ((0.5, 0.9), (-0.1, 0.1), "off"),
     ((0.9, 1.1), (0.1, 0.2), "off")],
)  # fmt: skip
def test_calibration_is_judged_by_its_intervals(results, slope, level, says):
    found = results.validation.metrics
    intervals = {**found.intervals, "calibration_slope": slope, "calibration_intercept": level}
    validation = replace(results.validation, metrics=replace(found, intervals=intervals))
    assert says in advice(replace(results, validation=validation))[0].en


def test_scenario_notes_stand_with_the_scenario(html, results):
    assert "Cells are lost." in Page(html).text
    assert f"{number(100 * results.stress.rows[0].loss_rate, 1)}%" in Page(html).text


def test_nan_prints_as_a_dash_not_as_nan(slim):
    nothing = ValidationResult(evaluate([], []), (), 1.0, 1.0)
    unknown = Estimate(math.nan, math.nan, math.nan)
    row = replace(slim.institutions[0], federated=unknown, local=unknown, gain=unknown)
    html = render_report(replace(slim, validation=nothing, institutions=(row,)))
    assert "nan" not in Page(html).text.split() and "[nan" not in html


def test_real_data_shows_no_borrowers_and_no_synthetic_label(slim):
    text = Page(render_report(replace(slim, run=replace(slim.run, synthetic=False)))).text
    assert "Workshop" not in text and "Synthetic data" not in text


def test_sums_without_masks_are_called_out(slim):
    assert "Secure sums OFF" not in Page(render_report(slim)).text
    insecure = replace(slim, run=replace(slim.run, secure=False))
    assert "Secure sums OFF" in Page(render_report(insecure)).text


def test_only_the_twelve_most_important_shapes(results):
    assert len(results.shapes) == 13
    least = min(results.shapes, key=lambda s: s.importance)
    html = render_report(replace(results, pairs=()))
    assert html.count('class="plot shape en"') == 12
    assert least.label.en not in Page(html).text


def test_the_same_results_give_the_same_file(results, html, tmp_path):
    set_language("en")
    path = tmp_path / "deep" / "report.html"
    write_report(results, path)
    assert path.read_text(encoding="utf-8") == html
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_an_unwritable_place_is_told(slim, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="H2690"):
        write_report(slim, tmp_path / "file" / "report.html")
