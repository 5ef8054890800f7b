"""Chain, store, reverse and federated stress on the command line."""

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
from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.errors import UserError
from haihe_fl.i18n import set_language
from haihe_fl.models.base import RiskModel, Term
from haihe_fl.stress.chain_results import ChainResult
from haihe_fl.stress.compose import write_scenarios
from haihe_fl.stress.run import shipped


class CityModel(RiskModel):
    """Scores by the first feature alone; version "2" is gloomier."""

    family: ClassVar[str] = "test-stress-chain"

    def __init__(self, catalogue: FeatureCatalogue, base: float = -3.6) -> None:
        self.catalogue = catalogue
        self._base = base

    def logit(self, values: Any) -> Any:
        first = np.nan_to_num(values[:, 0]).astype(np.float64)
        return self._base + 0.2 * np.tanh(first)

    def terms(self) -> list[Term]:
        return [Term((0,))]

    def contributions(self, values: Any) -> Any:
        return np.asarray(values[:, :1], dtype=np.float64)

    @property
    def base(self) -> float:
        return self._base

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"base": self._base}, {}

    @classmethod
    def from_state(cls, catalogue: FeatureCatalogue, meta: Any, arrays: Any) -> Self:
        return cls(catalogue, meta["base"])


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from haihe_fl.data.synth.config import tianjin_catalogue

    def load_model(workspace: Any, name: str, version: Any) -> Any:
        model = CityModel(tianjin_catalogue(), -3.2 if version == "2" else -3.6)
        return model, SimpleNamespace(name=name, version=version or "1")

    monkeypatch.setitem(sys.modules, "server.registry", SimpleNamespace(load_model=load_model))
    monkeypatch.setenv("COLUMNS", "220")
    yield


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ok(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output or result.exception
    return result.stdout


def refused(code: str, *arguments: object) -> str:
    failed = call(*arguments)
    assert isinstance(failed.exception, UserError), failed.output
    assert failed.exception.code == code
    return failed.exception.en


SMALL = ("--synth", 1000, "--seed", 4)
QUICK = (*SMALL, "--draws", 200, "--enterprise-draws", 3)


def test_the_chain_and_the_store(tmp_path: Path) -> None:
    common = ("--chain", *QUICK, "--work", tmp_path)
    body = json.loads(ok("run", "gfc-replay", *common, "--json"))[0]
    chain = body["chain"]
    assert chain["steps"] == ["draws", "downturn_lgd", "contagion", "pool", "capital"]
    stored = tmp_path / "stress" / f"{chain['run_id']}.json"
    assert json.loads(stored.read_text(encoding="utf-8"))["results"][0] == body
    text = ok("run", "gfc-replay", *common)
    assert chain["run_id"] in text and "contagion adds (3 draws)" in text
    shown = " ".join(text.split())
    assert "LGD downturn" in shown and "CET1 ratio of all together" in shown
    set_language("zh")
    assert "被传染" in ok("run", "gfc-replay", *common)


def test_switches_take_single_steps(tmp_path: Path) -> None:
    common = (*SMALL, "--work", tmp_path, "--json")

    def steps(*switches: object) -> list[str]:
        body = json.loads(ok("run", "haihe-flood", *switches, *common))[0]
        return body["chain"]["steps"]

    assert steps("--draws", 50) == ["draws", "downturn_lgd"]
    assert steps("--pool") == ["downturn_lgd", "pool"]
    assert steps("--capital", "--shapley") == ["downturn_lgd", "capital"]
    assert steps("--contagion", "--enterprise-draws", 2) == ["downturn_lgd", "contagion"]
    plain = json.loads(ok("run", "haihe-flood", *common))[0]
    assert "chain" not in plain and (tmp_path / "stress" / f"{plain['run_id']}.json").exists()


def test_several_through_the_chain(tmp_path: Path) -> None:
    two = tmp_path / "two.json"
    mine = tmp_path / "mine.yaml"
    own = shipped()[0]["haihe-flood"].model_copy(update={"id": "my-flood", "name_en": "My flood"})
    write_scenarios(mine, [own])
    text = ok(
        "run", "all", *SMALL, "--pool", "--scenarios", mine, "--work", tmp_path, "--save", two
    )
    assert text.count("My flood") == 2
    whole = json.loads(two.read_text(encoding="utf-8"))
    assert len(whole) == 31 and whole[-1]["scenario_id"] == "my-flood"
    ChainResult.model_validate(whole[-1]["chain"])
    assert "My flood" in ok("list", "--scenarios", mine)
    assert "My flood" in ok("show", "my-flood", "--scenarios", mine)
    assert "H2510" in str(call("show", "my-flood").exception)


def test_two_models_under_the_same_scenarios(tmp_path: Path) -> None:
    ids = []
    for version in ("1", "2"):
        body = json.loads(
            ok("run", "gfc-replay", *QUICK, "--chain", "--version", version, "--work", tmp_path,
               "--json")
        )  # fmt: skip
        ids.append(body[0]["chain"]["run_id"])
    rows = json.loads(ok("compare", "--results", *ids, "--work", tmp_path, "--json"))
    assert rows[0]["models"] == ["haihe-risk v1", "haihe-risk v2"]
    assert rows[0]["loss_change"] == pytest.approx(
        rows[0]["expected_loss"][1] - rows[0]["expected_loss"][0]
    )
    assert rows[0]["loss_change"] > 0 and rows[0]["cet1_end"][1] != rows[0]["cet1_end"][0]
    text = ok("compare", "--results", ids[0][:8], tmp_path / "stress" / f"{ids[1]}.json",
              "--work", tmp_path)  # fmt: skip
    assert "From A (haihe-risk v1) to B (haihe-risk v2)" in text
    work = ("--work", tmp_path)
    assert ids[0] in refused("H2609", "compare", "--results", ids[0], "nothing", *work)
    refused("H2611", "compare", "haihe-flood", "--results", *ids, *work)
    ok("run", "gfc-replay", *SMALL, "--severity", 2, "--save", tmp_path / "s.json", *work)
    harder = [p.stem for p in (tmp_path / "stress").glob("*.json") if p.stem not in ids]
    assert "severity" in refused("H2612", "compare", "--results", ids[0], harder[0], *work)
    refused("H2610", "compare", "--results", ids[0], tmp_path / "s.json", *work)
    refused("H2613", "compare", *work)


def test_steps_without_inputs_are_refused_by_name_and_noted_in_the_chain(tmp_path: Path) -> None:
    from haihe_fl.data.synth.config import tianjin_catalogue
    from haihe_fl.data.synth.consortium import synthesise

    city = synthesise(1000, seed=4)
    data, mapping = tmp_path / "loans.csv", tmp_path / "loans.yaml"
    name = tianjin_catalogue().features[0].name
    lines = [f"{name},bad,amount,trade,who"]
    for row in range(200):
        extra = city.cohort.extra
        lines.append(f"0.1,{row % 9 == 0:d},{extra['ead'][row]},{extra['sector'][row]},b{row % 2}")
    data.write_text("\n".join(lines), encoding="utf-8")
    mapping.write_text(
        f"name: loans\nfeatures: {{{name}: [0, 1]}}\nlabel: bad\nead: amount\nsector: trade\n"
        "institution: who\n",
        encoding="utf-8",
    )
    from haihe_fl.data.mapping import load_mapping
    from haihe_fl.data.readers import read_cohort

    cohort = read_cohort(data, load_mapping(mapping))
    fake = SimpleNamespace(
        load_model=lambda *_: (
            CityModel(cohort.catalogue),
            SimpleNamespace(name="haihe-risk", version="1"),
        )
    )
    sys.modules["server.registry"] = fake  # the fixture puts the true one back
    common = ("--portfolio", data, "--mapping", mapping, "--work", tmp_path)
    assert "contagion" in refused("H2618", "run", "gfc-replay", "--contagion", *common)
    refused("H2618", "run", "gfc-replay", "--capital", *common)
    text = ok("run", "gfc-replay", "--chain", "--draws", 50, *common)
    assert "no contagion: the portfolio comes without a network" in text
    refused("H2615", "reverse", "gfc-replay", "--measure", "cet1", *common)
    refused("H2617", "federated", "gfc-replay", *common)


def test_reverse(tmp_path: Path) -> None:
    common = (*SMALL, "--work", tmp_path)
    found = json.loads(ok("reverse", "gfc-replay", *common, "--json"))
    assert found["reached"] and 0.2 < found["severity"] < 3
    assert found["value"] == pytest.approx(found["threshold"], rel=1e-3)
    assert found["drivers"]["reached"] and found["drivers"]["loans"] <= 4000
    assert found["drivers"]["peaks"]["gdp_growth"] < 0
    again = json.loads(ok("run", "gfc-replay", *common, "--severity", found["severity"], "--json"))[
        0
    ]
    assert again["loss_rate"] == pytest.approx(found["value"], rel=1e-9)
    text = ok("reverse", "gfc-replay", *common)
    assert "reached at severity" in text and "Most plausible drivers" in text
    text = ok("reverse", "gfc-replay", *common, "--threshold", 0.99, "--no-drivers")
    assert "not reached within severity 10" in text
    cet1 = json.loads(
        ok("reverse", "gfc-replay", "--measure", "cet1", "--threshold", 0.05, *common, "--json")
    )
    assert cet1["reached"] and cet1["value"] <= 0.05 and cet1["drivers"] is None
    text = ok("reverse", "gfc-replay", "--measure", "pool", "--threshold", 1, *common)
    assert "breached already in the quiet economy" in text
    refused("H2614", "reverse", "gfc-replay", "--measure", "npl", *common)
    set_language("zh")
    assert "强度" in ok("reverse", "gfc-replay", *common, "--no-drivers")


def test_federated(tmp_path: Path) -> None:
    common = (*SMALL, "--work", tmp_path)
    facts = json.loads(ok("federated", "gfc-replay", *common, "--draws", 50, "--json"))
    assert facts["equal_to_pooled"] is True and facts["institutions"] == 23
    quiet, bad = facts["scenarios"]
    assert sum(bad["el"]) == pytest.approx(bad["pooled_el"])
    assert sum(bad["el"]) > sum(quiet["el"])
    alone = json.loads(ok("run", "gfc-replay", *common, "--json"))[0]
    assert sum(bad["el"]) == pytest.approx(alone["expected_loss"], rel=1e-6)
    assert bad["expected_shortfall_99"] >= bad["value_at_risk_99"] > sum(bad["el"])
    text = ok("federated", "gfc-replay", *common, "--draws", 20)
    assert "every integer equals the pooled one" in text and "epsilon" in text
    refused("H2616", "federated", "gfc-replay", "--noise", 4, *common)
    noisy = ok("federated", "gfc-replay", "--noise", 4, "--clip", 1e6, *common)
    assert "Noise on a cell and quarter" in noisy


def test_report(tmp_path: Path) -> None:
    page, pdf = tmp_path / "s.html", tmp_path / "s.pdf"
    common = (*QUICK, "--work", tmp_path)
    facts = json.loads(ok("report", "--out", page, "--pdf", pdf, *common, "--json"))
    assert facts["chain"] in page.read_text(encoding="utf-8")
    assert pdf.read_bytes().startswith(b"%PDF")
    stored = json.loads((tmp_path / "stress" / f"{facts['run_id']}.json").read_text("utf-8"))
    assert len(stored["results"]) == 30
    assert [e["scenario"] for e in stored["results"] if "chain" in e] == [facts["scenario"]]
    assert str(page) in ok("report", "--out", page, "--scenario", "haihe-flood", *common)
    assert shipped()[0]["haihe-flood"].name_zh in page.read_text(encoding="utf-8")
    refused("H2619", "report", *common)
    refused("H2510", "report", "--out", page, "--scenario", "flod", *common)


@pytest.mark.parametrize(
    "arguments",
    [("reverse", "gfc"), ("federated", "gfc"), ("run", "gfc", "--chain")],
)
def test_unknown_scenarios_fail_first(arguments: tuple[str, ...]) -> None:
    refused("H2510", *arguments)


def test_unknown_options_are_errors() -> None:
    for command in ("run", "reverse", "federated", "compare"):
        assert call(command, "gfc-replay", "--no-such-option").exit_code == 2
