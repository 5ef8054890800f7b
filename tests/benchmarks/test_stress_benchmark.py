import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import stress
from haihe_fl.stress.distribution import simulate_losses
from haihe_fl.stress.draws import DrawSettings
from haihe_fl.stress.run import shipped, shock_of
from haihe_fl.stress.settings import StressSettings

TINY = stress.Size(900, 60, 2, 3, 80, 5)


def test_plain_numpy_and_the_product_agree() -> None:
    catalogue, satellite = shipped()
    shock = shock_of(catalogue, satellite, catalogue["gfc-replay"], catalogue.overlay("none"))
    portfolio = stress.part_of(stress.made_up(TINY, 1), 80)
    options = DrawSettings(draws=40, idiosyncratic="none", seed=3)
    plain = stress.plain_losses(portfolio, shock, StressSettings(), options)
    ours = simulate_losses(portfolio, shock, None, options)
    np.testing.assert_allclose(ours.losses, plain, rtol=1e-5)


def test_figures_say_what_is_missed() -> None:
    rows = stress.figures({"memory_gb": 5, "vs_numpy": 60, "vs_limit": 2, "difference": 1e-3})
    assert [row["ok"] for row in rows] == ["NO", "yes", "yes", "NO"]


def test_the_whole_benchmark_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stress, "QUICK", TINY)
    assert stress.main(["--quick", "--json", str(tmp_path / "s.json")]) == 0
    written = json.loads((tmp_path / "s.json").read_text("utf-8"))
    assert written["figures"]["seconds"] > 0 and written["figures"]["difference"] < 1e-5
    assert len(written["tables"]["Goals"]) == 4
    assert "plain NumPy" in capsys.readouterr().out
