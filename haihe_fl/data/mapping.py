"""The mapping: how the columns of a bank's file become a borrower record.

A mapping is a short YAML file that a bank's data team writes (``docs/mapping.md``). It names the
columns; the features they become are those of a catalogue, or stand in the mapping itself.
Everything in it is public knowledge: nothing is fitted to the rows.
"""

from collections.abc import Hashable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from haihe_fl.data.catalogue import Feature, FeatureCatalogue, load_catalogue
from haihe_fl.data.sources import (
    DateSource,
    Derived,
    FileFormat,
    InstitutionSource,
    LabelSource,
    SectorSource,
    Source,
)
from haihe_fl.errors import UserError
from haihe_fl.i18n import Text

Kind = Literal["type", "range", "category", "label", "key", "row"]
Action = Literal["reject", "clip"]

#: What reading does with each kind of fault unless the mapping says otherwise.
DEFAULT_ACTIONS: dict[Kind, Action] = {
    "type": "reject",
    "range": "clip",
    "category": "reject",
    "label": "reject",
    "key": "reject",
    "row": "reject",
}


class Mapping(BaseModel):
    """How a file becomes a `Cohort`. Written in YAML, read by `load_mapping`.

    Attributes
    ----------
    catalogue : FeatureCatalogue
        The features. In YAML a name, a path, or inline as ``features``.
    columns : dict of str to Source or None
        Source of each feature; one not named here is the column of its own name, and one that
        is null is not held by this institution: missing in every row.
    on_fault : dict of str to {"reject", "clip"}
        What reading does with faults of each kind, where not `DEFAULT_ACTIONS`.
    note : Text, optional
        What a reader of results on these rows must know, for example a convention of the
        mapping; reports print it.

    Examples
    --------
    >>> m = Mapping.model_validate({"name": "tiny", "label": "Y", "features": {"AGE": [18, 100]}})
    >>> m.catalogue.names, m.source("AGE").column, m.needed
    (('AGE',), 'AGE', ('AGE', 'Y'))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    note: Text | None = None
    file: FileFormat = FileFormat()
    catalogue: FeatureCatalogue
    columns: dict[str, Source | None] = {}
    label: LabelSource
    key: Source | None = None
    institution: InstitutionSource | None = None
    date: DateSource | None = None
    ead: Source | None = None
    lgd: Source | None = None
    weight: Source | None = None
    sector: SectorSource | None = None
    derive: dict[str, Derived] = {}
    ignore: tuple[str, ...] = ()
    on_fault: dict[Kind, Action] = {}

    @model_validator(mode="before")
    @classmethod
    def _inline(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        raw = dict(raw)
        if isinstance(raw.get("on_fault"), str):
            raw["on_fault"] = dict.fromkeys(DEFAULT_ACTIONS, raw["on_fault"])
        if isinstance(raw.get("note"), str):
            raw["note"] = {"en": raw["note"], "zh": raw["note"]}
        if "features" in raw:
            if "catalogue" in raw:
                raise ValueError("give either catalogue or features, not both")
            features, columns = _features(raw.pop("features"))
            raw["catalogue"] = {"name": raw.get("name", ""), "features": features}
            raw["columns"] = {**columns, **raw.get("columns", {})}
        return raw

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = sorted(set(self.columns) - set(self.catalogue.names))
        if unknown:
            raise ValueError(f"columns: no feature {unknown[0]} in catalogue {self.catalogue.name}")
        skew = self.institution.skewed if self.institution else None
        if skew and skew.by is not None and skew.by not in self.catalogue.names:
            raise ValueError(f"institution: skewed by {skew.by}, which is no feature")
        known: set[str] = set()
        for name, derived in self.derive.items():
            late = [c for c in derived.of if c in self.derive and c not in known]
            if late:
                raise ValueError(f"derive: {name} uses {late[0]}, which must stand before it")
            known.add(name)
        return self

    def source(self, feature: str) -> Source | None:
        """Return where a feature's cells come from; None if this institution lacks it."""
        return self.columns.get(feature, Source(column=feature))

    def action(self, kind: Kind) -> Action:
        """Return what reading does with faults of a kind."""
        return self.on_fault.get(kind, DEFAULT_ACTIONS[kind])

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns of the file that the mapping uses, each once."""
        sources = [self.source(name) for name in self.catalogue.names]
        sources += [self.key, self.ead, self.lgd, self.weight, self.sector]
        names = [s.column for s in sources if s is not None]
        names += [s.column for s in (self.label, self.date) if s is not None]
        if self.institution:
            names += [c for c in (self.institution.column, self.institution.rest) if c]
        for derived in self.derive.values():
            names += derived.of
        return tuple(c for c in dict.fromkeys(names) if c not in self.derive)


def _features(raw: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Part inline features into features of a catalogue and their sources."""
    if not isinstance(raw, dict) or not raw:
        raise ValueError("features: a table of feature: [low, high] or feature: {...}")
    features: list[dict[str, Any]] = []
    columns: dict[str, Any] = {}
    own = set(Feature.model_fields) - {"missing"}
    for name, given in raw.items():
        body = dict(given) if isinstance(given, dict) else {"range": given}
        feature = {k: v for k, v in body.items() if k in own or k not in Source.model_fields}
        source = {k: v for k, v in body.items() if k not in feature}
        if "range" not in feature and "categories" not in feature and body.get("values"):
            feature["categories"] = list(dict.fromkeys(body["values"].values()))
        if "categories" in feature:
            feature["kind"] = "category"
            feature["categories"] = [str(c) for c in feature["categories"]]
        features.append({"name": str(name), **feature})
        columns[str(name)] = {"column": str(name), **source}
    return features, columns


class _Loader(yaml.SafeLoader):
    """YAML as a data team means it: ``no`` is a text, and a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a table, refusing a key that stands twice."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_mapping(path: Path) -> Mapping:
    """Read a mapping from YAML.

    Raises
    ------
    UserError
        H2010 if the file cannot be read as YAML, H2011 if it is no valid mapping, and H2001 or
        H2002 for the catalogue that it names.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            "H2010",
            en=f"cannot read mapping {path}: {error}; check the path and the YAML syntax",
            zh=f"无法读取映射文件 {path}:{error};请检查路径和 YAML 语法",
        ) from None
    if isinstance(raw, dict) and isinstance(raw.get("catalogue"), str):
        raw["catalogue"] = _catalogue(raw["catalogue"], path.parent)
    try:
        return Mapping.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "top level"
        raise UserError(
            "H2011",
            en=f"mapping {path}, at {where}: {first['msg']}; mend it as docs/mapping.md shows",
            zh=f"映射文件 {path} 的 {where} 有误:{first['msg']};请按 docs/mapping.md 改正",
        ) from None


def _catalogue(name: str, folder: Path) -> FeatureCatalogue:
    if name != "tianjin":
        return load_catalogue(folder / name)
    with as_file(files("configs") / "features.yaml") as path:
        return load_catalogue(path)
