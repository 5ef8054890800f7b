"""What a stress run gives: sums by cell, and the figures read from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from haihe_fl.i18n import tr
from haihe_fl.stress.satellite import Plausibility
from haihe_fl.stress.scenarios import Grade
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]
By = Literal["sector", "institution"]
_AXES: dict[By | None, tuple[int, ...]] = {"sector": (1,), "institution": (0,), None: (0, 1)}


@dataclass(frozen=True, eq=False)
class StressResult:
    """Result of one scenario on one portfolio.

    Attributes
    ----------
    run_id : str
        Hash over scenarios, satellite, code, model, portfolio, settings and seed.
    evidence, grade, anchor : str
        What stands behind the scenario's magnitudes; shown wherever its figures are.
    plausibility : Plausibility
        How many sigma the scenario amounts to.
    cells : dict of str to ndarray, shape (sectors, institutions, quarters)
        Sums of each measure of `haihe_fl.stress.kernel.MEASURES`.
    start : dict of str to ndarray, shape (sectors, institutions)
        The same before the shock; ``ecl`` is the opening allowance.
    baseline_el : ndarray, shape (sectors, institutions, quarters)
        Expected loss of a quiet economy.
    not_applied : tuple of str
        Parts of the scenario that are carried but not computed here.
    """

    run_id: str
    scenario_id: str
    name_en: str
    name_zh: str
    family: str
    evidence: str
    grade: Grade
    anchor: str
    overlay: str
    model_name: str
    model_fingerprint: str
    code_version: str
    settings: StressSettings
    plausibility: Plausibility
    sectors: tuple[str, ...]
    institutions: tuple[str, ...]
    cells: dict[str, Floats]
    start: dict[str, Floats]
    baseline_el: Floats
    not_applied: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in the language in force."""
        return tr(self.name_en, self.name_zh)

    @property
    def quarters(self) -> int:
        """Number of quarters."""
        return int(self.baseline_el.shape[-1])

    def total(self, measure: str, by: By | None = None) -> Floats:
        """Return a measure's sum: shape (quarters,), or (sectors or institutions, quarters)."""
        return np.asarray(self.cells[measure].sum(axis=_AXES[by]))

    def opening(self, measure: str, by: By | None = None) -> Floats:
        """Return a measure's sum before the shock."""
        return np.asarray(self.start[measure].sum(axis=_AXES[by]))

    def mean_pd(self, by: By | None = None) -> Floats:
        """Return the mean annual PD over borrowers, by quarter."""
        return _ratio(self.total("pd", by), self.total("borrowers", by))

    def mean_pd_start(self, by: By | None = None) -> Floats:
        """Return the mean annual PD before the shock."""
        return _ratio(self.opening("pd", by), self.opening("borrowers", by))

    def default_rate(self, by: By | None = None) -> Floats:
        """Return the expected cumulative default rate of borrowers, by quarter."""
        defaults = np.cumsum(self.total("defaults", by), axis=-1)
        return _ratio(defaults, self.total("borrowers", by))

    def loss_rate(self, by: By | None = None) -> Floats:
        """Return cumulative expected loss over opening exposure, by quarter."""
        loss = np.cumsum(self.total("el", by), axis=-1)
        return _ratio(loss, self.opening("exposure", by)[..., None])

    def unexpected_loss(self, by: By | None = None) -> Floats:
        """Return one-year loss at the confidence level less one-year expected loss."""
        return self.total("loss_tail", by) - self.total("el_year", by)

    def rwa(self, by: By | None = None) -> Floats:
        """Return IRB risk-weighted assets of performing exposure, by quarter."""
        return 12.5 * self.total("capital", by)

    def ecl(self, by: By | None = None) -> Floats:
        """Return the allowance of all stages at the end of each quarter."""
        return self.total("ecl1", by) + self.total("ecl2", by) + self.total("ecl3", by)

    def ecl_change(self, by: By | None = None) -> Floats:
        """Return the allowance built since the start: the charge to profit, before recoveries."""
        return self.ecl(by) - self.opening("ecl", by)[..., None]

    def summary(self) -> dict[str, Any]:
        """Return the headline figures, JSON-ready. Money in CNY, rates as fractions."""
        pd, ecl = self.mean_pd(), self.ecl()
        worst = int(pd.argmax())
        el = float(self.total("el").sum())
        quiet = float(self.baseline_el.sum())
        return {
            "run_id": self.run_id,
            "scenario": self.scenario_id,
            "name": {"en": self.name_en, "zh": self.name_zh},
            "family": self.family,
            "overlay": self.overlay,
            "grade": self.grade,
            "evidence": self.evidence,
            "sigma": self.plausibility.sigma,
            "sigma_all": self.plausibility.sigma_all,
            "model": self.model_name,
            "borrowers": float(self.opening("borrowers")),
            "exposure": float(self.opening("exposure")),
            "pd_start": float(self.mean_pd_start()),
            "pd_peak": float(pd[worst]),
            "peak_quarter": worst + 1,
            "default_rate": float(self.default_rate()[-1]),
            "expected_loss": el,
            "expected_loss_baseline": quiet,
            "excess_loss": el - quiet,
            "loss_rate": float(self.loss_rate()[-1]),
            "loss_tail_peak": float(self.total("loss_tail").max()),
            "unexpected_loss_peak": float(self.unexpected_loss().max()),
            "rwa_start": float(12.5 * self.opening("capital")),
            "rwa_peak": float(self.rwa().max()),
            "ecl_start": float(self.opening("ecl")),
            "ecl_peak": float(ecl.max()),
            "ecl_change": float(self.ecl_change()[-1]),
            "stage2_share_peak": float((self.total("exposure2") / self._staged()).max()),
            "not_applied": list(self.not_applied),
        }

    def tables(self) -> dict[str, Any]:
        """Return the figures by quarter, by sector and by institution, JSON-ready."""
        quarters = {
            "mean_pd": self.mean_pd(),
            "default_rate": self.default_rate(),
            "expected_loss": self.total("el"),
            "expected_loss_baseline": self.baseline_el.sum(axis=(0, 1)),
            "loss_tail": self.total("loss_tail"),
            "unexpected_loss": self.unexpected_loss(),
            "irb_capital": self.total("capital"),
            "rwa": self.rwa(),
            **{f"ecl_stage{k}": self.total(f"ecl{k}") for k in (1, 2, 3)},
            **{f"exposure_stage{k}": self.total(f"exposure{k}") for k in (1, 2, 3)},
            "ecl_change": self.ecl_change(),
        }
        return {
            "by_quarter": {name: values.tolist() for name, values in quarters.items()},
            "by_sector": dict(zip(self.sectors, self._rows("sector"), strict=True)),
            "by_institution": dict(zip(self.institutions, self._rows("institution"), strict=True)),
        }

    def _rows(self, by: By) -> list[dict[str, float]]:
        columns = {
            "borrowers": self.opening("borrowers", by),
            "exposure": self.opening("exposure", by),
            "pd_start": self.mean_pd_start(by),
            "pd_peak": self.mean_pd(by).max(axis=1),
            "default_rate": self.default_rate(by)[:, -1],
            "expected_loss": self.total("el", by).sum(axis=1),
            "unexpected_loss_peak": self.unexpected_loss(by).max(axis=1),
            "rwa_peak": self.rwa(by).max(axis=1),
            "ecl_change": self.ecl_change(by)[:, -1],
        }
        return [
            {k: float(v[i]) for k, v in columns.items()} for i in range(len(columns["pd_peak"]))
        ]

    def _staged(self) -> Floats:
        return self.total("exposure1") + self.total("exposure2") + self.total("exposure3")

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready; `from_dict` reads it back."""
        plain = {
            k: getattr(self, k) for k in self.__dataclass_fields__ if k not in _ARRAYS | _NESTED
        }
        return {
            **plain,
            "settings": self.settings.model_dump(mode="json"),
            "plausibility": asdict(self.plausibility),
            "cells": {k: v.tolist() for k, v in self.cells.items()},
            "start": {k: v.tolist() for k, v in self.start.items()},
            "baseline_el": self.baseline_el.tolist(),
            "summary": self.summary(),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "StressResult":
        """Rebuild a result from `to_dict`."""
        body = {k: v for k, v in raw.items() if k != "summary"}
        return cls(
            **{
                **body,
                "settings": StressSettings.model_validate(raw["settings"]),
                "plausibility": Plausibility(**raw["plausibility"]),
                "sectors": tuple(raw["sectors"]),
                "institutions": tuple(raw["institutions"]),
                "not_applied": tuple(raw["not_applied"]),
                "cells": {k: np.asarray(v, dtype=np.float64) for k, v in raw["cells"].items()},
                "start": {k: np.asarray(v, dtype=np.float64) for k, v in raw["start"].items()},
                "baseline_el": np.asarray(raw["baseline_el"], dtype=np.float64),
            }
        )


_ARRAYS = {"cells", "start", "baseline_el"}
_NESTED = {"settings", "plausibility"}


def compare(results: Sequence[StressResult]) -> list[dict[str, Any]]:
    """Return the summaries side by side, worst expected loss first, with ratios to the first.

    ``loss_vs_first`` is expected loss over that of the first result given.
    """
    if not results:
        return []
    reference = float(results[0].total("el").sum())
    rows = [
        {**s, "loss_vs_first": s["expected_loss"] / reference if reference else float("nan")}
        for s in (r.summary() for r in results)
    ]
    return sorted(rows, key=lambda row: -row["expected_loss"])


def _ratio(a: Floats, b: Floats) -> Floats:
    """Return a / b, and 0 where a cell is empty."""
    out = np.zeros(np.broadcast_shapes(a.shape, b.shape))
    return np.divide(a, b, out=out, where=b > 0)
