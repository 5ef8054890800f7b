"""A training job: what an analyst asks for."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingJob(BaseModel):
    """What to train, on whom, and at what cost.

    Attributes
    ----------
    epsilon, delta : float
        Budget of one *record* for the whole run, training and validation. A borrower with
        records at k institutions pays for each of them (see the model card).
    institutions : int
        How many must be connected before the run starts.
    minimum, colluders : int, optional
        Fewest survivors of a release, and institutions that may side with the centre; by
        default four fifths and one.
    settings : dict
        Overrides of the family's settings (``AdditiveConfig`` or ``NeuralSettings``).
    holdout_share : float
        Share of borrowers held out for validation.
    deadline_s : float
        Longest wait for one answer, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "haihe-risk"
    family: Literal["additive", "neural"] = "additive"
    epsilon: float = Field(default=3.0, gt=0, le=100)
    delta: float = Field(default=1e-5, gt=0, lt=0.01)
    institutions: int = Field(default=23, ge=2)
    minimum: int | None = None
    colluders: int | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    holdout_share: float = Field(default=0.2, ge=0, lt=0.9)
    deadline_s: float = Field(default=120.0, gt=0)
    data_label: str = ""
    synthetic: bool = False

    def quorum_numbers(self, parties: int) -> tuple[int, int]:
        """Return the fewest survivors and the tolerated colluders for so many parties."""
        colluders = self.colluders if self.colluders is not None else int(parties >= 5)
        minimum = self.minimum if self.minimum is not None else math.ceil(0.8 * parties)
        return minimum, colluders
