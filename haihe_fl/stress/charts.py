"""Charts of stress results, as SVG text that a browser draws, Chinese included."""

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.scenarios import grade_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Painter = Callable[[Figure], None]
Results = Sequence[StressResult]

SECTORS_ZH: dict[str, str] = {
    "auto_parts": "汽车零部件",
    "biomedicine": "生物医药",
    "equipment_mfg": "装备制造",
    "petrochem": "石油化工",
    "electronics_ict": "电子信息",
    "aerospace": "航空航天",
    "new_energy": "新能源",
    "logistics_port": "港口物流",
    "cross_border_trade": "跨境贸易",
    "agri_food": "农业食品",
    "construction_materials": "建筑建材",
    "services_retail": "服务零售",
}
_FONTS = "'DejaVu Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"


def sector_label(sector: str) -> str:
    """Name of a sector in the language in force."""
    return tr(sector.replace("_", " "), SECTORS_ZH.get(sector, sector))


def heatmap_svg(results: Results) -> str:
    """Draw scenario by sector: the worst mean PD as a multiple of that before the shock."""
    paint, height = _heat(results)
    return _draw(paint, 9, height)


def loss_svg(results: Results) -> str:
    """Draw losses: bars over scenarios, or for a single one its course by quarter.

    The bars split the expected loss of all quarters into what a quiet economy would lose and
    what the scenario adds; the tick is the worst one-year loss at the confidence level.
    """
    paint, height = _loss(results)
    return _draw(paint, 9, height)


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
            path.write_text(_draw(paint, 9, height), encoding="utf-8")
        case ".png":
            path.write_bytes(_render(paint, 9, height, "png"))
        case other:
            raise UserError(
                "H2531",
                en=f"cannot draw {path.name}: {other or 'no suffix'}; name it .svg or .png",
                zh=f"无法绘制 {path.name}:{other or '没有后缀'};请用 .svg 或 .png",
            )


def _heat(results: Results) -> "tuple[Painter, float]":
    ratio = np.stack([_multiple(r) for r in results])
    labels = [f"{r.name} [{grade_label(r.grade)}]" for r in results]
    return (lambda figure: _heatmap(figure, ratio, results, labels)), 2 + 0.3 * len(results)


def _loss(results: Results) -> "tuple[Painter, float]":
    if len(results) == 1:
        return (lambda figure: _course(figure, results[0])), 4.5
    return (lambda figure: _bars(figure, results)), 2 + 0.32 * len(results)


def _multiple(result: StressResult) -> Any:
    start = result.mean_pd_start("sector")
    peak = result.mean_pd("sector").max(axis=1)
    return np.divide(peak, start, out=np.full_like(peak, np.nan), where=start > 0)


def _heatmap(figure: "Figure", ratio: Any, results: Results, labels: Any) -> None:
    axes = figure.subplots()
    image = axes.imshow(ratio, aspect="auto", cmap="YlOrRd", vmin=1.0)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    sectors = [sector_label(s) for s in results[0].sectors]
    axes.set_xticks(range(len(sectors)), sectors, rotation=40, ha="right", fontsize=8)
    dark = 1.0 + 0.6 * (np.nanmax(ratio, initial=1.0) - 1.0)
    for (i, j), value in np.ndenumerate(ratio):
        if np.isfinite(value):
            colour = "white" if value > dark else "black"
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_title(tr("Worst mean PD, multiple of start", "最差平均 PD(相对期初倍数)"), fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.6)


def _bars(figure: "Figure", results: Results) -> None:
    axes = figure.subplots()
    ranked = sorted(results, key=lambda r: float(r.total("el").sum()))
    quiet = np.array([r.baseline_el.sum() for r in ranked]) / 1e8
    whole = np.array([r.total("el").sum() for r in ranked]) / 1e8
    tail = np.array([r.total("loss_tail").max() for r in ranked]) / 1e8
    y = np.arange(len(ranked))
    axes.barh(y, np.minimum(quiet, whole), color="#b0bec5", label=tr("quiet economy", "平稳情形"))
    added = np.maximum(whole - quiet, 0.0)
    axes.barh(y, added, left=quiet, color="#c62828", label=tr("added by scenario", "情景增量"))
    level = f"{100 * ranked[0].settings.confidence:g} %"
    axes.plot(
        tail, y, "k|", label=tr(f"worst one-year loss at {level}", f"一年期 {level} 最大损失")
    )
    axes.set_yticks(y, [f"{r.name} [{grade_label(r.grade)}]" for r in ranked], fontsize=8)
    axes.set_xlabel(tr("expected loss, CNY 100 million", "预期损失(亿元)"))
    axes.legend(fontsize=8, loc="lower right")


def _course(figure: "Figure", result: StressResult) -> None:
    axes = figure.subplots()
    t = np.arange(1, result.quarters + 1)
    whole = np.cumsum(result.total("el")) / 1e8
    quiet = np.cumsum(result.baseline_el.sum(axis=(0, 1))) / 1e8
    tail = result.total("loss_tail") / 1e8
    axes.plot(t, whole, color="#c62828", label=tr("expected loss, cumulative", "累计预期损失"))
    axes.plot(t, quiet, color="#607d8b", label=tr("quiet economy", "平稳情形"))
    axes.fill_between(t, quiet, whole, color="#c62828", alpha=0.15)
    level = f"{100 * result.settings.confidence:g} %"
    axes.plot(t, tail, "k:", label=tr(f"one-year loss at {level}", f"一年期 {level} 损失"))
    axes.set_xlabel(tr("quarter", "季度"))
    axes.set_ylabel(tr("CNY 100 million", "亿元"))
    axes.set_title(f"{result.name} [{grade_label(result.grade)}]", fontsize=10)
    axes.legend(fontsize=8)


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
        style = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "haihe"})
        with style, warnings.catch_warnings():
            # The browser has the Chinese font; the machine that lays the text out may not.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure = Figure(figsize=(width, height), layout="constrained")
            paint(figure)
            figure.savefig(buffer, format=kind, metadata=metadata)
    finally:
        fonts.setLevel(level)
    return buffer.getvalue()
