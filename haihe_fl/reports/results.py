"""What a report is made of: plain data, no models, no rows."""

import math
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import NamedTuple

from haihe_fl.evaluation.calibration import CalibrationBin
from haihe_fl.evaluation.metrics import Metrics
from haihe_fl.i18n import Language, Text, set_language

Label = str | Text
"""A name: the same in both languages, or one for each."""


POOLED = Text(en="Pooled, no privacy", zh="数据集中、无隐私保护")
RECORD = Text(en="record", zh="单条记录")


def both(label: Label) -> Text:
    """Return a label in both languages."""
    return label if isinstance(label, Text) else Text(en=label, zh=label)


def say(label: Label, language: Language) -> str:
    """Return a label in one language."""
    text = both(label)
    return text.zh if language == "zh" else text.en


def each_language(make: Callable[[], object]) -> Text:
    """Call what speaks the language in force once in each language.

    Examples
    --------
    >>> from haihe_fl.i18n import tr
    >>> each_language(lambda: tr("loss", "损失"))
    Text(en='loss', zh='损失')
    """

    def speak(language: Language) -> str:
        set_language(language)
        return str(make())

    return Text(en=copy_context().run(speak, "en"), zh=copy_context().run(speak, "zh"))


class Estimate(NamedTuple):
    """A figure with its confidence interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RunFacts:
    """What ran.

    Attributes
    ----------
    started : str
        Local time with its zone, ready to print.
    mode : Label
        For example ``Text(en="in process", zh="单进程")`` or "TLS, 5 SuperNodes".
    secure : bool
        True if sums were masked (secure aggregation); False prints a warning.
    synthetic : bool
        True prints a banner: figures on generated data prove nothing about real borrowers.
    features, releases : int
        Features of the catalogue; releases made (noisy sums that left the institutions).
    bytes_per_institution : int
        Sent by one institution over the whole run.
    """

    run_id: str
    started: str
    minutes: float
    mode: Label
    secure: bool
    seed: int
    data: Label
    synthetic: bool
    records: int
    features: int
    releases: int
    bytes_per_institution: int
    model_version: str
    model_family: Label
    model_fingerprint: str


@dataclass(frozen=True)
class InstitutionResult:
    """Test AUC of one institution's own borrowers.

    Attributes
    ----------
    records, test_records : int
        All its records, and those of them held out to test on.
    federated, local : Estimate
        AUC of the federated model, and of a model trained on this institution's rows alone;
        NaN where the test rows hold one class only.
    gain : Estimate, optional
        Federated less local on the same rows with its paired interval
        (``evaluation.intervals.delong_gain``).
    """

    name: Label
    kind: Label
    records: int
    default_rate: float
    federated: Estimate
    local: Estimate
    gain: Estimate | None = None
    test_records: int = 0


@dataclass(frozen=True)
class Comparison:
    """Test AUC over all institutions; ``pooled`` is trained without any privacy."""

    federated: Estimate
    pooled: Estimate | None = None
    pooled_name: Label = POOLED


@dataclass(frozen=True)
class ValidationResult:
    """Held-out validation read from a noisy secure sum.

    Attributes
    ----------
    noise_sd : float
        Standard deviation of the noise on each count, in records.
    epsilon : float
        What the release costs a held-out record, at the run's delta.
    """

    metrics: Metrics
    calibration: tuple[CalibrationBin, ...]
    noise_sd: float
    epsilon: float


@dataclass(frozen=True)
class BudgetLine:
    """Privacy budget of one institution, in epsilon at ``PrivacyResult.delta``."""

    name: Label
    spent: float
    reserved: float
    cap: float


@dataclass(frozen=True)
class PrivacyResult:
    """What the run costs in privacy.

    Attributes
    ----------
    epsilon, delta, unit
        Guarantee of this run; ``unit`` is what it protects, by default one record.
    borrower_epsilon : mapping of int to float
        Epsilon of a borrower with records at k institutions, by k.
    budgets : tuple of BudgetLine
    threat_model : tuple of Label
        Lines that replace the standard ones.
    """

    epsilon: float
    delta: float
    borrower_epsilon: Mapping[int, float]
    budgets: tuple[BudgetLine, ...]
    unit: Label = RECORD
    threat_model: tuple[Label, ...] = ()


@dataclass(frozen=True)
class FeatureShape:
    """Effect of one feature in log-odds; ``edges`` (bins - 1) or ``categories`` is given.

    Attributes
    ----------
    importance : float
        Mean absolute effect over the training population, log-odds.
    missing : float, optional
        Effect where the value is missing.
    unit : str
        Unit of the edges, as the feature catalogue writes it.
    """

    label: Label
    importance: float
    values: tuple[float, ...]
    edges: tuple[float, ...] | None = None
    categories: tuple[Label, ...] | None = None
    missing: float | None = None
    unit: str = ""


class Tick(NamedTuple):
    """A tick of a pair map: where, in cells from the origin, and what stands there."""

    at: float
    text: Label


@dataclass(frozen=True)
class PairShape:
    """Effect of two features together, in log-odds: ``values[row of y][column of x]``."""

    x: Label
    y: Label
    importance: float
    values: tuple[tuple[float, ...], ...]
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()


class ReasonLine(NamedTuple):
    """A reason in words, and the score points it costs (negative: gains) against the average."""

    text: Label
    effect: float


@dataclass(frozen=True)
class ExampleBorrower:
    """A scored synthetic borrower. Never fill this from real rows."""

    title: Label
    pd: float
    reasons: tuple[ReasonLine, ...]
    score: float | None = None
    true_pd: float | None = None


@dataclass(frozen=True)
class StressRow:
    """One scenario.

    Attributes
    ----------
    sigma : float
        The implied systematic factor.
    expected_loss, baseline_loss : float
        Expected loss of all quarters, and what a quiet economy would lose, in CNY.
    loss_rate : float
        ``expected_loss`` over the exposure.
    ecl : float
        Highest IFRS 9 allowance, in CNY.
    loss_999 : float
        Worst one-year loss at 99.9 %, in CNY.
    note : Label
        What a reader of this row must know.
    """

    name: Label
    family: Label
    sigma: float
    grade: Label
    expected_loss: float
    ecl: float
    loss_999: float
    baseline_loss: float = math.nan
    loss_rate: float = math.nan
    note: Label = ""


@dataclass(frozen=True)
class StressResult:
    """Stress test: the rows, and two charts as SVG (one text, or one for each language).

    Charts that speak the language in force become both with ``each_language(lambda: ...)``.
    """

    rows: tuple[StressRow, ...]
    heat_map: Label
    loss_chart: Label
    note: Label = ""


class Command(NamedTuple):
    """What to type next, and what for."""

    purpose: Label
    line: str


@dataclass(frozen=True)
class DemoResults:
    """Everything a report shows.

    Attributes
    ----------
    trace : tuple of dict
        ``Trainer.trace()``: one row a release, key ``release`` its number.
    stages : tuple of str
        Name of each release in ``trace``, e.g. ``"main/07"``; what stands before the stroke is
        the stage.
    reproducibility : tuple of (Label, Label)
        Config hash, data fingerprint, versions and the like.
    data_note : Label
        What a reader of figures on these rows must know.
    no_stress : Label
        Why there is no stress test, where there is none.
    """

    run: RunFacts
    institutions: tuple[InstitutionResult, ...]
    comparison: Comparison
    privacy: PrivacyResult
    validation: ValidationResult | None = None
    trace: tuple[Mapping[str, float], ...] = ()
    stages: tuple[str, ...] = ()
    shapes: tuple[FeatureShape, ...] = ()
    pairs: tuple[PairShape, ...] = ()
    examples: tuple[ExampleBorrower, ...] = ()
    stress: StressResult | None = None
    commands: tuple[Command, ...] = ()
    reproducibility: tuple[tuple[Label, Label], ...] = field(default=())
    data_note: Label = ""
    no_stress: Label = ""
