"""Privacy events: what a release costs, as plain immutable facts.

An event is never reinterpreted after it was written; accountants compose events and say
beforehand, through ``supports``, whether they can.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from haihe_fl.errors import IntegrityError

Part = Literal["train", "holdout"]


@dataclass(frozen=True)
class GaussianEvent:
    """One full-batch Gaussian release.

    Attributes
    ----------
    noise_multiplier : float
        z: standard deviation of the noise over the L2 sensitivity.
    part : {"train", "holdout"}
        Which of a run's two disjoint parts of the data it reads.
    """

    noise_multiplier: float
    part: Part = "train"

    def __post_init__(self) -> None:
        _check(self.noise_multiplier, self.part)


@dataclass(frozen=True)
class SampledGaussianEvent:
    """Steps of DP-SGD: Gaussian noise on Poisson-sampled batches.

    Attributes
    ----------
    noise_multiplier : float
        Standard deviation of the noise over the clipping norm, each step.
    sample_rate : float
        Probability of each record to be in a batch, in (0, 1].
    steps : int
        How many steps, empty batches included.
    part : {"train", "holdout"}
        Which of a run's two disjoint parts of the data it reads.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    part: Part = "train"

    def __post_init__(self) -> None:
        _check(self.noise_multiplier, self.part)
        if not 0.0 < self.sample_rate <= 1.0 or self.steps < 1:
            raise ValueError(f"{self}: sample_rate lies in (0, 1] and steps is at least 1")


Event = GaussianEvent | SampledGaussianEvent
_TYPES: dict[str, type[GaussianEvent] | type[SampledGaussianEvent]] = {
    "gaussian": GaussianEvent,
    "sampled-gaussian": SampledGaussianEvent,
}


def event_to_json(event: Event) -> str:
    """Return canonical JSON of an event.

    Examples
    --------
    >>> event_to_json(GaussianEvent(4.0))
    '{"noise_multiplier":4.0,"part":"train","type":"gaussian"}'
    """
    kind = next(name for name, cls in _TYPES.items() if type(event) is cls)
    return json.dumps({"type": kind, **asdict(event)}, sort_keys=True, separators=(",", ":"))


def event_from_json(text: str) -> Event:
    """Read an event back.

    Raises
    ------
    IntegrityError
        H5205 if the text is no event.

    Examples
    --------
    >>> event_from_json(event_to_json(SampledGaussianEvent(1.1, 0.01, 2000))).steps
    2000
    """
    try:
        fields = json.loads(text)
        return _TYPES[fields.pop("type")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(
            "H5205",
            en=f"not a privacy event: {text!r}; the ledger was altered or is of another version",
            zh=f"不是隐私事件:{text!r};台账被改动过,或版本不符",
        ) from None


def _check(noise_multiplier: float, part: str) -> None:
    if not 0.0 < noise_multiplier < math.inf:
        raise ValueError(f"noise multiplier {noise_multiplier} must be positive and finite")
    if part not in get_args(Part):
        raise ValueError(f"no such part of the data: {part!r}")
