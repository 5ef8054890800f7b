import pytest

from benchmarks import footprint


@pytest.mark.system
def test_agent_and_courier_are_measured_in_a_real_run() -> None:
    settings = {"rounds_without_pairs": 2, "pairs": 0}
    peaks = footprint.measure_agent(footprint.Size(1_500, {"additive": settings}, ()), seed=5)
    assert peaks["additive"] >= peaks["loaded"] > 30
    assert peaks["additive releases"] > 4
    assert 30 < peaks["courier"] < footprint.LIMITS["courier"]
    rows = footprint.rows_of(peaks, None, 1_500)
    assert [row["ok"] for row in rows] == ["yes", "yes", "not measured", "yes", "not measured"]
