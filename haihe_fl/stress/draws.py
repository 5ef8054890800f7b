"""Draws of the systematic factors, from a counter-based generator.

Every number has a place of its own, (purpose, seed, quarter or name, draw), in a Philox
stream. So institutions that share a seed share the factors, and no number depends on how many
draws are asked for, in which blocks, or by how many threads.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import ndtri  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
_LANES = 4  # numbers that one step of the counter gives


class DrawSettings(BaseModel):
    """What an analyst may choose about draws; every choice changes results, but ``method``.

    Attributes
    ----------
    draws : int
        Number of draws.
    seed : int
        Of the factors and of the idiosyncratic part.
    common : float
        Share of a sector factor's variance that all sectors have in common: the correlation of
        two sector factors. An expert prior.
    phi : float
        Autocorrelation of the factors from quarter to quarter. An expert prior. At 0 quarters
        are independent, and three bad years hardly ever come together.
    shift : float
        Length of the shift of the common factor in standard deviations, for tails; negative is
        adverse, 0 draws as usual. Every second draw is shifted, and weights make up for it.
    idiosyncratic : {"poisson", "normal", "none"}
        Law of an institution's loss given the factors: matched in mean and variance, or the
        conditional mean alone (infinitely fine-grained).
    frye_jacobs : bool
        LGD rises and falls with the draw; expected loss stays. Always over enterprises.
    method : {"auto", "bucketed", "dense"}
        Over nodes of (sector, PD, size), over enterprises, or whichever is less work. They
        agree to 1e-5 of an institution's expected loss, in every draw.
    quarters : int, optional
        Only the first so many quarters; 4 gives a one-year distribution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    draws: int = Field(default=1000, ge=1, le=10_000_000)
    seed: int = Field(default=0, ge=0)
    common: float = Field(default=0.7, ge=0, le=1)
    phi: float = Field(default=0.8, ge=0, lt=1)
    shift: float = Field(default=0.0, ge=-6, le=6)
    idiosyncratic: Literal["poisson", "normal", "none"] = "poisson"
    frye_jacobs: bool = False
    method: Literal["auto", "bucketed", "dense"] = "auto"
    quarters: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "DrawSettings":
        if self.frye_jacobs and self.method == "bucketed":
            raise ValueError("frye_jacobs is computed over enterprises: method auto or dense")
        return self


@dataclass(frozen=True, eq=False)
class FactorDraws:
    """Systematic factors.

    Attributes
    ----------
    factors : ndarray, shape (sectors, quarters, draws)
        Standard normal Y of each sector (but for the shift); low values are bad.
    weights : ndarray, shape (draws,)
        Likelihood ratios; 1 without a shift, and with one below 2 and of mean 1.
    """

    factors: Floats
    weights: Floats


def uniforms(*place: str | int, first: int = 0, count: int, width: int = 1) -> Floats:
    """Return uniform numbers in (0, 1) that belong to a place, shape (count, width).

    Row r depends on the place, on ``width`` and on ``first + r`` alone.

    Examples
    --------
    >>> a = uniforms("factors", 7, count=5, width=13)
    >>> bool((uniforms("factors", 7, first=3, count=2, width=13) == a[3:]).all())
    True
    """
    text = "\x1f".join(("haihe-draws-1", *map(str, place)))
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    if width == 1:
        steps, skip = divmod(first, _LANES)
        stream = np.random.Philox(key=key, counter=steps)
        raw = stream.random_raw(skip + count)[skip:, None]
    else:
        steps = -(-width // _LANES)
        stream = np.random.Philox(key=key, counter=first * steps)
        raw = stream.random_raw(count * steps * _LANES).reshape(count, -1)[:, :width]
    return np.asarray(((raw >> np.uint64(11)) + 0.5) * 2.0**-53)


def shift_direction(quarters: int, phi: float) -> Floats:
    """Return the unit direction in the common factor's innovations that moves its sum most.

    It is the same for every portfolio, so institutions that share a seed stay on one draw.

    Examples
    --------
    >>> shift_direction(4, 0.0).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    # One unit of the innovation of quarter t moves quarters t, t + 1, ... by 1, phi, phi^2, ...
    reach = np.cumsum(phi ** np.arange(quarters))[::-1]
    step = np.full(quarters, np.sqrt(1.0 - phi * phi))
    step[0] = 1.0
    direction = reach * step
    return np.asarray(direction / np.linalg.norm(direction))


def factor_draws(
    settings: DrawSettings, sectors: int, quarters: int, first: int = 0, count: int | None = None
) -> FactorDraws:
    r"""Draw the factors of ``count`` draws from number ``first`` on.

    .. math:: Y_{s,t} = \sqrt{c}\, C_t + \sqrt{1-c}\, S_{s,t}, \qquad
              C_t = \varphi C_{t-1} + \sqrt{1-\varphi^2}\, \eta_t

    and likewise for each S. All innovations are independent, so in the notation
    :math:`w'\Omega w = 1` the factors are (C, S) with :math:`\Omega = I` and a sector's weights
    are :math:`\sqrt{c}` and :math:`\sqrt{1-c}`.

    Odd draws have :math:`\mu` added to the innovations of C. The law of a draw is then an even
    mixture, so its weight is :math:`2 / (1 + \exp(\mu'\eta - |\mu|^2/2))`.

    Examples
    --------
    >>> whole = factor_draws(DrawSettings(seed=3), sectors=2, quarters=4, count=6).factors
    >>> part = factor_draws(DrawSettings(seed=3), sectors=2, quarters=4, first=4, count=2).factors
    >>> whole.shape, bool((whole[..., 4:] == part).all())
    ((2, 4, 6), True)
    """
    count = settings.draws if count is None else count
    shift = settings.shift * shift_direction(quarters, settings.phi)
    moved = (first + np.arange(count)) % 2
    exponent = np.full(count, -0.5 * float(shift @ shift))
    factors = np.empty((sectors, quarters, count))
    state = np.zeros((sectors + 1, count))
    for t in range(quarters):
        place = ("factors", settings.seed, t)
        fresh = ndtri(uniforms(*place, first=first, count=count, width=sectors + 1)).T
        fresh[0] += shift[t] * moved
        exponent += shift[t] * fresh[0]
        kept = settings.phi if t else 0.0
        state = kept * state + np.sqrt(1.0 - kept * kept) * fresh
        factors[:, t] = np.sqrt(settings.common) * state[0]
        factors[:, t] += np.sqrt(1.0 - settings.common) * state[1:]
    return FactorDraws(factors, 2.0 / (1.0 + np.exp(exponent)))
