"""Charts of stress results, as SVG text that a browser draws, Chinese included."""

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from haihe_fl.data.titles import sector_title
from haihe_fl.errors import UserError
from haihe_fl.i18n import shorten, text_width, tr
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.scenarios import grade_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Painter = Callable[[Figure], None]
Results = Sequence[StressResult]

WIDTH, SIZE = 10.2, 9.0
"""Of a chart in inches: that of a report's page; of its type in points."""
INK, MUTED, QUIET, ADDED = "#1b2733", "#5c6873", "#b4bfc8", "#b8443c"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "haihe",
    "font.size": SIZE,
    "axes.titlesize": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": "#e4e8ec",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": SIZE,
}

_FONTS = "'DejaVu Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"


def sector_label(sector: str) -> str:
    """Name of a sector in the language in force."""
    return str(sector_title(sector))


def heatmap_svg(results: Results) -> str:
    """Draw scenario by sector: the worst mean PD as a multiple of that before the shock."""
    paint, height = _heat(results)
    return _draw(paint, WIDTH, height)


def loss_svg(results: Results) -> str:
    """Draw losses: bars over scenarios, or for a single one its course by quarter.

    The bars split the expected loss of all quarters into what a quiet economy would lose and
    what the scenario adds; the tick is the worst one-year loss at the confidence level. The
    lower axis is in CNY 100 million, the upper one in per cent of the exposure.
    """
    paint, height = _loss(results)
    return _draw(paint, WIDTH, height)


def write_chart(path: Path, kind: Literal["loss", "heatmap"], results: Results) -> None:
    """Write a chart as SVG or, by the suffix, as PNG (where boxes stand for missing glyphs).

    Raises
    ------
    UserError
        H2531 if the suffix is neither.
    """
    paint, height = _loss(results) if kind == "loss" else _heat(results)
    match path.suffix.lower():
        case ".svg":
            path.write_text(_draw(paint, WIDTH, height), encoding="utf-8")
        case ".png":
            path.write_bytes(_render(paint, WIDTH, height, "png"))
        case other:
            raise UserError(
                "H2531",
                en=f"cannot draw {path.name}: {other or 'no suffix'}; name it .svg or .png",
                zh=f"无法绘制 {path.name}:{other or '没有后缀'};请用 .svg 或 .png",
            )


def _heat(results: Results) -> "tuple[Painter, float]":
    ratio = np.stack([_multiple(r) for r in results])
    return (lambda figure: _heatmap(figure, ratio, results)), 1.2 + 0.27 * len(results)


def _loss(results: Results) -> "tuple[Painter, float]":
    if len(results) == 1:
        return (lambda figure: _course(figure, results[0])), 4.2
    return (lambda figure: _bars(figure, results)), 1.5 + 0.27 * len(results)


def _multiple(result: StressResult) -> Any:
    start = result.mean_pd_start("sector")
    peak = result.mean_pd("sector").max(axis=1)
    return np.divide(peak, start, out=np.full_like(peak, np.nan), where=start > 0)


def _axes(figure: "Figure", left: float, bottom: float, right: float, top: float) -> "Axes":
    """Add axes with margins in inches: the browser sets the text, so it is measured here."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, 1 - (left + right) / w, 1 - (bottom + top) / h))


def _rows(results: Results) -> list[str]:
    return [f"{shorten(r.name, 2.8, SIZE)} [{grade_label(r.grade)}]" for r in results]


def _margin(labels: list[str]) -> float:
    return 0.15 + max(text_width(label, SIZE) for label in labels)


def _heatmap(figure: "Figure", ratio: Any, results: Results) -> None:
    held = ~np.isnan(ratio).all(axis=0)  # sectors without a borrower have no column
    ratio = ratio[:, held]
    labels = _rows(results)
    axes = _axes(figure, _margin(labels), 0.1, 0.9, 1.1)
    axes.imshow(ratio, aspect="auto", cmap="YlOrRd", vmin=1.0)
    axes.set_yticks(range(len(labels)), labels)
    sectors = [
        shorten(sector_label(s), 1.9, SIZE)
        for s, there in zip(results[0].sectors, held, strict=True)
        if there
    ]
    axes.xaxis.tick_top()
    turn: dict[str, Any] = {"rotation": 35, "ha": "left", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(sectors)), sectors, **turn)
    axes.tick_params(length=0, labelcolor=INK)
    dark = 1.0 + 0.6 * (np.nanmax(ratio, initial=1.0) - 1.0)
    for (i, j), value in np.ndenumerate(ratio):
        if np.isfinite(value):
            colour = "white" if value > dark else INK
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=8, color=colour)
    for side in axes.spines.values():
        side.set_visible(False)


def _bars(figure: "Figure", results: Results) -> None:
    ranked = sorted(results, key=lambda r: float(r.total("el").sum()))
    labels = _rows(ranked)
    axes = _axes(figure, _margin(labels), 0.5, 0.25, 0.85)
    quiet = np.array([r.baseline_el.sum() for r in ranked]) / 1e8
    whole = np.array([r.total("el").sum() for r in ranked]) / 1e8
    tail = np.array([r.total("loss_tail").max() for r in ranked]) / 1e8
    y = np.arange(len(ranked))
    axes.barh(
        y,
        np.minimum(quiet, whole),
        height=0.66,
        color=QUIET,
        label=tr("expected loss of a quiet economy", "平稳情形的预期损失"),
    )
    axes.barh(
        y,
        np.maximum(whole - quiet, 0.0),
        left=quiet,
        height=0.66,
        color=ADDED,
        label=tr("added by the scenario", "情景增量"),
    )
    level = f"{100 * ranked[0].settings.confidence:g} %"
    axes.plot(
        tail,
        y,
        "|",
        color=INK,
        ms=9,
        mew=1.8,
        label=tr(f"worst one-year loss at {level}", f"一年期 {level} 最大损失"),
    )
    axes.set_yticks(y, labels)
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    most = 1.04 * max(float(whole.max()), float(tail.max()), 1e-9)
    axes.set_xlim(0, most)
    years = f"{ranked[0].quarters / 4:g}"
    axes.set_xlabel(tr(f"CNY 100 million, {years} years", f"{years} 年合计,亿元"))
    exposure = float(ranked[0].opening("exposure")) / 1e8
    if exposure > 0:
        share = axes.secondary_xaxis(
            "top",
            functions=(
                lambda v: 100 * np.asarray(v) / exposure,
                lambda v: np.asarray(v) * exposure / 100,
            ),
        )
        share.xaxis.set_major_formatter(lambda v, _: f"{v:g}%")
        share.set_xlabel(tr("of the exposure", "占敞口比例"))
        share.spines["top"].set_visible(False)
        share.tick_params(length=0)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    tick, *bars = axes.get_legend_handles_labels()[0]
    figure.legend(handles=[*bars, tick], loc="upper left", ncols=3)


def _course(figure: "Figure", result: StressResult) -> None:
    axes = _axes(figure, 0.8, 0.55, 0.3, 0.75)
    t = np.arange(1, result.quarters + 1)
    whole = np.cumsum(result.total("el")) / 1e8
    quiet = np.cumsum(result.baseline_el.sum(axis=(0, 1))) / 1e8
    tail = result.total("loss_tail") / 1e8
    axes.plot(t, whole, color=ADDED, label=tr("expected loss, cumulative", "累计预期损失"))
    axes.plot(t, quiet, color="#607d8b", label=tr("quiet economy", "平稳情形"))
    axes.fill_between(t, quiet, whole, color=ADDED, alpha=0.15)
    level = f"{100 * result.settings.confidence:g} %"
    axes.plot(
        t, tail, ":", color=INK, label=tr(f"one-year loss at {level}", f"一年期 {level} 损失")
    )
    axes.set_xlabel(tr("quarter", "季度"))
    axes.set_ylabel(tr("CNY 100 million", "亿元"))
    axes.set_xticks(t)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_title(f"{result.name} [{grade_label(result.grade)}]", loc="left", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3)


def _draw(paint: "Painter", width: float, height: float) -> str:
    text = _render(paint, width, height, "svg").decode()
    return text[text.index("<svg") :].replace("'DejaVu Sans'", _FONTS)


def _render(paint: "Painter", width: float, height: float, kind: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    buffer = io.BytesIO()
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            # The browser has the Chinese font; the machine that lays the text out may not.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure = Figure(figsize=(width, height))
            paint(figure)
            figure.savefig(buffer, format=kind, metadata=metadata)
    finally:
        fonts.setLevel(level)
    return buffer.getvalue()
