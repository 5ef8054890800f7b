import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from haihe_fl.cli.stress import app
from haihe_fl.cli.stress_tables import sparkline
from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import UserError
from haihe_fl.i18n import set_language
from haihe_fl.models.base import RiskModel, Term
from haihe_fl.stress.run import shipped

FEATURES = FeatureCatalogue(name="shop", features=(Feature(name="debt", range=(0, 1)),))


class ShopModel(RiskModel):
    family: ClassVar[str] = "test-stress-cli"

    def __init__(self, catalogue: FeatureCatalogue) -> None:
        self.catalogue = catalogue

    def logit(self, values: Any) -> Any:
        return -4.0 + np.nan_to_num(values[:, 0]).astype(np.float64)

    def terms(self) -> list[Term]:
        return [Term((0,))]

    def contributions(self, values: Any) -> Any:
        return np.asarray(values, dtype=np.float64)

    @property
    def base(self) -> float:
        return -4.0

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}

    @classmethod
    def from_state(cls, catalogue: FeatureCatalogue, meta: Any, arrays: Any) -> Self:
        return cls(catalogue)


def consortium(enterprises: int, seed: int) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    cohort = Cohort(
        catalogue=FEATURES,
        values=rng.uniform(0, 1, (enterprises, 1)).astype(np.float32),
        label=np.zeros(enterprises, np.int8),
        key=np.arange(enterprises).astype(np.str_),
        institution=np.where(np.arange(enterprises) % 3, "bank a", "bank b"),
        extra={
            "ead": np.full(enterprises, 1e6),
            "sector": np.array(shipped()[0].sectors)[np.arange(enterprises) % 12],
        },
    )
    return SimpleNamespace(cohort=cohort)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """Stand in for the registry and the synthetic consortium, which have tests of their own."""
    asked: list[tuple[str, Any]] = []

    def load_model(workspace: Any, name: str, version: Any) -> Any:
        asked.append((name, version))
        return ShopModel(FEATURES), SimpleNamespace(name=name, version=version or "3")

    monkeypatch.setitem(sys.modules, "server.registry", SimpleNamespace(load_model=load_model))
    monkeypatch.setitem(
        sys.modules, "haihe_fl.data.synth.consortium", SimpleNamespace(synthesise=consortium)
    )
    monkeypatch.setenv("COLUMNS", "200")
    yield asked


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ok(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_shows_thirty_scenarios() -> None:
    text = ok("list")
    assert all(s.id in text and s.name_en in text for s in shipped()[0].scenarios)
    assert "expert priors" in text
    rows = json.loads(ok("list", "--json"))
    assert len(rows) == 30
    assert rows[0]["evidence"].startswith("verified: GDP/exports")
    assert rows[0]["sigma"] == pytest.approx(-2.26, abs=0.01)
    set_language("zh")
    assert "全球金融危机重演" in ok("list")


def test_show_paths() -> None:
    text = ok("show", "gfc-replay", "--overlay", "monetary_easing")
    assert "-200.0" in text  # lpr: -150 and the overlay's -50
    assert "PPI/LPR sizes from memory" in text
    assert "cross_border_trade x1.8" in text
    body = json.loads(ok("show", "gfc-replay", "--json"))
    assert body["paths"]["gdp_growth"][1] == -4.5
    assert body["idiosyncratic"]["contagion"]["lambda"] == 1.2


def test_sparkline() -> None:
    assert sparkline(np.array([0.0, 1.0, 0.5])) == "▁█▅"
    assert sparkline(np.array([0.0, -1.0])) == "█▁"
    assert sparkline(np.zeros(3)) == "▁▁▁"


def test_run_one(registry: list[tuple[str, Any]], tmp_path: Path) -> None:
    save, chart = tmp_path / "all.json", tmp_path / "loss.svg"
    common = ("--synth", 1200, "--work", tmp_path)
    text = ok("run", "haihe-flood", *common, "--save", save, "--chart", chart)
    assert "haihe-risk v3" in text
    assert "yield size expert" in text
    assert "Carried but not computed" in text
    body = json.loads(ok("run", "haihe-flood", *common, "--json"))
    assert body[0]["run_id"] in text
    assert body[0]["borrowers"] == 1200
    assert body[0]["exposure"] == pytest.approx(1.2e9)
    assert set(body[0]["by_institution"]) == {"bank a", "bank b"}
    assert len(body[0]["by_quarter"]["rwa"]) == 12
    assert json.loads(save.read_text(encoding="utf-8"))[0]["run_id"] == body[0]["run_id"]
    assert chart.read_text(encoding="utf-8").startswith("<svg")
    ok("run", "haihe-flood", *common, "--model-name", "mine", "--version", "2", "--json")
    assert registry[-1] == ("mine", "2")


def test_run_all_and_options(tmp_path: Path) -> None:
    common = ("--synth", 240, "--work", tmp_path, "--json")
    bodies = json.loads(ok("run", "all", *common, "--heatmap", tmp_path / "h.svg"))
    assert len(bodies) == 30
    assert (tmp_path / "h.svg").exists()
    base = json.loads(ok("run", "gfc-replay", *common))[0]
    full = json.loads(ok("run", "gfc-replay", *common, "--full-correlation"))[0]
    hard = json.loads(ok("run", "gfc-replay", *common, "--severity", 1.5))[0]
    assert full["loss_tail_peak"] > base["loss_tail_peak"]
    assert hard["pd_peak"] > base["pd_peak"]
    text = ok("run", "all", "--synth", 240, "--work", tmp_path)
    assert text.index("Geopolitical stagflation") < text.index("Global financial crisis replay")


def test_a_long_run_shows_progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("haihe_fl.cli.stress.QUICK", 0)
    assert len(json.loads(ok("run", "all", "--synth", 120, "--work", tmp_path, "--json"))) == 30


def test_compare(tmp_path: Path) -> None:
    names = ("north-china-drought", "gfc-replay")
    rows = json.loads(ok("compare", *names, "--synth", 240, "--work", tmp_path, "--json"))
    assert [r["scenario"] for r in rows] == ["gfc-replay", "north-china-drought"]
    text = ok("compare", *names, "--synth", 240, "--work", tmp_path)
    assert "Global financial crisis replay" in text
    assert rows[0]["run_id"] in text


def test_portfolio_from_a_file(tmp_path: Path) -> None:
    data, mapping = tmp_path / "loans.csv", tmp_path / "loans.yaml"
    data.write_text("debt,bad,amount,trade\n0.2,0,100,car\n0.4,1,300,farm\n", encoding="utf-8")
    mapping.write_text(
        "name: loans\nfeatures: {debt: [0, 1]}\nlabel: bad\nead: {column: amount, factor: 10000}\n"
        "sector: {column: trade, values: {car: auto_parts, farm: agri_food}}\n",
        encoding="utf-8",
    )
    common = ("run", "gfc-replay", "--portfolio", data, "--work", tmp_path)
    body = json.loads(ok(*common, "--mapping", mapping, "--json"))[0]
    assert body["exposure"] == pytest.approx(4e6)
    assert body["by_sector"]["agri_food"]["exposure"] == pytest.approx(3e6)
    failed = call(*common)
    assert isinstance(failed.exception, UserError)
    assert failed.exception.code == "H2530"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "gfc-repla"), "H2510", "gfc-replay"),
        (("show", "flood"), "H2510", "haihe-flood"),
        (("compare", "gfc-replay", "drought"), "H2510", "north-china-drought"),
        (("run", "gfc-replay", "--overlay", "easing"), "H2511", "monetary_easing"),
    ],
)
def test_wrong_names_fail_before_anything_is_loaded(
    registry: list[Any], arguments: tuple[str, ...], code: str, words: str
) -> None:
    failed = call(*arguments)
    assert isinstance(failed.exception, UserError)
    assert failed.exception.code == code
    assert words in failed.exception.en
    assert not registry
