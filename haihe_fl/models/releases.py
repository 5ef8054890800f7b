"""Releases: the noisy sums that training asks of the institutions.

A trainer (at the centre) yields one ``ReleaseRequest`` after another and takes the noisy
sum of each; an institution answers a request from its own rows through
``ReleaseComputer``. Neither knows how the sum travels.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.cohort import Cohort
from haihe_fl.models.base import RiskModel

Part = Literal["train", "holdout"]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PlannedRelease:
    """One step of a schedule, known before anything is spent.

    Attributes
    ----------
    name : str
        Unique in the run, e.g. ``"main/07"``.
    kind : str
        Which computation answers it; a key of ``KINDS``.
    noise_multiplier : float
        z: standard deviation of the noise on the sum over the L2 sensitivity S.
        The release is mu-GDP with mu = 1 / z per record.
    length : int
        Entries of the vector.
    part : {"train", "holdout"}
        Which disjoint half of the data it reads; the halves compose in parallel.
    """

    name: str
    kind: str
    noise_multiplier: float
    length: int
    part: Part = "train"


@dataclass(frozen=True)
class ReleaseRequest(PlannedRelease):
    """A planned release with the public arrays a node needs to answer it."""

    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """An institution's exact answer, before noise and mask. Never leaves the node agent.

    Attributes
    ----------
    vector : ndarray of int64, shape (length,)
        Sum of the records' integer contributions.
    sensitivity : float
        Largest L2 norm of one record's contribution, in the same integer units: how far the
        vector moves at most when one record is added or removed. Computed by the node from
        the kind and the shapes, never taken from the request.
    """

    vector: NDArray[np.int64]
    sensitivity: float


class ReleaseComputer:
    """Answers requests from one institution's rows, keeping what is worth keeping warm.

    Parameters
    ----------
    cohort : Cohort
        All rows of the institution.
    holdout_share : float
        Share of borrowers held out (see ``Cohort.holdout``).
    whole : bool
        Keep every column: a stress test reads exposures and counts distinct borrowers.

    Attributes
    ----------
    parts : dict of Part to Cohort
        Values, labels and weights of each part; no training release asks who a borrower is.
    """

    def __init__(self, cohort: Cohort, holdout_share: float, *, whole: bool = False) -> None:
        held = cohort.holdout(holdout_share)
        cohort = cohort if whole else _without_names(cohort)
        self.parts: dict[Part, Cohort] = {"train": cohort.take(~held), "holdout": cohort.take(held)}
        self.cache: dict[str, Any] = {}

    def answer(self, request: ReleaseRequest) -> Answer:
        """Compute the exact integer answer; ``KeyError`` for an unknown kind."""
        if request.kind not in KINDS:
            importlib.import_module(MODULES[request.kind.partition("/")[0]])
        result = KINDS[request.kind](request, self.parts[request.part], self.cache)
        if result.vector.shape != (request.length,) or result.vector.dtype != np.int64:
            raise ValueError(f"{request.kind} answered {result.vector.shape}, not {request.length}")
        return result


def _without_names(cohort: Cohort) -> Cohort:
    """Return the rows without what no release reads, of which a copy would take memory."""
    nobody = np.zeros(len(cohort), dtype="U1")
    return replace(cohort, key=nobody, institution=nobody, date=None, extra={})


Computation = Callable[[ReleaseRequest, Cohort, dict[str, Any]], Answer]
KINDS: dict[str, Computation] = {}
MODULES = {
    "additive": "haihe_fl.models.additive",
    "validation": "haihe_fl.models.validation",
    "stress": "haihe_fl.stress.federated",
    "satellite": "haihe_fl.stress.panels",
}
"""Where the kinds of each group are registered; imported at the first request."""


def release_kind(name: str) -> Callable[[Computation], Computation]:
    """Register the computation that answers requests of a kind."""

    def register(function: Computation) -> Computation:
        KINDS[name] = function
        return function

    return register


class Trainer(Protocol):
    """The centre's side of training: a state machine over noisy sums, free of any network."""

    def schedule(self) -> list[PlannedRelease]:
        """Return all releases of the run, in order; their 1/z^2 add up to the budget's mu^2."""

    def next_request(self) -> ReleaseRequest | None:
        """Return the next release, or None when the model is done."""

    def absorb(self, total: NDArray[np.int64]) -> None:
        """Take the noisy sum of the release last asked for."""

    def model(self) -> RiskModel:
        """Return the model as it stands."""

    def trace(self) -> list[dict[str, float]]:
        """Return one row a release for the curves: release, step norm, and the like."""
