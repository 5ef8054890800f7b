"""Charts as SVG text: figure objects of their own, no global plotting state, no date."""

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, NullFormatter

from haihe_fl.evaluation.calibration import CalibrationBin
from haihe_fl.i18n import LANGUAGES, Language, Text, shorten, text_width
from haihe_fl.reports.results import Estimate, InstitutionResult, say

INK, MUTED, GRID = "#1b2733", "#5c6873", "#e4e8ec"
FEDERATED, LOCAL, POOLED, BAND = "#1d5f8a", "#b8651b", "#7a8691", "#eef3f7"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, and set in the page's own fonts
    "svg.hashsalt": "haihe",
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.usetex": False,
    "text.parse_math": False,  # a name with dollar signs is a name
}

Draw = Callable[[Figure, Language], None]


def svg(width: float, height: float, draw: Draw, language: Language) -> str:
    """Draw a figure of a size in inches and return it as SVG, the same bytes every time."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The browser sets the text; whether matplotlib's font has the glyph does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height))
        draw(figure, language)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def in_both(width: float, height: float, draw: Draw) -> Text:
    """Draw a figure once in each language."""
    drawn = {language: svg(width, height, draw, language) for language in LANGUAGES}
    return Text(en=drawn["en"], zh=drawn["zh"])


def axes(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Add axes with margins in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, 1 - (left + right) / w, 1 - (bottom + top) / h))


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}".replace("-", "−")


def _error(ax: Axes, e: Estimate, y: float, color: str, least: float) -> None:
    """Draw an interval; one that goes on beyond the axis ends in an arrow head."""
    if e.low is None or e.high is None or not math.isfinite(e.low):
        return
    low, high = max(e.low, least), min(e.high, 1.0)
    ax.plot([low, high], [y, y], color=color, lw=1.6, solid_capstyle="round", alpha=0.55)
    if e.low < least:
        ax.plot(least, y, "<", ms=5, color=color, clip_on=False, alpha=0.8)


def _least(rows: Sequence[InstitutionResult]) -> float:
    """Return where the AUC axis begins: at .4, or below the lowest point."""
    points = [e.value for r in rows for e in (r.federated, r.local) if math.isfinite(e.value)]
    return max(min(0.4, math.floor(10 * (min(points, default=1.0) - 0.02)) / 10), 0.0)


def institution_chart(rows: Sequence[InstitutionResult], pooled: Estimate | None) -> Text:
    """Dots with intervals: federated against local-only, by institution; pooled as a line."""
    least = _least(rows)

    def draw(figure: Figure, language: Language) -> None:
        names = [shorten(say(r.name, language), 2.6) for r in rows]
        ax = axes(figure, 0.25 + max(map(text_width, names), default=0.5), 0.5, 0.2, 0.1)
        for i, row in enumerate(rows):
            for e, dy, color, filled in (
                (row.local, 0.15, LOCAL, False),
                (row.federated, -0.15, FEDERATED, True),
            ):
                if not math.isfinite(e.value):
                    continue
                _error(ax, e, i + dy, color, least)
                face = color if filled else "white"
                ax.plot(e.value, i + dy, "o", ms=6, mfc=face, mec=color, mew=1.6)
            if why := _unjudged(row):
                ax.text(least + 0.01, i, say(why, language), va="center", size=8, color=MUTED)
        if pooled is not None and math.isfinite(pooled.value):
            ax.axvline(pooled.value, color=POOLED, lw=1.2, ls=(0, (4, 3)))
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xlim(least, 1.012)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.xaxis.set_major_locator(MultipleLocator(0.1))
        ax.xaxis.set_major_formatter(_plain)
        ax.grid(axis="x")
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("AUC")

    return in_both(10.2, 0.7 + 0.42 * max(len(rows), 1), draw)


def _unjudged(row: InstitutionResult) -> Text | None:
    if not math.isfinite(row.federated.value):
        return Text(
            en="test records of one class only: no AUC", zh="测试记录只有一类标签：无法计算 AUC"
        )
    if not math.isfinite(row.local.value):
        return Text(en="too few records for a local model", zh="记录过少，无法训练本地模型")
    return None


def calibration_chart(table: Sequence[CalibrationBin]) -> Text:
    """Observed default rate against predicted PD, with intervals and the diagonal."""

    def draw(figure: Figure, language: Language) -> None:
        zh = language == "zh"
        ax = axes(figure, 0.75, 0.6, 0.15, 0.15)
        ends = [b.predicted for b in table] + [min(b.interval.high, 1.0) for b in table]
        most = 1.08 * max(ends, default=0.5) or 0.1
        ax.plot([0, most], [0, most], color=POOLED, lw=1.1, ls=(0, (4, 3)))
        for b in table:
            ax.plot([b.predicted] * 2, list(b.interval), color=FEDERATED, lw=1.6, alpha=0.5)
        ax.plot(
            [b.predicted for b in table],
            [b.observed for b in table],
            "o-",
            color=FEDERATED,
            ms=5,
            lw=1.0,
        )
        ax.set_xlim(0, most)
        ax.set_ylim(0, most)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6))
            axis.set_major_formatter(lambda v, _: f"{100 * v:.3g}%")
        ax.grid()
        ax.set_xlabel("预测违约概率" if zh else "Predicted PD")
        ax.set_ylabel("实际违约率" if zh else "Observed default rate")

    return in_both(4.6, 4.2, draw)


TRACE_WORDS = {
    "step": Text(en="Step norm (log-odds)", zh="更新步长（对数几率）"),
    "noise_sd": Text(en="Noise sd per entry", zh="每个分量的噪声标准差"),
    "auc": Text(en="AUC", zh="AUC"),
    "deviance": Text(en="Deviance", zh="偏差"),
}


def trace_chart(trace: Sequence[Mapping[str, float]], stages: Sequence[str]) -> Text:
    """One panel for each figure that training leaves behind, stages shaded in turn."""
    keys = list(dict.fromkeys(k for row in trace for k in row if k != "release"))[:4]

    def draw(figure: Figure, language: Language) -> None:
        w, h = figure.get_size_inches()
        for i, key in enumerate(keys):
            each = h / len(keys)
            ax = figure.add_axes(
                (0.75 / w, (h - (i + 1) * each + 0.45) / h, 1 - 0.95 / w, (each - 0.9) / h)
            )
            x = [row.get("release", float(n + 1)) for n, row in enumerate(trace)]
            y = [row.get(key, math.nan) for row in trace]
            known = [v for v in y if math.isfinite(v) and v > 0]
            if known and max(known) > 50 * min(known):
                ax.set_yscale("log")
                y = [v if v > 0 else math.nan for v in y]
                ax.yaxis.set_minor_formatter(NullFormatter())
            ax.plot(x, y, "o-", color=FEDERATED, ms=3.2, lw=1.1)
            _shade(ax, x, stages, language)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.yaxis.set_major_formatter(_plain)
            ax.grid(axis="y")
            ax.set_title(
                say(TRACE_WORDS.get(key, key), language), loc="left", fontsize=10, color=INK, pad=14
            )
        if keys:
            ax.set_xlabel("发布序号" if language == "zh" else "Release")

    return in_both(10.2, max(1.9 * len(keys), 1.0) + 0.1, draw)


STAGES = {
    "main": Text(en="single features", zh="单特征"),
    "joint": Text(en="features and pairs", zh="特征与交互"),
    "round": Text(en="rounds", zh="各轮"),
}


def _shade(ax: Axes, x: Sequence[float], stages: Sequence[str], language: Language) -> None:
    names = [s.split("/")[0] for s in stages[: len(x)]]
    start, band = 0, "none"
    for i in range(1, len(names) + 1):
        if i == len(names) or names[i] != names[start]:
            low, high = x[start] - 0.5, x[i - 1] + 0.5
            ax.axvspan(low, high, color=band, lw=0)
            band = "none" if band == BAND else BAND
            if high - low >= 0.06 * (x[-1] - x[0] + 1):
                ax.annotate(
                    say(STAGES.get(names[start], names[start]), language),
                    ((low + high) / 2, 1.02),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    fontsize=8,
                    color=MUTED,
                )
            start = i
    if x:
        ax.set_xlim(x[0] - 0.5, x[-1] + 0.5)
