"""The stress report: one HTML file that opens offline, in both languages; or a PDF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haihe_fl.errors import UserError
from haihe_fl.i18n import Language, Text, language
from haihe_fl.reports import stress_charts as charts
from haihe_fl.reports.report import chart_numbering, environment
from haihe_fl.reports.results import Label, say
from haihe_fl.stress.chain_results import LEVELS, ChainResult
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.scenarios import GRADES

CJK = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei")


@dataclass(frozen=True, eq=False)
class StressReport:
    """What a stress report shows.

    Attributes
    ----------
    results : sequence of StressResult
        All scenarios, at least one.
    chain : ChainResult
        The one in detail.
    data : Label
        What the rows are called.
    synthetic : bool
        Whether they are made up.
    names, sectors : mapping of str to Label
        Names of institutions and sectors, by id.
    """

    results: Sequence[StressResult]
    chain: ChainResult
    data: Label
    synthetic: bool
    names: Mapping[str, Label] = field(default_factory=dict)
    sectors: Mapping[str, Label] = field(default_factory=dict)

    def drawings(self) -> dict[str, charts.Drawing]:
        """Return the drawings that the chain's steps allow, by name."""
        chain = self.chain
        found = {"heat": charts.heat_map(self.results, self.names)}
        if chain.losses is not None:
            found["fan"] = charts.fan_chart(chain.losses, chain.expected)
        if chain.contagion is not None:
            found["net"] = charts.network_picture(chain.contagion.picture, self.sectors)
        if chain.pool is not None:
            found["pool"] = charts.pool_chart(chain.pool, LEVELS)
        if chain.capital is not None:
            whole = chain.capital.network
            found["fall"] = charts.waterfall_chart(whole, chain.capital.minimum)
        return found

    def bearers(self) -> list[tuple[Text, float]]:
        """Return who bears the expected loss, CNY."""
        pool = self.chain.pool
        if pool is None:
            return []
        return [
            (Text(en="pool", zh="保险池"), pool.paid),
            (Text(en="banks", zh="银行"), pool.bank),
            (Text(en="guarantors", zh="担保机构"), pool.guarantor),
            (Text(en="government", zh="政府"), pool.government),
            (Text(en="not insured", zh="未投保"), pool.uninsured),
            (Text(en="claims not settled yet", zh="尚未结算"), pool.outstanding),
        ]


def render_stress_report(report: StressReport) -> str:
    """Return the report as HTML; nothing in it is fetched."""
    chain, first = report.chain, report.results[0]
    name = chain.stress["name"]
    rows = sorted((r.summary() for r in report.results), key=lambda s: -s["expected_loss"])
    context: dict[str, Any] = {
        "r": report,
        "c": chain,
        "first": first,
        "lang": language(),
        "scenario": Text(en=name["en"], zh=name["zh"]),
        "rows": rows,
        "grades": {grade: Text(en=grade, zh=zh) for grade, zh in GRADES.items()},
        "names": report.names,
        "parts": list(chain.capital.network.waterfall) if chain.capital else [],
        "part_names": charts.PARTS,
        "bearers": report.bearers(),
        "chart": chart_numbering(),
        **report.drawings(),
    }
    return environment().get_template("stress.html.j2").render(**context)


def write_stress_report(report: StressReport, path: Path) -> None:
    """Write the HTML report; ``UserError`` H2690 if the file cannot be written."""
    html = render_stress_report(report)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(html, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise _unwritten(path, error) from None


def write_stress_pdf(report: StressReport, path: Path) -> Language:
    """Write charts and the table of scenarios as a PDF, a page each; return its language.

    It is in the language in force, or in English where no Chinese font is installed.
    """
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    fonts = [name for name in CJK if name in installed]
    spoken: Language = language() if fonts else "en"
    style: dict[Any, Any] = {
        **charts.style(),
        "font.family": [*fonts, "DejaVu Sans"],
        "pdf.fonttype": 42,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"Title": f"Haihe FL {report.chain.run_id}", "CreationDate": None}
        with matplotlib.rc_context(style), PdfPages(path, metadata=facts) as pdf:
            for figure in _tables(report, spoken):
                pdf.savefig(figure)
            for drawing in report.drawings().values():
                figure = Figure(figsize=(drawing.width, drawing.height))
                drawing.draw(figure, spoken)
                pdf.savefig(figure, bbox_inches="tight", pad_inches=0.4)
    except OSError as error:
        raise _unwritten(path, error) from None
    return spoken


def _tables(report: StressReport, spoken: Language) -> list[Any]:
    """Return the pages of text: the run, and scenarios with evidence and sigma."""
    from matplotlib.figure import Figure

    zh, chain = spoken == "zh", report.chain
    name = chain.stress["name"]["zh" if zh else "en"]
    head = [
        "压力测试报告" if zh else "Stress test report",
        say(report.data, spoken),
        f"{'详示情景' if zh else 'Scenario in detail'}: {name}",
        f"{'模型' if zh else 'Model'}: {report.results[0].model_name}",
        f"{'运行' if zh else 'Run'}: {chain.run_id}, {chain.stress_id}",
        *(say(note, spoken) for note in chain.notes),
    ]
    lines = []
    for s in sorted((r.summary() for r in report.results), key=lambda s: -s["expected_loss"]):
        grade = GRADES[s["grade"]] if zh else s["grade"]
        lines.append(
            (
                s["name"]["zh" if zh else "en"],
                f"{s['sigma']:.2f}",
                grade,
                f"{s['expected_loss'] / 1e8:,.2f}",
                f"{s['loss_rate']:.1%}",
                s["run_id"],
            )
        )
    titles = (
        ("情景", "σ", "证据等级", "预期损失(亿元)", "占敞口", "运行编号")
        if zh
        else ("Scenario", "sigma", "evidence", "loss, CNY 100m", "of exposure", "run")
    )
    figure = Figure(figsize=(10.2, 2.6 + 0.24 * len(lines)))
    height = float(figure.get_size_inches()[1])
    for k, line in enumerate(head):
        figure.text(0.05, 1 - (0.4 + 0.25 * k) / height, line, fontsize=14 if k == 0 else 9)
    ax = figure.add_axes((0.05, 0.02, 0.9, 1 - 2.2 / height))
    ax.set_axis_off()
    table = ax.table(lines, colLabels=titles, loc="upper left", cellLoc="left", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    table.auto_set_column_width(list(range(len(titles))))
    return [figure]


def _unwritten(path: Path, error: OSError) -> UserError:
    return UserError(
        "H2690",
        en=f"cannot write the report {path}: {error.strerror}; choose another folder",
        zh=f"无法写入报告 {path}：{error.strerror}；请另选文件夹",
    )
