"""What a run of the whole chain gives, as plain figures that are JSON both ways."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from haihe_fl.i18n import Text

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
"""Of the fan of cumulative network losses."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChainSettings(_Figures):
    """Which steps are on, and how they are taken; every choice is part of the run id.

    Attributes
    ----------
    draws : int
        Draws of the loss distribution; 0 leaves it out.
    enterprise_draws : int
        Draws, the first of the same, in which enterprises default one by one for contagion.
    seed : int
        Of both.
    downturn_lgd, contagion, pool, capital : bool
        Steps of the chain.
    attribution : {"order", "shapley"}
        How the waterfall shares out what steps have in common.
    insured : float
        Share of every loss that the pool insures (expert: the scheme's outline does not say
        which loans of a consortium it covers).
    """

    draws: int = Field(default=1000, ge=0, le=100_000)
    enterprise_draws: int = Field(default=50, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0)
    downturn_lgd: bool = True
    contagion: bool = True
    pool: bool = True
    capital: bool = True
    attribution: Literal["order", "shapley"] = "order"
    insured: float = Field(default=1.0, ge=0, le=1)


class TailFigures(_Figures):
    """Loss over the horizon: mean, value at risk and expected shortfall, CNY."""

    mean: float
    mean_se: float
    var99: float
    es99: float
    var999: float
    es999: float


class LossFigures(_Figures):
    """The distribution of losses, with contagion where that step is on.

    Attributes
    ----------
    levels : tuple of float
        Of the quantiles.
    fan : list, shape (levels, quarters)
        Quantiles of the network's loss up to the end of each quarter.
    network, institutions
        Tails; ``var999`` rests on the worst draw where there are fewer than a thousand.
    nodes : int
        How many nodes stood for the portfolio.
    """

    draws: int
    levels: tuple[float, ...]
    fan: list[list[float]]
    network: TailFigures
    institutions: dict[str, TailFigures]
    nodes: int


class Edge(_Figures):
    """A guarantee in the picture: positions in ``nodes`` of the picture, CNY."""

    borrower: int
    guarantor: int
    amount: float


class Node(_Figures):
    """An enterprise in the picture, without its name."""

    sector: str
    state: Literal["drawn", "felled", "called"]


class Picture(_Figures):
    """The largest called guarantees of one draw."""

    draw: int
    nodes: list[Node]
    edges: list[Edge]


class ContagionFigures(_Figures):
    """What the network added; means over the enterprise-level draws.

    Attributes
    ----------
    uplift, uplift_se : float
        Contagion's loss over first-round loss in the network, and its standard error.
    by_institution : dict of str to float
        The uplift at each.
    first, total : list, shape (draws,)
        Network loss of each draw without and with contagion, CNY.
    """

    draws: int
    lambda_: float
    guarantee_haircut: float
    uplift: float
    uplift_se: float | None
    by_institution: dict[str, float]
    drawn: float
    fallen: float
    called: float
    paid: float
    first: list[float]
    total: list[float]
    picture: Picture


class PoolFigures(_Figures):
    """What became of the insurance pool.

    Attributes
    ----------
    opening : float
        Capital after the scenario's cuts, CNY.
    expected_capital : list, shape (quarters + 1,)
        On the expected path.
    paid, bank, guarantor, government : float
        Who bears the expected losses settled within the horizon.
    outstanding : float
        Losses insured whose claims were not settled.
    exhausted_quarter : int
        On the expected path; 0 is never.
    exhausted_by : list, shape (quarters,), optional
        Share of draws in which it is empty by the end of the quarter.
    capital_quantiles : list, shape (levels, quarters + 1), optional
        Of its capital over draws.
    """

    opening: float
    expected_capital: list[float]
    paid: float
    bank: float
    guarantor: float
    government: float
    uninsured: float
    outstanding: float
    exhausted_quarter: int
    exhausted_by: list[float] | None = None
    capital_quantiles: list[list[float]] | None = None


class InstitutionCapital(_Figures):
    """CET1 of an institution, or of the network.

    Attributes
    ----------
    ratio : list, shape (quarters + 1,)
        CET1 over RWA.
    cet1, rwa : list, shape (quarters + 1,)
        CNY.
    profit, tax : float
        Over the horizon.
    breach : int
        First quarter below the minimum; 0 is never.
    breach_probability : float, optional
        Share of draws in which any quarter ends below it.
    worst : float, optional
        Ratio at the end that one draw in a hundred undercuts.
    waterfall : dict of str to float
        From the opening ratio to the closing one.
    """

    ratio: list[float]
    cet1: list[float]
    rwa: list[float]
    profit: float
    tax: float
    breach: int
    breach_probability: float | None
    worst: float | None
    waterfall: dict[str, float]


class CapitalFigures(_Figures):
    """Capital of the network and of each institution."""

    minimum: float
    evidence: str
    network: InstitutionCapital
    institutions: dict[str, InstitutionCapital]


class ChainResult(_Figures):
    """Result of one scenario through the chain.

    Attributes
    ----------
    run_id : str
        Hash over scenario, code, model, portfolio, network, balance sheets, pool and settings.
    stress_id : str
        Run id of the scenario on the portfolio alone.
    stress : dict
        Its summary and tables (`haihe_fl.stress.results.StressResult`).
    steps : tuple of str
        Steps that were taken.
    notes : tuple of Text
        Why others were not.
    expected : list, shape (quarters,)
        Network's expected loss with contagion, CNY.
    memory_mb : float
        Of the arrays that grow with draws and loans.
    """

    run_id: str
    stress_id: str
    settings: ChainSettings
    stress: dict[str, Any]
    steps: tuple[str, ...]
    notes: tuple[Text, ...]
    expected: list[float]
    losses: LossFigures | None = None
    contagion: ContagionFigures | None = None
    pool: PoolFigures | None = None
    capital: CapitalFigures | None = None
    memory_mb: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready; `model_validate` reads it back."""
        return self.model_dump(mode="json")
