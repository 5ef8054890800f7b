"""Small charts of an additive model: the effect of one feature, and of two together."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from haihe_fl.i18n import Language, Text, shorten, text_width
from haihe_fl.reports.charts import FEDERATED, GRID, INK, LOCAL, MUTED, POOLED, axes, in_both
from haihe_fl.reports.results import FeatureShape, Label, PairShape, Tick, say
from haihe_fl.reports.units import tick_labels

WIDTH, HEIGHT, SIZE = 3.0, 1.75, 8.0
"""Of a small chart in inches, and of its type in points."""
ROWS = 10
"""Most categories shown; of more, those that move the score most."""
MISSING = Text(en="NA", zh="缺失")


def shape_chart(shape: FeatureShape) -> Text:
    """Draw one feature's effect: steps over the bins of a number, bars over categories."""
    if shape.categories is None:
        return in_both(WIDTH, HEIGHT, lambda figure, lang: _steps(figure, shape, lang))
    bars = _bars(shape)
    height = max(HEIGHT, 0.4 + 0.165 * len(bars))
    return in_both(WIDTH, height, lambda figure, lang: _categories(figure, bars, lang))


def _steps(figure: Figure, shape: FeatureShape, language: Language) -> None:
    """Every bin as wide as the next, the missing bin set apart."""
    ax = axes(figure, 0.45, 0.26, 0.08, 0.08)
    n = len(shape.values)
    ax.axhline(0, color=POOLED, lw=0.8)
    ax.stairs(list(shape.values), list(range(n + 1)), color=FEDERATED, lw=1.6, baseline=None)
    edges = shape.edges or ()
    left = -0.22 * n if shape.missing is not None else 0.0
    marks: list[tuple[float, str]] = []
    if shape.missing is not None:
        ax.axvline(-0.06 * n, color=GRID, lw=1)
        ax.plot(-0.14 * n, shape.missing, "D", color=MUTED, ms=4.5)
        marks.append((-0.14 * n, say(MISSING, language)))
    at = sorted({round(k * n / 4) for k in (1, 2, 3)} & set(range(1, len(edges) + 1)))
    texts = tick_labels([edges[k - 1] for k in at], shape.unit, language)
    marks += [(float(k), text) for k, text in zip(at, texts, strict=True)]
    room = (WIDTH - 0.53) / (n - left)
    marks = _apart(marks, room)
    ax.set_xticks([x for x, _ in marks], [text for _, text in marks])
    ax.set_xlim(left, n)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.2g}".replace("-", "−"))
    ax.tick_params(labelsize=SIZE)
    ax.grid(axis="y")


def _apart(marks: Sequence[tuple[float, str]], room: float) -> list[tuple[float, str]]:
    """Drop labels that would touch, or repeat, the one before; ``room`` is inches a unit."""
    kept: list[tuple[float, str]] = []
    for at, text in marks:
        if kept:
            before, last = kept[-1]
            need = (text_width(last, SIZE) + text_width(text, SIZE)) / 2 + 0.08
            if text == last or (at - before) * room < need:
                continue
        kept.append((at, text))
    return kept


def _bars(shape: FeatureShape) -> list[tuple[Label, float] | None]:
    """Return the bars from top to bottom; None stands for those left out."""
    every = list(zip(shape.categories or (), shape.values, strict=True))
    bars: list[tuple[Label, float] | None] = list(every)
    if len(every) > ROWS:
        ranked = sorted(every, key=lambda bar: -bar[1])
        bars = [*ranked[: ROWS // 2], None, *ranked[-ROWS // 2 :]]
    if shape.missing is not None:
        bars.append((MISSING, shape.missing))
    return bars


def _categories(
    figure: Figure, bars: Sequence[tuple[Label, float] | None], language: Language
) -> None:
    names = ["…" if b is None else shorten(say(b[0], language), 1.25, SIZE) for b in bars]
    ax = axes(figure, 0.12 + max(text_width(name, SIZE) for name in names), 0.26, 0.1, 0.06)
    values = [0.0 if b is None else b[1] for b in bars]
    colors = [
        MUTED if b is not None and b[0] is MISSING else LOCAL if v > 0 else FEDERATED
        for b, v in zip(bars, values, strict=True)
    ]
    ax.barh(range(len(bars)), values, height=0.68, color=colors)
    ax.axvline(0, color=POOLED, lw=0.8)
    ax.set_yticks(range(len(bars)), names)
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:.2g}".replace("-", "−"))
    ax.tick_params(labelsize=SIZE)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")


def pair_chart(pair: PairShape) -> Text:
    """Heat map of a pair: warm raises risk, cool lowers it."""
    most = max((abs(v) for row in pair.values for v in row), default=0.0) or 1.0

    def draw(figure: Figure, language: Language) -> None:
        y = [shorten(say(t.text, language), 1.35, SIZE) for t in pair.y_ticks]
        x = [shorten(say(t.text, language), 0.95, SIZE) for t in pair.x_ticks]
        slanted = _crowded(pair.x_ticks, x, len(pair.values[0]))
        below = 0.16 + 0.72 * max(map(_width, x), default=0.0) if slanted else 0.26
        ax = axes(figure, 0.14 + max(map(_width, y), default=0.0), below, 0.12, 0.06)
        scale = TwoSlopeNorm(0, -most, most)
        ax.pcolormesh(pair.values, cmap="RdBu_r", norm=scale, edgecolors="white", lw=0.5)
        ax.set_yticks([t.at for t in pair.y_ticks], y)
        turned: dict[str, Any] = (
            {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        )
        ax.set_xticks([t.at for t in pair.x_ticks], x, **turned)
        ax.tick_params(length=2, labelsize=SIZE)
        for side in ax.spines.values():
            side.set_visible(False)

    return in_both(WIDTH, 2.35, draw)


def _width(text: str) -> float:
    return text_width(text, SIZE)


def _crowded(ticks: Sequence[Tick], texts: Sequence[str], cells: int) -> bool:
    """Whether labels would touch if they stood level."""
    room = (WIDTH - 1.0) / max(cells, 1)
    gaps = [(b.at - a.at) * room for a, b in pairwise(ticks)]
    return max(map(_width, texts), default=0.0) + 0.06 > min(gaps, default=math.inf)
