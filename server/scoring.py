"""Scoring, free of any transport: borrowers as dictionaries in, scores and reasons out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from haihe_fl.errors import UserError
from haihe_fl.i18n import LANGUAGES, Language, language
from haihe_fl.models.base import RiskModel
from haihe_fl.models.reasons import Reason, reasons
from haihe_fl.scorecard.scale import ScoreScale
from server.records import FieldError, OutOfRange, RecordEncoder, Row

MAX_REASONS = 10


@dataclass(frozen=True)
class ModelInfo:
    """Which model answers, as the registry knows it.

    ``fingerprints`` holds the hashes of config, data and catalogue that the training run left.
    """

    name: str
    version: str
    fingerprint: str
    family: str
    run_id: str
    created: datetime
    scale: ScoreScale
    card: str = ""
    fingerprints: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Scored:
    """The answer for one borrower.

    Attributes
    ----------
    pd : float
        Probability of default within 12 months.
    score, band
        Points, to two decimals, and the band AAA to D.
    reasons : tuple of Reason
        What costs most against the average borrower, worst first.
    clipped : tuple of str
        Features outside their public range that were moved to its end (``out_of_range="clip"``).
    """

    pd: float
    score: float
    band: str
    reasons: tuple[Reason, ...] = ()
    clipped: tuple[str, ...] = ()


class ScoringService:
    """Scores borrowers with one model; both servers share one service.

    A row scores the same alone as in a batch.

    Parameters
    ----------
    model : RiskModel
        The model in service.
    info : ModelInfo
        Its name, version and scale.
    out_of_range : {"error", "clip"}
        What to do with a number outside its feature's public range.
    max_batch : int
        Most borrowers in one request.
    """

    def __init__(
        self,
        model: RiskModel,
        info: ModelInfo,
        *,
        out_of_range: OutOfRange = "error",
        max_batch: int = 1000,
    ) -> None:
        self.model = model
        self.info = info
        self.max_batch = max_batch
        self.language = language()  # of who started it: server threads do not inherit it
        self.encoder = RecordEncoder(model.catalogue, out_of_range)

    def score(self, rows: Sequence[Row], *, top: int = 4) -> list[Scored]:
        """Score a batch, all or nothing.

        Raises
        ------
        FieldError
            H2403 to H2407 for the first faulty row; H2408 if the batch is too large or empty.
        """
        answers = self.score_each(rows, top=top)
        for answer in answers:
            if isinstance(answer, FieldError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Scored)]

    def score_each(self, rows: Sequence[Row], *, top: int = 4) -> list[Scored | FieldError]:
        """Score a batch, giving each faulty row its error in place of a score."""
        if not 0 < len(rows) <= self.max_batch:
            raise FieldError(
                "H2408",
                en=f"a batch holds 1 to {self.max_batch} borrowers, not {len(rows)}; "
                "send several requests, or stream",
                zh=f"每批 1 至 {self.max_batch} 个借款人,收到 {len(rows)} 个;"
                "请分批发送或使用流式接口",
                field="borrowers",
            )
        values, faults, clipped = self.encoder.encode(rows)
        pd = self.model.predict_pd(values)
        score, band = self.info.scale.rate(pd)
        top = min(max(top, 0), MAX_REASONS)
        why: list[list[Reason]] = [[] for _ in rows]
        if top:
            why = reasons(self.model, values, factor=self.info.scale.factor, top=top)
        return [
            faults.get(i)
            or Scored(
                pd=float(pd[i]),
                score=float(score[i]),
                band=band[i],
                reasons=tuple(why[i]),
                clipped=tuple(clipped.get(i, ())),
            )
            for i in range(len(rows))
        ]

    def pick_language(self, asked: str | None, accepted: str | None = None) -> Language:
        """Return the language of an answer: as asked, else as accepted, else the server's.

        Parameters
        ----------
        asked : str, optional
            The request's ``lang``.
        accepted : str, optional
            An ``Accept-Language`` header; its order counts, its weights are not read.

        Raises
        ------
        UserError
            H2409 if ``asked`` is neither ``zh`` nor ``en``.
        """
        for known in LANGUAGES:
            if asked == known:
                return known
        if asked:
            raise UserError(
                "H2409",
                en=f"lang must be zh or en, not {asked[:20]!r}",
                zh=f"lang 只能是 zh 或 en,而不是 {asked[:20]!r}",
            )
        for part in (accepted or "")[:200].split(","):
            for known in LANGUAGES:
                if part.strip().lower().startswith(known):
                    return known
        return self.language

    def describe(self) -> dict[str, Any]:
        """Return the model in service and the features it takes, as JSON values."""
        info = self.info
        return {
            "name": info.name,
            "version": info.version,
            "fingerprint": info.fingerprint,
            "family": info.family,
            "run_id": info.run_id,
            "created": info.created.isoformat(),
            "catalogue": self.model.catalogue.fingerprint,
            "fingerprints": dict(info.fingerprints or {}),
            "scale": info.scale.model_dump(mode="json", by_alias=True),
            "max_batch": self.max_batch,
            "features": [
                f.model_dump(
                    mode="json",
                    include={"name", "kind", "title", "unit", "range", "categories", "missing"},
                )
                for f in self.model.catalogue.features
            ],
        }
