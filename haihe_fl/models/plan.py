"""The plan of a run: all that it will ask and spend, agreed before it starts."""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from haihe_fl.errors import IntegrityError
from haihe_fl.models.neural.settings import NeuralSettings
from haihe_fl.models.releases import PlannedRelease
from haihe_fl.privacy.events import Event, GaussianEvent, SampledGaussianEvent
from haihe_fl.privacy.gaussian import Budget
from haihe_fl.privacy.noise import Quorum

Mode = Literal["secure", "inspected"]
NoiseMultiplier = Annotated[float, Field(ge=1e-3, le=1e9)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Step(_Frozen):
    name: Name
    noise_multiplier: NoiseMultiplier


class ReleaseStep(_Step):
    """One secure sum of the plan; see ``PlannedRelease``."""

    kind: Name
    length: int = Field(gt=0, le=10_000_000)
    part: Literal["train", "holdout"] = "train"


class ExactStep(_Frozen):
    """One secure sum without noise: a sum over all enterprises of a stress test, nothing else.

    It has no epsilon at all, so no budget covers it: an institution answers only if its policy
    says so (``NodePolicy.exact_stress_sums``). The kinds are a closed list; a release of
    training or validation cannot be one.
    """

    name: Name
    kind: Literal["stress/cells", "stress/draws"]
    length: int = Field(gt=0, le=10_000_000)
    part: Literal["train"] = "train"
    noise_multiplier: float = Field(default=0.0, ge=0.0, le=0.0)


class LocalStep(_Step):
    """One round of local DP-SGD: the institution adds the whole noise itself."""

    sample_rate: float = Field(gt=0, le=1)
    steps: int = Field(gt=0)


class TrainingPlan(_Frozen):
    """What the centre proposes and every institution checks against its own policy.

    Attributes
    ----------
    mode : {"secure", "inspected"}
        ``secure``: only sums leave the institutions. ``inspected``: each institution adds
        the full noise and its updates are visible to the centre.
    releases, local : tuple
        Every step that reads rows, in order, with its noise. Anything else is refused.
    exact : tuple of ExactStep
        Sums without noise, of a stress test only; ``epsilon`` says nothing about them. All of
        a plan's sums open for the same survivors.
    neural : NeuralSettings
        Settings of local training, for the neural family. The local steps say the same of
        noise, rate and number as what will be trained: they are what is charged.
    """

    run: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    model: Name
    family: Literal["additive", "neural", "stress", "satellite"]
    mode: Mode
    catalogue_fingerprint: str
    participants: tuple[Name, ...] = Field(max_length=10_000)
    minimum: int
    colluders: int
    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)
    holdout_share: float = Field(ge=0, lt=1)
    releases: tuple[ReleaseStep, ...] = Field(max_length=10_000)
    local: tuple[LocalStep, ...] = ()
    exact: tuple[ExactStep, ...] = Field(default=(), max_length=10)
    neural: NeuralSettings | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [s.name for s in (*self.releases, *self.local)] + [s.name for s in self.exact]
        if len(set(names)) != len(names):
            raise ValueError("two steps of the plan have the same name")
        if tuple(sorted(set(self.participants))) != self.participants:
            raise ValueError("participants must be sorted and distinct")
        if (self.neural is not None) != (self.family == "neural"):
            raise ValueError("settings of local training go with the neural family, and no other")
        if self.local != self._trained():
            raise ValueError("the local steps are not those that the settings train")
        if self.family == "stress":
            self._stress_only()
        elif self.exact or any(step.kind.startswith("stress/") for step in self.releases):
            raise ValueError("sums of a stress test go with its family, and no other")
        if self.family == "satellite":
            self._panel_only()
        elif any(step.kind.startswith("satellite/") for step in self.releases):
            raise ValueError("counts of a quarterly panel go with family satellite, and no other")
        _ = self.quorum  # refuses numbers that make no quorum
        return self

    def _stress_only(self) -> None:
        kinds = [step.kind for step in self.releases]
        if "stress/counts" not in kinds or not all(k.startswith("stress/") for k in kinds):
            raise ValueError("a stress test counts firms, with noise, and trains nothing")
        if self.local or self.holdout_share:
            raise ValueError("a stress test reads all rows and trains nothing")

    def _panel_only(self) -> None:
        if [step.kind for step in self.releases] != ["satellite/counts"]:
            raise ValueError(
                "an estimation of the satellite is one sum of panel counts, with noise"
            )
        if self.local or self.holdout_share:
            raise ValueError("an estimation of the satellite reads the whole panel once")

    def _trained(self) -> tuple[LocalStep, ...]:
        """Return the steps that the settings train, all with the first step's noise."""
        if self.neural is None or not self.local:
            return ()
        first, settings = self.local[0], self.neural
        return tuple(
            LocalStep(
                name=f"local/{number:02d}",
                noise_multiplier=first.noise_multiplier,
                sample_rate=settings.sample_rate,
                steps=settings.local_steps,
            )
            for number in range(1, settings.rounds + 1)
        )

    @property
    def quorum(self) -> Quorum:
        """Parties, fewest survivors and tolerated colluders."""
        return Quorum(len(self.participants), self.minimum, self.colluders)

    @property
    def budget(self) -> Budget:
        """Record-level budget of the run."""
        return Budget(self.epsilon, self.delta)

    def events(self) -> dict[str, Event]:
        """Return the privacy event of every step with noise, by name."""
        events: dict[str, Event] = {
            step.name: GaussianEvent(step.noise_multiplier, step.part) for step in self.releases
        }
        events |= {
            step.name: SampledGaussianEvent(step.noise_multiplier, step.sample_rate, step.steps)
            for step in self.local
        }
        return events

    def step(self, name: str) -> ReleaseStep | LocalStep | ExactStep | None:
        """Return the step of that name, or None."""
        steps: list[ReleaseStep | LocalStep | ExactStep] = [
            *self.releases, *self.local, *self.exact
        ]  # fmt: skip
        return next((step for step in steps if step.name == name), None)

    def to_bytes(self) -> bytes:
        """Return canonical JSON: what is hashed, stored and sent."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a plan.

        Raises
        ------
        IntegrityError
            H5101 if it is not a valid plan.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise IntegrityError(
                "H5101",
                en=f"the training plan is not valid: {error.errors()[0]['msg']}; "
                "check that centre and institution run the same version",
                zh=f"训练计划无效:{error.errors()[0]['msg']};请确认中心与机构软件版本一致",
            ) from None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def release_steps(schedule: list[PlannedRelease]) -> tuple[ReleaseStep, ...]:
    """Turn a trainer's schedule into steps of a plan."""
    return tuple(
        ReleaseStep(
            name=r.name,
            kind=r.kind,
            noise_multiplier=r.noise_multiplier,
            length=r.length,
            part=r.part,
        )
        for r in schedule
    )
