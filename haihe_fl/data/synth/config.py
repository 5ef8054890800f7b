"""The packaged configuration of the consortium: feature catalogue and institutions."""

from functools import cache
from importlib.resources import as_file, files

import yaml
from pydantic import BaseModel, ConfigDict, Field

from haihe_fl.data.catalogue import FeatureCatalogue, load_catalogue
from haihe_fl.data.titles import kind_title
from haihe_fl.i18n import Text


class Institution(BaseModel):
    """One institution of the consortium and the customers it attracts.

    Attributes
    ----------
    id, kind, name
        Identifier, one of the 23 kinds, and (invented) name.
    size : float
        Relative number of customers.
    scale_tilt, risk_tilt : float
        Log-weight per standard deviation of an enterprise's scale and credit risk.
    sector_tilt : dict of str to float
        Log-weight by sector; 0 where absent.
    missing, ead : float
        Multipliers of the rate of missing cells and of the exposure.
    lgd : float
        Mean loss given default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: str
    name: Text
    size: float = Field(gt=0)
    scale_tilt: float = 0.0
    risk_tilt: float = 0.0
    sector_tilt: dict[str, float] = Field(default_factory=dict)
    missing: float = Field(default=1.0, ge=0)
    ead: float = Field(default=1.0, gt=0)
    lgd: float = Field(default=0.45, gt=0, lt=1)

    @property
    def kind_title(self) -> Text:
        """What its kind is called."""
        return kind_title(self.kind)


@cache
def tianjin_catalogue() -> FeatureCatalogue:
    """Return the product's feature catalogue, ``configs/features.yaml``.

    Examples
    --------
    >>> len(tianjin_catalogue().names)
    40
    """
    with as_file(files("configs") / "features.yaml") as path:
        return load_catalogue(path)


@cache
def tianjin_institutions() -> tuple[Institution, ...]:
    """Return the institutions of ``configs/institutions.yaml``.

    Examples
    --------
    >>> len({i.kind for i in tianjin_institutions()})
    23
    """
    text = (files("configs") / "institutions.yaml").read_text(encoding="utf-8")
    return tuple(Institution.model_validate(raw) for raw in yaml.safe_load(text)["institutions"])


def categories(feature: str) -> tuple[str, ...]:
    """Return the categories of a feature of :func:`tianjin_catalogue`.

    Examples
    --------
    >>> categories("tax_grade")
    ('A', 'B', 'M', 'C', 'D')
    """
    catalogue = tianjin_catalogue()
    return catalogue.features[catalogue.index(feature)].categories or ()
