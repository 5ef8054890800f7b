from pathlib import Path

import numpy as np
import pytest

from haihe_fl.errors import UserError
from haihe_fl.scorecard.scale import ScoreScale, load_scale


def test_anchor_and_doubling() -> None:
    scale = load_scale()
    odds = np.array([50.0, 100.0, 25.0])
    np.testing.assert_allclose(scale.score(1 / (1 + odds)), [600.0, 620.0, 580.0], atol=1e-9)
    assert scale.score([0.01, 0.03]).round(2).tolist() == [619.71, 587.42]


def test_score_is_clipped_falls_with_pd_and_inverts() -> None:
    scale = load_scale()
    assert scale.score([0.0, 1.0]).tolist() == [950.0, 350.0]
    pd = np.linspace(0.001, 0.9, 500)
    assert np.all(np.diff(scale.score(pd)) < 0)
    np.testing.assert_allclose(scale.pd(scale.score(pd)), pd, rtol=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), -0.1, 1.1])
def test_impossible_pd_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        load_scale().score([0.1, bad])


def test_bands_cover_every_score_in_order() -> None:
    scale = load_scale()
    names = scale.band(np.arange(350.0, 951.0))
    seen = list(dict.fromkeys(names))
    assert seen == ["D", "C", "CC", "CCC", "B", "BB", "BBB", "A", "AA", "AAA"]


def test_band_agrees_with_the_score_as_shown() -> None:
    scale = load_scale()
    score, band = scale.rate(scale.pd(659.9999))
    assert (score.tolist(), band) == ([660.0], ["AAA"])


def test_scale_survives_json() -> None:
    scale = load_scale()
    assert ScoreScale.model_validate_json(scale.model_dump_json(by_alias=True)) == scale


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("pdo: 20", "Field required"),
        (
            "{pdo: 20, base_score: 600, base_odds: 50, clip: [350, 950], "
            "bands: [{name: A, from: 350}, {name: B, from: 400}]}",
            "best first",
        ),
        (
            "{pdo: 20, base_score: 600, base_odds: 50, clip: [350, 950], "
            "bands: [{name: A, from: 400}]}",
            "last band",
        ),
        (": : :", "scale"),
    ],
)
def test_a_faulty_file_is_named(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "scale.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=what) as caught:
        load_scale(path)
    assert caught.value.code == "H2410"
    assert str(path) in caught.value.zh
