"""Settings of a stress run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StressSettings(BaseModel):
    """What an analyst may choose; every choice is part of the run id.

    Attributes
    ----------
    confidence : float
        Of the one-year loss quantile.
    residual : bool
        Take the macro path's share ``r2_macro`` off the correlation of the loss quantile. The
        PDs already follow the path, so full correlation would count it twice; switch it off
        only for through-the-cycle PDs. Regulatory capital always has the full correlation.
    severity : float
        Scales the scenario: driver peaks, log multipliers, add-ons (1 is as published).
    downturn_lgd : bool
        LGD by the state of the economy; switched off, every loan keeps its own, and neither
        falling collateral nor a scenario's add-on counts.
    maturity : float
        Effective maturity of the IRB formula, in years.
    pd_floor : float
        Floor of the PD in the IRB formula (CRE32.4: 0.05 %).
    lifetime_quarters : int
        Remaining life of a loan, for lifetime losses; the balance sheet is static.
    beyond : {"hold", "revert"}
        Hazard and LGD after the last quarter: held there, or back at their start.
    discount : float
        Effective annual rate that discounts expected credit losses.
    sicr_ratio, sicr_margin : float
        Stage 2 from this multiple of the PD at origination, and at least this much above it.
    collateral_haircut, collateral_floor : float
        Of the collateral term of the LGD.
    seed : int
        Of the masks in scenarios that lose data.
    block : int
        Rows at a time; changes memory, not results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    confidence: float = Field(default=0.999, gt=0.5, lt=1)
    residual: bool = True
    r2_macro: float = Field(default=0.5, ge=0, lt=1)
    severity: float = Field(default=1.0, ge=0, le=10)
    downturn_lgd: bool = True
    maturity: float = Field(default=2.5, ge=1, le=5)
    pd_floor: float = Field(default=0.0005, ge=0, lt=1)
    lifetime_quarters: int = Field(default=10, ge=4, le=120)
    beyond: Literal["hold", "revert"] = "hold"
    discount: float = Field(default=0.05, ge=0, lt=1)
    sicr_ratio: float = Field(default=2.5, ge=1)
    sicr_margin: float = Field(default=0.005, ge=0)
    collateral_haircut: float = Field(default=0.3, ge=0, le=1)
    collateral_floor: float = Field(default=0.1, ge=0, le=1)
    seed: int = 0
    block: int = Field(default=8192, ge=1, exclude=True)
