"""The noise has the law that the accounting needs."""

import math
import os

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import chisquare, norm

from haihe_fl.errors import PolicyError
from haihe_fl.privacy.noise import MIN_SD, NoiseSource, Quorum


def rounded_pmf(sd: float, reach: int) -> NDArray[np.float64]:
    k = np.arange(-reach, reach + 1)
    return np.asarray(norm.cdf(k + 0.5, scale=sd) - norm.cdf(k - 0.5, scale=sd))


def post_processed_pmf(sd: float, parties: int, reach: int) -> NDArray[np.float64]:
    """Law of round(N(0, M sd^2) + M - 1 uniforms): the density of N + M uniforms at integers."""
    t = np.linspace(-60, 60, 240_001)
    phi = np.exp(-parties * sd**2 * t**2 / 2) * np.sinc(t / (2 * math.pi)) ** parties
    k = np.arange(-reach, reach + 1)
    waves = np.array([np.trapezoid(phi * np.cos(t * value), t) for value in k])
    return waves / (2 * math.pi)


@pytest.mark.parametrize("parties", [2, 3, 5])
@pytest.mark.parametrize("sd", [0.5, 0.7, 0.9])
def test_sum_of_rounded_gaussians_is_post_processing_up_to_aliasing(
    sd: float, parties: int
) -> None:
    reach = 14
    one = rounded_pmf(sd, 60)
    total = one
    for _ in range(parties - 1):
        total = np.convolve(total, one)
    middle = len(total) // 2
    total = total[middle - reach : middle + reach + 1]
    difference = np.abs(total - post_processed_pmf(sd, parties, reach)).max()
    bound = 2 * parties * math.exp(-2 * math.pi**2 * sd**2 * (1 - 1 / parties))
    assert difference <= bound
    if sd == 0.5:
        assert difference > 1e-4  # at small sd the two laws do differ, and the test sees it


def test_aliasing_is_nothing_at_the_floor() -> None:
    assert math.log10(2 * 100) - math.pi**2 * MIN_SD**2 / math.log(10) < -420


def test_marginal_law_moments_and_tails() -> None:
    draw = NoiseSource().rounded_gaussian(12.0, 1_000_000)
    k = np.arange(-40, 41)
    counts = np.array([(draw <= k[0]).sum(), *((draw == v).sum() for v in k[1:-1]), 0])
    counts[-1] = (draw >= k[-1]).sum()
    pmf = rounded_pmf(12.0, 40)
    pmf[0], pmf[-1] = norm.cdf(-39.5, scale=12), norm.sf(39.5, scale=12)
    assert chisquare(counts, pmf / pmf.sum() * len(draw)).pvalue > 1e-6
    for size in (3.0, 4.0):
        expected = 2 * math.exp(log_ndtr(-size)) * len(draw)
        assert (np.abs(draw) > size * 12).sum() == pytest.approx(expected, rel=0.5)
    assert abs(np.corrcoef(draw[:-1], draw[1:])[0, 1]) < 0.005


def test_far_tail_words_are_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest words still give finite, ever more distant values: no cut-off at 9 sd."""
    source = NoiseSource()
    words = [np.array([0, 2, 2**33, 1], dtype=np.uint64), np.array([0, 5, 9, 2**63], np.uint64)]
    monkeypatch.setattr(source, "_words", lambda size: words.pop(0)[:size])
    draw = source.rounded_gaussian(1e6, 4)
    assert 12.9e6 < draw[0] < 13.2e6 and 9.0e6 < draw[1] < 9.3e6 and 6.2e6 < draw[2] < 6.4e6
    assert draw[3] < -9.0e6


def test_sources_are_fresh_unless_seeded() -> None:
    seed = bytes(range(32))
    first, second = (NoiseSource(seed).rounded_gaussian(50.0, 100_000) for _ in range(2))
    assert np.array_equal(first, second)
    one, two = (NoiseSource().rounded_gaussian(50.0, 1000) for _ in range(2))
    assert not np.array_equal(one, two)
    source = NoiseSource(seed)
    assert not np.array_equal(source.rounded_gaussian(50.0, 50), source.rounded_gaussian(50.0, 50))
    with pytest.raises(ValueError, match="32 bytes"):
        NoiseSource(b"short")


def test_a_forked_process_does_not_repeat_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    source = NoiseSource()
    key = source._stream
    monkeypatch.setattr(os, "getpid", lambda: -1)
    source.rounded_gaussian(50.0, 10)
    assert source._stream is not key


@pytest.mark.parametrize("sd", [0.0, 9.99, 2.0**41, math.nan, math.inf])
def test_noise_outside_the_argument_is_refused(sd: float) -> None:
    with pytest.raises(PolicyError, match="H3201"):
        NoiseSource().rounded_gaussian(sd, 3)


def test_quorum() -> None:
    for parties in range(1, 200):
        quorum = Quorum.default(parties)
        assert quorum.minimum >= 0.8 * parties
        least = quorum.noise_parties * quorum.share_sd(3.0, 7.0) ** 2
        assert least == pytest.approx(3.0**2 * 7.0**2)
    for bad in ((4, 2, 0), (5, 3, 1), (5, 6, 0), (5, 5, 5), (5, 5, -1), (0, 0, 0)):
        with pytest.raises(ValueError):
            Quorum(*bad)
