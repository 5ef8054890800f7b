"""The feature catalogue: what every party agrees a borrower record looks like.

A catalogue is public. Nothing in it may be derived from anybody's rows: the range of a
numeric feature is a fact about the world (a share lies in [0, 1]), not a minimum seen.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from haihe_fl.errors import UserError
from haihe_fl.i18n import Text


class Feature(BaseModel):
    """One feature of the borrower record.

    Attributes
    ----------
    name : str
        Column name, unique in the catalogue.
    kind : {"number", "category"}
        Categories are unordered unless ``ordered``.
    range : tuple of float, optional
        Public lowest and highest value of a number, in ``unit``; values outside are a fault
        of the data and are clipped when scoring.
    scale : {"linear", "log"}
        How the public grid is spaced; ``log`` is symmetric about zero (``asinh``).
    direction : {-1, 0, 1}
        Sign of the feature's effect on the probability of default; 0 leaves it free.
    missing : tuple
        Codes that mean "missing" in this feature, besides an empty cell.
    department, grade, holders
        Who supplies it, its JR/T 0197 level (1 to 4) and the kinds of institution holding it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    kind: Literal["number", "category"] = "number"
    title: Text | None = None
    unit: str = ""
    range: tuple[float, float] | None = None
    scale: Literal["linear", "log"] = "linear"
    categories: tuple[str, ...] | None = None
    ordered: bool = False
    direction: Literal[-1, 0, 1] = 0
    missing: tuple[str | float, ...] = ()
    department: str = ""
    grade: int = Field(default=1, ge=1, le=4)
    holders: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _domain(self) -> Self:
        if self.kind == "number":
            if self.range is None or not self.range[0] < self.range[1]:
                raise ValueError(f"feature {self.name}: a number needs range: [low, high]")
        elif not self.categories or len(set(self.categories)) != len(self.categories):
            raise ValueError(f"feature {self.name}: a category needs a list of distinct categories")
        return self

    @property
    def label(self) -> str:
        """Title in the language in force, or the name."""
        return str(self.title) if self.title else self.name


class FeatureCatalogue(BaseModel):
    """The ordered list of features that a federation trains on.

    Examples
    --------
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="age", range=(0, 80)),))
    >>> c.names, len(c.fingerprint)
    (('age',), 64)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str = "1"
    features: tuple[Feature, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        seen: set[str] = set()
        for f in self.features:
            if f.name in seen:
                raise ValueError(f"feature {f.name} stands twice in catalogue {self.name}")
            seen.add(f.name)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names, in column order."""
        return tuple(f.name for f in self.features)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the catalogue's canonical JSON, in hex: the schema hash of messages."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def index(self, name: str) -> int:
        """Return the column of a feature; ``KeyError`` if there is none."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None


def load_catalogue(path: Path) -> FeatureCatalogue:
    """Read a catalogue from YAML.

    Raises
    ------
    UserError
        H2001 if the file cannot be read, H2002 if it is not a valid catalogue.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            "H2001",
            en=f"cannot read catalogue {path}: {error}; check the path and the YAML syntax",
            zh=f"无法读取特征目录 {path}:{error};请检查路径和 YAML 语法",
        ) from None
    try:
        return FeatureCatalogue.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise UserError(
            "H2002",
            en=f"catalogue {path}, at {where or 'top level'}: {first['msg']}",
            zh=f"特征目录 {path} 的 {where or '顶层'} 有误:{first['msg']}",
        ) from None
