"""How numbers of a feature stand on an axis: in its unit, no longer than they need to be."""

import math
from collections.abc import Sequence
from itertools import pairwise

from haihe_fl.i18n import Language, Text
from haihe_fl.models.reasons import UNITS

COUNTED = frozenset(unit for unit, words in UNITS.items() if words == ("", ""))
"""Units of things that are counted, told by the feature's title."""
WHOLE = COUNTED | {"days", "months"}
"""Units in whole numbers: an edge at 0.3 cases is an edge at one case."""


def is_share(unit: str) -> bool:
    """Whether numbers of a unit are shown in per cent."""
    return unit in ("share", "%") or unit.startswith("per cent")


def unit_title(unit: str) -> Text:
    """Return a unit as it stands in a caption; empty where the numbers or the title tell it.

    Examples
    --------
    >>> unit_title("CNY 10k").zh, unit_title("share").en
    ('万元', '')
    """
    if is_share(unit) or unit in COUNTED or unit == "year":
        return Text(en="", zh="")
    return Text(en=unit, zh=UNITS[unit][1].strip() if unit in UNITS else unit)


def tick_labels(values: Sequence[float], unit: str, language: Language) -> list[str]:
    """Return the labels of numbers on one axis, with as few decimals as tell them apart.

    Examples
    --------
    >>> tick_labels([-0.00038, 0.0326, 0.181], "share", "en")
    ['0%', '3%', '18%']
    >>> tick_labels([57.1, 279.4, 12_546.0], "CNY 10k", "en")
    ['57', '279', '12,500']
    >>> tick_labels([4.4e-06, 0.9, 1.2], "cases", "en")
    ['1', '1', '2']
    >>> tick_labels([0.0527, 1.7132, 3.8224], "times", "en")
    ['0.1', '1.7', '3.8']
    """
    if unit in WHOLE:
        values = [math.ceil(v) for v in values]
    scaled = [100 * v for v in values] if unit == "share" else list(values)
    digits = _digits(scaled)
    return [_label(v, digits, unit, language) for v in scaled]


def _digits(values: Sequence[float]) -> int:
    ordered = sorted(values)
    gaps = [b - a for a, b in pairwise(ordered) if b > a]
    gap = min(gaps) if gaps else max(map(abs, values), default=1.0)
    for digits in range(4):
        if all(abs(round(v, digits) - v) <= 0.12 * gap for v in values):
            return digits
    return 4


def _label(value: float, digits: int, unit: str, language: Language) -> str:
    mark = "%" if is_share(unit) else ""
    if unit == "year":
        return f"{value:.0f}"
    size = abs(value)
    if size >= 1e6:
        zh = language == "zh"
        text = f"{value / 1e4:,.4g}" if zh and size < 1e8 else f"{value / (1e8 if zh else 1e6):.3g}"
        mark = ("万" if size < 1e8 else "亿") if zh else "m"
    elif size >= 1000:
        text = f"{round(value, 2 - math.floor(math.log10(size))):,.0f}"
    else:
        text = f"{value:.{digits}f}"
        if float(text) == 0:
            text = ">0" if value > 0 and not mark else "0"
    return text.replace("-", "−") + mark
