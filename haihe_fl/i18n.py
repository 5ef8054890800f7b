"""The one language switch: Chinese or English for everything a user sees."""

import os
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
