"""Charts of a stress report: drawings that serve the page and the PDF alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from haihe_fl.i18n import Language, Text, shorten, text_width
from haihe_fl.reports.charts import FEDERATED, INK, LOCAL, MUTED, POOLED, STYLE, Draw, axes, in_both
from haihe_fl.reports.results import Label, say
from haihe_fl.stress.chain_results import (
    InstitutionCapital,
    LossFigures,
    Picture,
    PoolFigures,
)
from haihe_fl.stress.results import StressResult

BAD = "#a8322d"
YI = Text(en="CNY 100 million", zh="亿元")
QUARTER = Text(en="quarter", zh="季度")
PARTS = {
    "start": Text(en="start", zh="期初"),
    "ppnr": Text(en="revenue", zh="拨备前利润"),
    "first_round": Text(en="first round", zh="首轮损失"),
    "lgd_downturn": Text(en="LGD downturn", zh="LGD 下行"),
    "contagion": Text(en="contagion", zh="传染"),
    "pool_relief": Text(en="pool relief", zh="保险池赔付"),
    "rwa": Text(en="RWA", zh="RWA 变动"),
    "end": Text(en="end", zh="期末"),
}


@dataclass(frozen=True)
class Drawing:
    """A drawing of a size in inches, not yet in any language."""

    title: Text
    width: float
    height: float
    draw: Draw

    @property
    def svg(self) -> Text:
        """The drawing as SVG, once in each language."""
        return in_both(self.width, self.height, self.draw)


def style() -> dict[Any, Any]:
    """Return matplotlib's settings for these drawings outside SVG."""
    return {**STYLE, "figure.facecolor": "white"}


def heat_map(results: Sequence[StressResult], names: Mapping[str, Label]) -> Drawing:
    """Loss over exposure, scenario by institution, worst scenario on top."""
    ranked = sorted(results, key=lambda r: -float(r.loss_rate()[-1]))
    rates = np.array([r.loss_rate("institution")[:, -1] for r in ranked])
    columns = [names.get(name, name) for name in ranked[0].institutions]

    def draw(figure: Figure, language: Language) -> None:
        rows = [shorten(r.name_zh if language == "zh" else r.name_en, 3.2) for r in ranked]
        heads = [shorten(say(c, language), 1.9) for c in columns]
        ax = axes(figure, 0.2 + max(map(text_width, rows)), 0.1, 0.85, 1.75)
        cmap = matplotlib.colormaps["OrRd"]
        ax.pcolormesh(rates, cmap=cmap, vmin=0.0, edgecolors="white", linewidth=0.6)
        most = max(float(rates.max()), 1e-12)
        for (i, j), value in np.ndenumerate(rates):
            color = "white" if value > 0.6 * most else INK
            place: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "fontsize": 6.5,
                "color": color,
            }
            ax.text(j + 0.5, i + 0.5, f"{100 * value:.0f}", **place)
        ax.set_ylim(len(rows), 0)
        ax.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=8)
        ax.xaxis.tick_top()
        ax.set_xticks(np.arange(len(heads)) + 0.5, heads, rotation=60, ha="left", fontsize=8)
        ax.tick_params(length=0, labelcolor=INK)
        for side in ax.spines.values():
            side.set_visible(False)

    title = Text(en="Loss over exposure in %, three years", zh="三年损失率(%)")
    return Drawing(title, 10.2, 2.0 + 0.25 * len(ranked), draw)


def fan_chart(losses: LossFigures, expected: Sequence[float]) -> Drawing:
    """Cumulative network loss by quarter: bands of draws, and the expected path."""
    fan = np.asarray(losses.fan) / 1e8
    at = dict(zip(losses.levels, fan, strict=True))

    def draw(figure: Figure, language: Language) -> None:
        zh = language == "zh"
        ax = axes(figure, 0.7, 0.55, 0.9, 0.15)
        t = np.arange(1, fan.shape[1] + 1)
        for low, high, alpha in ((0.05, 0.95, 0.18), (0.25, 0.75, 0.32)):
            ax.fill_between(t, at[low], at[high], color=FEDERATED, alpha=alpha, lw=0)
        ax.plot(t, at[0.5], color=FEDERATED, lw=1.8)
        ax.plot(t, np.cumsum(expected) / 1e8, color=INK, lw=1.1, ls=(0, (4, 3)))
        for level, color in ((0.99, LOCAL), (0.999, BAD)):
            ax.plot(t, at[level], color=color, lw=1.3)
            ax.text(t[-1] + 0.15, at[level][-1], f"{100 * level:g}%", color=color, va="center")
        ax.text(t[-1] + 0.15, at[0.5][-1], "50%", color=FEDERATED, va="center")
        ax.set_xticks(t)
        ax.set_ylim(bottom=0)
        ax.grid(axis="y")
        ax.set_xlabel(say(QUARTER, language))
        ax.set_ylabel(("累计损失," if zh else "Loss so far, ") + say(YI, language))

    title = Text(en="Loss of the network so far, by quarter", zh="网络累计损失")
    return Drawing(title, 10.2, 3.8, draw)


def waterfall_chart(capital: InstitutionCapital, minimum: float) -> Drawing:
    """From the opening ratio to the closing one."""
    steps = capital.waterfall

    def draw(figure: Figure, language: Language) -> None:
        ax = axes(figure, 0.7, 0.45, 0.2, 0.3)
        level = 0.0
        for k, (name, value) in enumerate(steps.items()):
            whole = name in ("start", "end")
            bottom = 0.0 if whole else level
            color = POOLED if whole else FEDERATED if value >= 0 else BAD
            ax.bar(k, 100 * value, bottom=100 * bottom, color=color, width=0.62)
            level = value if whole else level + value
            top = 100 * max(bottom, bottom + value)
            text = f"{100 * value:.1f}" if whole else f"{100 * value:+.1f}"
            ax.text(k, top + 0.15, text.replace("-", "−"), ha="center", va="bottom", fontsize=9)
        ax.axhline(100 * minimum, color=INK, lw=1.0, ls=(0, (4, 3)))
        ax.axhline(0, color=MUTED, lw=0.7)
        ax.set_xticks(range(len(steps)), [say(PARTS[name], language) for name in steps])
        ax.tick_params(axis="x", length=0, labelcolor=INK)
        ax.margins(y=0.12)
        ax.grid(axis="y")
        ax.set_ylabel("CET1, %")

    title = Text(en="CET1 ratio from start to end", zh="核心一级资本充足率:由期初到期末")
    return Drawing(title, 10.2, 3.6, draw)


def pool_chart(pool: PoolFigures, levels: Sequence[float]) -> Drawing:
    """Capital left in the pool by quarter, and the share of draws in which it is empty."""

    def draw(figure: Figure, language: Language) -> None:
        zh = language == "zh"
        w, h = figure.get_size_inches()
        half = (w - 2.0) / 2
        left = figure.add_axes((0.7 / w, 0.55 / h, half / w, 1 - 0.85 / h))
        t = np.arange(len(pool.expected_capital))
        if pool.capital_quantiles is not None:
            at = dict(zip(levels, np.asarray(pool.capital_quantiles) / 1e8, strict=True))
            left.fill_between(t, at[0.05], at[0.95], color=FEDERATED, alpha=0.18, lw=0)
            left.plot(t, at[0.5], color=FEDERATED, lw=1.8)
        left.plot(t, np.asarray(pool.expected_capital) / 1e8, color=INK, lw=1.1, ls=(0, (4, 3)))
        left.set_ylabel(("保险池余额," if zh else "Left in the pool, ") + say(YI, language))
        right = figure.add_axes(((half + 1.7) / w, 0.55 / h, half / w, 1 - 0.85 / h))
        if pool.exhausted_by is not None:
            share = 100 * np.concatenate([[0.0], pool.exhausted_by])
            right.step(t, share, color=BAD, lw=1.8, where="post")
            right.fill_between(t, share, step="post", color=BAD, alpha=0.12, lw=0)
        right.set_ylim(0, 103)
        right.set_ylabel("已耗尽的抽样占比,%" if zh else "Draws in which it is empty, %")
        for ax in (left, right):
            ax.set_xlabel(say(QUARTER, language))
            ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
            ax.grid(axis="y")
        left.set_ylim(bottom=0)

    title = Text(en="The insurance pool runs dry", zh="保险池的消耗")
    return Drawing(title, 10.2, 3.4, draw)


STATES = {
    "drawn": (BAD, Text(en="defaults on its own", zh="自身违约")),
    "felled": (LOCAL, Text(en="felled by contagion", zh="被传染违约")),
    "called": (FEDERATED, Text(en="called, and pays", zh="被要求代偿且履约")),
}


def network_picture(picture: Picture, titles: Mapping[str, Label]) -> Drawing:
    """Draw called guarantees: enterprises on a ring by sector, lines to whom is called."""
    order = sorted(range(len(picture.nodes)), key=lambda i: picture.nodes[i].sector)
    turn = {node: 2 * np.pi * k / max(len(order), 1) for k, node in enumerate(order)}

    def draw(figure: Figure, language: Language) -> None:
        ax = axes(figure, 0.1, 0.1, 0.1, 0.1)
        ax.set_aspect("equal")
        ax.set_axis_off()
        ax.set_xlim(-2.05, 2.05)
        ax.set_ylim(-1.42, 1.42)
        most = max((e.amount for e in picture.edges), default=1.0)
        for edge in picture.edges:
            ends = [turn[edge.borrower], turn[edge.guarantor]]
            start, end = ((np.cos(a), np.sin(a)) for a in ends)
            ax.annotate(
                "", end, start, zorder=1,
                arrowprops={"arrowstyle": "-|>", "color": MUTED, "alpha": 0.65,
                            "lw": 0.5 + 2.0 * edge.amount / most, "shrinkB": 5,
                            "connectionstyle": "arc3,rad=0.18"},
            )  # fmt: skip
        for node, angle in turn.items():
            color = STATES[picture.nodes[node].state][0]
            ax.plot(np.cos(angle), np.sin(angle), "o", ms=7, color=color, mec="white", zorder=2)
        for sector in dict.fromkeys(picture.nodes[i].sector for i in order):
            angles = [turn[i] for i in order if picture.nodes[i].sector == sector]
            middle = float(np.mean(angles))
            name = say(titles.get(sector, sector), language)
            side = "left" if np.cos(middle) >= 0 else "right"
            place: dict[str, Any] = {"ha": side, "va": "center", "fontsize": 9, "color": INK}
            ax.text(1.12 * np.cos(middle), 1.12 * np.sin(middle), name, **place)
        for k, (color, text) in enumerate(STATES.values()):
            ax.plot(-1.98, 1.3 - 0.13 * k, "o", ms=7, color=color)
            ax.text(-1.9, 1.3 - 0.13 * k, say(text, language), va="center", fontsize=9)

    title = Text(en="The largest called guarantees of one draw", zh="一次抽样中最大的被要求代偿")
    return Drawing(title, 8.6, 6.0, draw)
