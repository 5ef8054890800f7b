import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from haihe_fl.data.synth import synthesise
from haihe_fl.errors import UserError
from haihe_fl.i18n import Text, set_language
from haihe_fl.reports.stress_report import (
    StressReport,
    render_stress_report,
    write_stress_pdf,
    write_stress_report,
)
from haihe_fl.stress.chain import run_chain
from haihe_fl.stress.chain_inputs import ChainInputs
from haihe_fl.stress.chain_results import ChainSettings
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import run_all, shipped


@pytest.fixture(scope="module")
def report() -> StressReport:
    city = synthesise(1_500, seed=2)
    extra = city.cohort.extra
    portfolio = Portfolio.build(
        pd=np.clip(extra["true_pd"].astype(float), 1e-6, 0.9),
        ead=extra["ead"],
        lgd=extra["lgd"],
        sector=extra["sector"],
        institution=city.cohort.institution,
        sectors=shipped()[0].sectors,
        model_name="haihe-risk v7",
    )
    chain = run_chain(
        ChainInputs.of_consortium(city, portfolio),
        "guarantee-circle-cascade",
        chain=ChainSettings(draws=200, enterprise_draws=4),
    )
    names = {i.id: i.name for i in city.institutions}
    data = Text(en="<b>made up</b>", zh="合成")
    return StressReport(run_all(portfolio), chain, data, True, names)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.stack: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "img", "input"):
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.stack and self.stack[-1] == tag:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(report: StressReport) -> None:
    html = render_stress_report(report)
    page = Page()
    page.feed(html)
    assert page.stack == [] and len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:image/png")) for link in page.links)
    assert not re.search(r"https?://", html)
    assert html.count('class="plot wide') == 10  # five drawings, two languages
    assert "<b>made up</b>" not in html
    for identifier in ("scenarios", "losses", "contagion", "pool", "capital", "hashes"):
        assert f'id="{identifier}"' in html
    assert report.chain.run_id in html and report.chain.stress_id in html


def test_evidence_and_sigma_of_every_scenario(report: StressReport) -> None:
    html = render_stress_report(report)
    for result in report.results:
        assert result.name_zh in html and result.run_id in html
        assert f"{result.plausibility.sigma:.2f}".replace("-", "\u2212") in html
    assert html.count("部分核实") >= sum(r.grade == "partly verified" for r in report.results)
    set_language("zh")
    assert 'data-lang="zh"' in render_stress_report(report)


def test_steps_left_out_are_left_out_with_a_note(
    report: StressReport, portfolio_only: StressReport
) -> None:
    html = render_stress_report(portfolio_only)
    assert 'id="capital"' not in html and 'id="contagion"' not in html
    assert "no contagion: the portfolio comes without a network" in html
    assert 'id="pool"' in html


@pytest.fixture
def portfolio_only(report: StressReport) -> StressReport:
    n = 200
    rng = np.random.default_rng(1)
    sectors = shipped()[0].sectors
    portfolio = Portfolio.build(
        pd=rng.uniform(0.01, 0.1, n),
        ead=1e6,
        lgd=0.45,
        sector=np.array(sectors)[rng.integers(0, 12, n)],
        institution="one bank",
        sectors=sectors,
    )
    chain = run_chain(ChainInputs(portfolio), "haihe-flood", chain=ChainSettings(draws=100))
    return StressReport(run_all(portfolio, ["haihe-flood"]), chain, "a file", False)


def test_files(report: StressReport, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "stress.html"
    write_stress_report(report, path)
    assert path.read_text(encoding="utf-8") == render_stress_report(report)
    assert not list(path.parent.glob(".*"))
    (tmp_path / "file").write_text("")
    for write in (write_stress_report, write_stress_pdf):
        with pytest.raises(UserError, match="H2690"):
            write(report, tmp_path / "file" / "x.html")


def test_pdf(report: StressReport, tmp_path: Path) -> None:
    path = tmp_path / "stress.pdf"
    assert write_stress_pdf(report, path) == "en"
    body = path.read_bytes()
    assert body.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", body)) == 6
    set_language("zh")
    assert write_stress_pdf(report, path) in ("zh", "en")
