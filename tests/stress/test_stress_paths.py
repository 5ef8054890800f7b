import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haihe_fl.stress.checks import SHAPES
from haihe_fl.stress.paths import driver_paths, profile_path, shape
from haihe_fl.stress.run import shipped

R = 2**-0.5  # one quarter of decay with a half-life of two


@pytest.mark.parametrize(
    ("name", "q", "h", "expected"),
    [
        ("ramp_decay", 2, 2, [0.5, 1, R, 0.5, R / 2, 0.25, R / 4, 0.125]),
        ("spike", 3, 1, [0, 0, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ("ramp_hold", 4, None, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("plateau", 2, 2, [0.5, 1, 1, 1, 0.5, 0, 0, 0]),
        ("plateau", 1, 1.5, [1, 1, 1, 1 / 3, 0, 0, 0, 0]),  # held for two, falls over 1.5
        ("double_dip", 1, 1, [1, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.6, 0.3]),
        ("seasonal_q3", 3, 2, [0, 0, 1, 0, 0, 0, 0.5, 0]),
        ("seasonal_q3", 4, 3, [0, 0, 0, 0, 0, 0, 2**-0.5, 0]),
    ],
)
def test_shapes_by_hand(name: str, q: int, h: float | None, expected: list[float]) -> None:
    np.testing.assert_allclose(shape(name, q, h, 8), expected, rtol=1e-12, atol=1e-15)


@given(st.sampled_from(SHAPES), st.integers(1, 12), st.floats(0.25, 12))
def test_shapes_stay_between_zero_and_the_peak(name: str, q: int, h: float) -> None:
    path = shape(name, q, h)
    assert path.shape == (12,)
    assert (path >= 0).all()
    assert (path <= 1).all()
    if name != "seasonal_q3":
        assert path[q - 1] == 1
        assert path.argmax() == q - 1


def test_unknown_shapes_and_half_lives_are_refused() -> None:
    with pytest.raises(ValueError, match="no shape"):
        shape("wave", 2, 3)
    with pytest.raises(ValueError, match="half-life"):
        shape("spike", 2, None)


def test_every_driver_peaks_as_the_file_says() -> None:
    catalogue, _ = shipped()
    names = list(catalogue.drivers)
    for scenario in catalogue.scenarios:
        paths = driver_paths(catalogue, scenario)
        assert paths.shape == (14, 12)
        for name, path in zip(names, paths, strict=True):
            if name in scenario.drivers:
                spec = scenario.drivers[name]
                assert path[spec.peak_quarter - 1] == pytest.approx(spec.peak)
            else:
                assert not path.any()
        assert profile_path(catalogue, scenario).max() == 1


def test_overlay_adds_to_the_peak_with_the_drivers_own_shape() -> None:
    catalogue, _ = shipped()
    scenario = catalogue["gfc-replay"]
    lpr = list(catalogue.drivers).index("lpr")
    plain = driver_paths(catalogue, scenario)[lpr]
    eased = driver_paths(catalogue, scenario, catalogue.overlay("monetary_easing"))[lpr]
    np.testing.assert_allclose(eased, plain * 200 / 150)


def test_overlay_on_another_driver_takes_the_scenarios_profile() -> None:
    catalogue, _ = shipped()
    scenario = catalogue["haihe-flood"]  # has no lpr path; profile: spike at 3, half-life 2
    lpr = list(catalogue.drivers).index("lpr")
    eased = driver_paths(catalogue, scenario, catalogue.overlay("monetary_easing"))[lpr]
    np.testing.assert_allclose(eased[:5], [0, 0, -50, -50 * R, -25])


def test_severity_scales_the_scenario_not_the_policy() -> None:
    catalogue, _ = shipped()
    scenario, overlay = catalogue["gfc-replay"], catalogue.overlay("tightening")
    one = driver_paths(catalogue, scenario, overlay)
    two = driver_paths(catalogue, scenario, overlay, severity=2)
    np.testing.assert_allclose(two - one, driver_paths(catalogue, scenario))
