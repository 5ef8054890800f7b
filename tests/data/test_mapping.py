from pathlib import Path

import pytest
from pydantic import ValidationError

from haihe_fl.data.mapping import Mapping, load_mapping
from haihe_fl.errors import UserError
from haihe_fl.i18n import Text
from haihe_fl.stress.scenarios import load_scenarios

SETS = Path(__file__).parents[2] / "benchmarks" / "datasets"

TEN_LINES = """
name: ten_lines
key: uscc
label: {column: outcome, positive: [bad], negative: [good]}
institution: bank
features:
  LIMIT_BAL: [0, 1000000]
  SEX: {categories: [1, 2]}
  AGE: {range: [18, 100], direction: -1}
  DTI: {range: [0, 10], scale: log, column: dti, factor: 0.01}
  OWNER: {values: {own: owner, mortgage: owner, rent: tenant}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_ten_lines_make_a_mapping(tmp_path: Path) -> None:
    m = load_mapping(write(tmp_path, TEN_LINES))
    assert m.catalogue.names == ("LIMIT_BAL", "SEX", "AGE", "DTI", "OWNER")
    limit, sex, age, dti, owner = m.catalogue.features
    assert limit.range == (0, 1e6) and limit.kind == "number"
    assert sex.categories == ("1", "2") and sex.kind == "category"
    assert age.direction == -1
    assert dti.scale == "log"
    assert owner.categories == ("owner", "tenant")
    source = m.source("DTI")
    assert source is not None and (source.column, source.factor) == ("dti", 0.01)
    assert m.needed == ("LIMIT_BAL", "SEX", "AGE", "dti", "OWNER", "uscc", "outcome", "bank")


def test_yes_and_no_stay_texts(tmp_path: Path) -> None:
    text = "name: a\nlabel: {column: no, positive: [yes], negative: [no]}\nfeatures: {ON: [0, 1]}\n"
    m = load_mapping(write(tmp_path, text))
    assert (m.label.column, m.label.positive, m.label.negative) == ("no", ("yes",), ("no",))
    assert m.catalogue.names == ("ON",)


def test_defaults_and_stated_actions() -> None:
    plain = {"name": "a", "label": "Y", "features": {"A": [0, 1]}}
    m = Mapping.model_validate(plain)
    assert m.action("range") == "clip"
    assert {m.action(k) for k in ("type", "category", "label", "key", "row")} == {"reject"}
    assert m.label.negative == ("0",)
    assert Mapping.model_validate({**plain, "on_fault": "clip"}).action("key") == "clip"
    some = Mapping.model_validate({**plain, "on_fault": {"range": "reject"}})
    assert (some.action("range"), some.action("type")) == ("reject", "reject")


def test_a_note_speaks_both_languages_or_one() -> None:
    plain = {"name": "a", "label": "Y", "features": {"A": [0, 1]}}
    assert Mapping.model_validate(plain).note is None
    assert Mapping.model_validate({**plain, "note": "x"}).note == Text(en="x", zh="x")
    both = Mapping.model_validate({**plain, "note": {"en": "x", "zh": "乙"}}).note
    assert both is not None and both.zh == "乙"


def test_sba_sectors_are_those_of_the_scenarios() -> None:
    sector = load_mapping(SETS / "sba_loans.yaml").sector
    assert sector is not None
    assert {*sector.values.values(), sector.other} <= set(load_scenarios().sectors)


def test_a_catalogue_is_found_beside_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: c\nfeatures:\n- {name: A, range: [0, 1]}\n")
    m = load_mapping(write(tmp_path, "name: m\ncatalogue: c.yaml\nlabel: Y\ncolumns: {A: null}\n"))
    assert m.source("A") is None and m.needed == ("Y",)


def test_the_tianjin_catalogue_is_known_by_name(tmp_path: Path) -> None:
    m = load_mapping(write(tmp_path, "name: m\ncatalogue: tianjin\nlabel: Y\n"))
    assert m.catalogue.name == "tianjin"
    assert set(m.catalogue.names) < set(m.needed)


def test_the_mappings_of_the_guide_load(tmp_path: Path) -> None:
    guide = (SETS.parents[1] / "docs" / "mapping.md").read_text(encoding="utf-8")
    texts = [part.split("```")[0] for part in guide.split("```yaml\n")[1:]]
    ten_lines, tianjin = (load_mapping(write(tmp_path, text)) for text in texts)
    assert len(ten_lines.catalogue.features) == 5
    assert tianjin.source("effective_patents") is None
    renamed = tianjin.source("insured_staff")
    assert renamed is not None and renamed.column == "staff_count"


BASE = "name: a\nlabel: Y\nfeatures: {A: [0, 1], B: [0, 1]}\n"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("features: [", "H2010", "YAML"),
        (BASE + "label: Z\n", "H2010", "label stands twice"),
        ("name: a\nfeatures: {A: [0, 1]}\n", "H2011", "label"),
        (BASE + "colour: red\n", "H2011", "colour"),
        ("name: a\nlabel: Y\nfeatures: {A: [1, 0]}\n", "H2011", "A"),
        ("name: a\nlabel: Y\nfeatures: {A: {categories: [1, 1]}}\n", "H2011", "distinct"),
        ("name: a\nlabel: Y\nfeatures: {A: {range: [0, 1], colum: X}}\n", "H2011", "colum"),
        ("name: a\nlabel: Y\nfeatures: []\n", "H2011", "features"),
        (BASE + "catalogue: tianjin\n", "H2011", "either"),
        (BASE + "columns: {C: c}\n", "H2011", "no feature C"),
        (BASE + "on_fault: {type: ignore}\n", "H2011", "on_fault"),
        (BASE + "institution: {column: b, skewed: 3}\n", "H2011", "exactly one"),
        (BASE + "institution: {name: b, rest: c}\n", "H2011", "rest"),
        (BASE + "institution: {skewed: {count: 3, by: Z}}\n", "H2011", "skewed by Z"),
        (BASE + "derive: {A: {op: eval, of: x}}\n", "H2011", "derive.A.op"),
        (BASE + "derive: {A: {op: ratio, of: [x]}}\n", "H2011", "2 columns"),
        (BASE + "derive: {A: {op: prefix, of: x}}\n", "H2011", "by"),
        (BASE + "derive: {A: {op: year, of: B}, B: {op: year, of: x}}\n", "H2011", "before"),
        ("catalogue: none.yaml\nname: a\nlabel: Y\n", "H2001", "none.yaml"),
    ],
)
def test_errors_say_where(tmp_path: Path, text: str, code: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        load_mapping(write(tmp_path, text))
    assert error.value.code == code
    assert says in error.value.en
    assert error.value.zh != error.value.en


def test_a_missing_mapping_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="H2010"):
        load_mapping(tmp_path / "none.yaml")


def test_mappings_are_frozen() -> None:
    m = Mapping.model_validate({"name": "a", "label": "Y", "features": {"A": [0, 1]}})
    with pytest.raises(ValidationError, match="frozen"):
        m.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize("path", sorted(SETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_benchmark_mappings_load(path: Path) -> None:
    assert load_mapping(path).name == path.stem
