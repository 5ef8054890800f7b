"""Render results as one HTML file that opens offline, in both languages."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from haihe_fl.errors import UserError
from haihe_fl.i18n import Text, language
from haihe_fl.reports import charts
from haihe_fl.reports.guide import advice, guide
from haihe_fl.reports.means import mean_auc
from haihe_fl.reports.results import BudgetLine, DemoResults, Label, both
from haihe_fl.reports.shape_charts import pair_chart, shape_chart
from haihe_fl.reports.svg import inline_svg
from haihe_fl.reports.units import unit_title
from haihe_fl.reports.words import GLOSSARY, THREAT_MODEL, findings

SHAPES, PAIRS = 12, 6


def dual(label: Label) -> Markup:
    """Return a label as HTML: once if both languages agree, else a span for each."""
    text = both(label)
    if text.en == text.zh:
        return escape(text.en)
    return Markup(
        '<span class="en" lang="en">{}</span><span class="zh" lang="zh">{}</span>'
    ).format(text.en, text.zh)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for print; a dash where there is none.

    Examples
    --------
    >>> number(-0.12345), number(12345.6, 0), number(float("nan"))
    ('−0.123', '12,346', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in per cent."""
    return "–" if value is None or not math.isfinite(value) else f"{number(100 * value, digits)}%"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Return an interval, or nothing where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def money(value: float) -> Text:
    """Return an amount in CNY, in the units that each language counts in.

    Examples
    --------
    >>> money(1.234e9)
    Text(en='CNY 1.23 bn', zh='12.34 亿元')
    """
    if not math.isfinite(value):
        return Text(en="–", zh="–")
    size = abs(value)
    en = f"{number(value / 1e9, 2)} bn" if size >= 1e9 else f"{number(value / 1e6, 1)} m"
    zh = f"{number(value / 1e8, 2)} 亿元" if size >= 1e8 else f"{number(value / 1e4, 0)} 万元"
    return Text(en=f"CNY {en}", zh=zh)


def small(value: float) -> str:
    """Return a small probability.

    Examples
    --------
    >>> small(1e-5)
    '1e-5'
    """
    return re.sub(r"e([+-])0+", r"e\1", f"{value:.3g}") if value < 1e-3 else f"{value:.3g}"


def size(count: float) -> str:
    """Return a number of bytes.

    Examples
    --------
    >>> size(83_000), size(2_140_000)
    ('83 KB', '2.1 MB')
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"


def chart_numbering() -> Callable[[Label, str, Label], Markup]:
    """Return the template's ``chart``: numbers every SVG so that no two share an id."""
    count = 0

    def chart(svg: Label, kind: str, title: Label) -> Markup:
        nonlocal count
        drawn, names = both(svg), both(title)
        versions = {"en": (drawn.en, names.en)}
        if drawn.zh != drawn.en:
            versions["zh"] = (drawn.zh, names.zh)
        out = Markup()
        for lang, (source, name) in versions.items():
            count += 1
            # inline_svg keeps only what is harmless and serialises it anew.
            body = Markup(inline_svg(source, f"{kind}{count}", name))
            only = f" {lang}" if len(versions) > 1 else ""
            out += Markup('<div class="plot {}{}">{}</div>').format(kind, only, body)
        return out

    return chart


def environment() -> Environment:
    """Return the templates with the filters that reports share."""
    made = Environment(
        loader=PackageLoader("haihe_fl.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        dual=dual,
        number=number,
        percent=percent,
        size=size,
        small=small,
        unit=lambda v: dual(unit_title(v)),
        money=lambda v: dual(money(v)),
    )
    made.globals.update(
        interval=interval,
        t=lambda en, zh: dual(Text(en=en, zh=zh)),
        text=lambda en, zh: Text(en=en, zh=zh),
    )
    return made


def _budgets(budgets: tuple[BudgetLine, ...]) -> tuple[BudgetLine, ...]:
    """Return the budgets to show: a single line where they are many and all the same."""
    if len(budgets) < 6 or len({(b.spent, b.reserved, b.cap) for b in budgets}) > 1:
        return budgets
    every = Text(en=f"Each of the {len(budgets)} institutions", zh=f"{len(budgets)} 家机构均为")
    return (replace(budgets[0], name=every),)


def render_report(results: DemoResults) -> str:
    """Return the report as HTML.

    Nothing in it is fetched: styles, script and charts are inside, and a content security policy
    forbids everything else. It opens in the language in force and carries both.
    """
    shapes = sorted(results.shapes, key=lambda s: -s.importance)[:SHAPES]
    pairs = sorted(results.pairs, key=lambda p: -p.importance)[:PAIRS]
    pooled = results.comparison.pooled
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            r=results,
            lang=language(),
            findings=findings(results),
            within=mean_auc(results.institutions),
            budgets=_budgets(results.privacy.budgets),
            guide=guide(results),
            advice=advice(results),
            threat_model=results.privacy.threat_model or THREAT_MODEL,
            glossary=GLOSSARY,
            chart=chart_numbering(),
            institution_chart=charts.institution_chart(results.institutions, pooled),
            calibration_chart=(
                charts.calibration_chart(results.validation.calibration)
                if results.validation
                else ""
            ),
            trace_chart=charts.trace_chart(results.trace, results.stages) if results.trace else "",
            shapes=[(s, shape_chart(s)) for s in shapes],
            pairs=[(p, pair_chart(p)) for p in pairs],
        )
    )


def write_report(results: DemoResults, path: Path) -> None:
    """Write the report to a file; it is replaced in one step, never half-written.

    Raises
    ------
    UserError
        H2690 if the file cannot be written.
    """
    html = render_report(results)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(html, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(
            "H2690",
            en=f"cannot write the report {path}: {error.strerror}; choose another folder",
            zh=f"无法写入报告 {path}：{error.strerror}；请另选文件夹",
        ) from None
