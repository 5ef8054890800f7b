"""What values are called in both languages: ``configs/titles.yaml``, read once."""

from functools import cache

from pydantic import BaseModel, ConfigDict

from haihe_fl.configuration import read_configuration
from haihe_fl.i18n import Text


class Titles(BaseModel):
    """Titles of the categories of a feature, by feature, and of the kinds of institution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: dict[str, dict[str, Text]]
    kinds: dict[str, Text]


@cache
def titles() -> Titles:
    """Return the packaged titles."""
    return read_configuration(Titles, "titles.yaml")


def value_title(feature: str, value: str) -> Text:
    """Return what a category of a feature is called; itself where it has no title.

    Examples
    --------
    >>> value_title("sector", "construction_materials")
    Text(en='construction materials', zh='建材')
    >>> value_title("sector", "5311").zh
    '5311'
    """
    found = titles().values.get(feature, {}).get(value)
    return found or Text(en=value, zh=value)


def sector_title(sector: str) -> Text:
    """Return what one of the scenarios' sectors is called."""
    return value_title("sector", sector)


def kind_title(kind: str) -> Text:
    """Return what a kind of institution is called; itself where it has no title.

    Examples
    --------
    >>> kind_title("micro_lender")
    Text(en='Micro-loan company', zh='小额贷款公司')
    """
    return titles().kinds.get(kind) or Text(en=kind, zh=kind)
