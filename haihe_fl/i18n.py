"""The one language switch: Chinese or English for everything a user sees."""

import os
import unicodedata
from contextvars import ContextVar
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


def _default() -> Language:
    chosen = os.environ.get("HAIHE_LANG") or os.environ.get("LANG", "")
    return "zh" if chosen.startswith("zh") else "en"


_language: ContextVar[Language | None] = ContextVar("language", default=None)


def language() -> Language:
    """Return the language in force: ``--lang``, else ``HAIHE_LANG``, else ``LANG``."""
    return _language.get() or _default()


def set_language(value: Language) -> None:
    """Set the language for this context."""
    _language.set(value)


def tr(en: str, zh: str) -> str:
    """Return the text in the language in force.

    Examples
    --------
    >>> set_language("zh"); tr("loss", "损失")
    '损失'
    >>> set_language("en"); tr("loss", "损失")
    'loss'
    """
    return zh if language() == "zh" else en


class Text(BaseModel):
    """A text in both languages, as it stands in ``configs``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    en: str
    zh: str

    def __str__(self) -> str:
        return tr(self.en, self.zh)


def text_width(text: str, size: float = 9.0) -> float:
    """Return the width of a text in inches, Chinese characters counted as full squares.

    Parameters
    ----------
    text : str
        One line.
    size : float
        Size of the type in points.
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return (wide + 0.56 * (len(text) - wide)) * size / 72


def shorten(text: str, most: float, size: float = 9.0) -> str:
    """Cut a text to a width in inches.

    Examples
    --------
    >>> shorten("construction materials", 0.8)
    'constructi…'
    """
    if text_width(text, size) <= most:
        return text
    while text and text_width(text + "…", size) > most:
        text = text[:-1]
    return text + "…"
