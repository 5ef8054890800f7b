"""The consortium: 23 institutions, their borrowers, the networks between them and the truth."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.cohort import Cohort, Floats
from haihe_fl.data.synth.config import (
    Institution,
    categories,
    tianjin_catalogue,
    tianjin_institutions,
)
from haihe_fl.data.synth.economy import RECEIVABLE, Array, found
from haihe_fl.data.synth.features import clean_values
from haihe_fl.data.synth.lenders import lend, observe
from haihe_fl.data.synth.networks import Edges, guarantee_network, supply_chain
from haihe_fl.data.synth.panel import Panel, draw_panel
from haihe_fl.data.synth.truth import true_logit, true_pd
from haihe_fl.data.synth.uscc import make_usccs
from haihe_fl.errors import UserError

MOST_ENTERPRISES = 1_000_000
FEWEST_ENTERPRISES = 1_000
DATES = np.array(["2022-03-31", "2022-06-30", "2022-09-30", "2022-12-31"], dtype="datetime64[D]")


@dataclass(frozen=True, eq=False)
class Enterprises:
    """All enterprises of the city, one row each: what nobody holds in one place.

    Attributes
    ----------
    key : ndarray of str, shape (n,)
        USCC.
    sector, district : ndarray of int8, shape (n,)
        Positions in the categories of the catalogue.
    values : ndarray of float32, shape (n, d)
        Clean features, without gaps and noise, in catalogue order.
    hidden : ndarray of float64, shape (n,)
        The part of the risk that no feature shows, in standard deviations.
    true_pd : ndarray of float64, shape (n,)
        True probability of default within 12 months.
    label : ndarray of int8, shape (n,)
        Whether it did default: one draw an enterprise, the same at all its lenders.
    date : ndarray of datetime64[D], shape (n,)
        Date of the record.
    sales, net_worth, cash : ndarray of float64, shape (n,)
        Yearly sales, net worth and liquid assets, CNY.
    """

    key: NDArray[np.str_]
    sector: NDArray[np.int8]
    district: NDArray[np.int8]
    values: Floats
    hidden: Array
    true_pd: Array
    label: NDArray[np.int8]
    date: NDArray[np.datetime64]
    sales: Array
    net_worth: Array
    cash: Array

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True, eq=False)
class Consortium:
    """The synthetic Tianjin consortium.

    Attributes
    ----------
    cohort : Cohort
        Records of all institutions, sorted by institution as in ``institutions``; ``extra``
        holds ``ead`` (CNY), ``lgd``, ``sector``, ``district``, ``true_pd`` and ``enterprise``
        (position in ``enterprises``).
    enterprises : Enterprises
        The enterprises behind the records.
    guarantees, supply_chain : Edges
        Guarantor to borrower; supplier to buyer.
    institutions : tuple of Institution
        The lenders.
    seed : int
        The seed that made it.
    """

    cohort: Cohort
    enterprises: Enterprises
    guarantees: Edges
    supply_chain: Edges
    institutions: tuple[Institution, ...]
    seed: int

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over records, networks and truth, in hex."""
        digest = hashlib.sha256(self.cohort.fingerprint.encode())
        for edges in (self.guarantees, self.supply_chain):
            for column in (edges.source, edges.target, edges.amount, edges.kind):
                digest.update(np.ascontiguousarray(column).tobytes())
        for name in ("ead", "lgd"):
            digest.update(np.ascontiguousarray(self.cohort.extra[name]).tobytes())
        digest.update("\0".join(self.cohort.institution.tolist()).encode())
        digest.update(np.ascontiguousarray(self.enterprises.true_pd).tobytes())
        return digest.hexdigest()

    def panel(self, quarters: int = 24, beta: dict[str, float] | None = None) -> Panel:
        """Draw the quarterly panel of performing borrowers and defaults.

        Parameters
        ----------
        quarters : int
            Length of the panel.
        beta : dict of str to float, optional
            True log-odds per adverse standard deviation of each driver; by default the priors
            of ``configs/satellite.yaml``. Drivers not named keep their prior.
        """
        who = self.cohort.extra["enterprise"].astype(np.int64)
        names = [i.id for i in self.institutions]
        ordered = np.argsort(names)
        lender = ordered[np.searchsorted(np.array(names)[ordered], self.cohort.institution)]
        return draw_panel(
            lender,
            self.enterprises.sector[who],
            self.enterprises.true_pd[who],
            tuple(names),
            quarters=quarters,
            beta=beta,
            rng=np.random.default_rng(np.random.SeedSequence([self.seed, 2])),
        )

    def save(self, folder: Path) -> list[Path]:
        """Write the consortium to files: see :mod:`haihe_fl.data.synth.storage`."""
        from haihe_fl.data.synth.storage import save

        return save(self, folder)


def synthesise(
    enterprises: int = 30_000,
    seed: int = 2023,
    institutions: tuple[Institution, ...] | None = None,
) -> Consortium:
    """Make the synthetic Tianjin consortium.

    Parameters
    ----------
    enterprises : int
        Number of enterprises, 1,000 to 1,000,000 (the whole of Tianjin: 380,000).
    seed : int
        Seed of everything; the same seed and size give the same consortium.
    institutions : tuple of Institution, optional
        The lenders; by default those of ``configs/institutions.yaml``.

    Raises
    ------
    UserError
        H2060 if the number of enterprises or the seed is out of range.

    Examples
    --------
    >>> c = synthesise(enterprises=1_000, seed=1)
    >>> len(c.enterprises), len(c.cohort.by_institution())
    (1000, 23)
    """
    if not FEWEST_ENTERPRISES <= enterprises <= MOST_ENTERPRISES or seed < 0:
        raise UserError(
            "H2060",
            en=f"{enterprises} enterprises with seed {seed}: give "
            f"{FEWEST_ENTERPRISES} to {MOST_ENTERPRISES} enterprises and a seed of 0 or more",
            zh=f"企业数 {enterprises}、随机种子 {seed} 无效:企业数应为 "
            f"{FEWEST_ENTERPRISES} 至 {MOST_ENTERPRISES},种子不得为负",
        )
    institutions = institutions or tianjin_institutions()
    catalogue = tianjin_catalogue()
    # A stream for each part: a change in one part leaves the draws of the others alone.
    parts = np.random.SeedSequence([seed, 1]).spawn(8)
    rng = [np.random.default_rng(part) for part in parts]

    economy = found(enterprises, rng[0])
    days = RECEIVABLE[economy.sector] * np.exp(
        -0.15 * economy.factors["liquidity"] + 0.35 * rng[1].standard_normal(enterprises)
    )
    guarantees = guarantee_network(economy, rng[2])
    chain, buyer_hhi = supply_chain(economy, days, rng[3])
    given = np.bincount(guarantees.source, weights=guarantees.amount, minlength=enterprises)
    networks = {
        "guarantee_ratio": given / economy.net_worth,
        "buyer_hhi": buyer_hhi,
        "receivable_days": days,
    }
    values = clean_values(economy, catalogue, networks, rng[4])
    logit = true_logit(catalogue, values, economy.hidden)
    pd = true_pd(logit)
    label = (rng[5].random(enterprises) < pd).astype(np.int8)
    people = Enterprises(
        key=make_usccs(economy.district, start=int(rng[1].integers(31**6))),
        sector=economy.sector,
        district=economy.district,
        values=values,
        hidden=economy.hidden,
        true_pd=pd,
        label=label,
        date=DATES[rng[5].integers(len(DATES), size=enterprises)],
        sales=economy.sales,
        net_worth=economy.net_worth,
        cash=economy.cash,
    )
    cover = values[:, catalogue.index("property_cover")].astype(np.float64)
    loans = lend(economy, logit, cover, institutions, rng[6])
    who = loans.enterprise
    cohort = Cohort(
        catalogue=catalogue,
        values=observe(catalogue, values, economy, loans, institutions, rng[7]),
        label=label[who],
        key=people.key[who],
        institution=np.array([i.id for i in institutions])[loans.lender],
        date=people.date[who],
        extra={
            "ead": loans.ead,
            "lgd": loans.lgd,
            "sector": np.array(categories("sector"))[economy.sector[who]],
            "district": np.array(categories("district"))[economy.district[who]],
            "true_pd": pd[who],
            "enterprise": who,
        },
    )
    return Consortium(cohort, people, guarantees, chain, institutions, seed)
