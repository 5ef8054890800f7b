"""What a check finds: findings by column, and the report that lists them row by row."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from haihe_fl.i18n import tr

Severity = Literal["fault", "warning", "info"]

CODES = {
    "column": "H2040",
    "type": "H2041",
    "range": "H2042",
    "category": "H2043",
    "label": "H2044",
    "key": "H2045",
    "row": "H2046",
    "twice": "H2047",
    "constant": "H2050",
    "leak": "H2051",
    "leak-missing": "H2052",
    "unmapped": "H2053",
}


@dataclass(frozen=True)
class Finding:
    """One thing found in one column: a kind, a text, and the rows that show it.

    Attributes
    ----------
    kind, code : str
        Class of the finding and its number in ``docs/errors.md``.
    severity : {"fault", "warning", "info"}
        Only faults fail the check.
    column : str
        Column of the file, or of ``derive``.
    rows : tuple of int
        Rows of the file, as `RawTable.rows` counts them; empty if the whole column is meant.
    values : tuple of str
        The cells in these rows.
    en, zh : str
        What is wrong and how to mend it.
    """

    kind: str
    severity: Severity
    column: str
    en: str
    zh: str
    rows: tuple[int, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """Number of the finding."""
        return CODES[self.kind]

    @property
    def count(self) -> int:
        """How many cells or rows show it; 1 for a whole column."""
        return len(self.rows) or 1

    def __str__(self) -> str:
        return tr(self.en, self.zh)


@dataclass(frozen=True)
class CheckReport:
    """What `check` found, the most severe first."""

    path: Path
    mapping: str
    records: int
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Return how many findings of a severity there are, each row counted."""
        return sum(f.count for f in self.findings if f.severity == severity)

    @property
    def clean(self) -> bool:
        """Whether there is no fault."""
        return self.count("fault") == 0

    def lines(self) -> Iterator[tuple[Finding, int | None, str]]:
        """Yield each finding once for every row that shows it: finding, row, cell."""
        for finding in self.findings:
            if not finding.rows:
                yield finding, None, ""
            for row, value in zip(finding.rows, finding.values, strict=True):
                yield finding, row, value

    def as_json(self, limit: int | None = None) -> dict[str, Any]:
        """Return the report as plain data, with at most ``limit`` lines."""
        return {
            "file": str(self.path),
            "mapping": self.mapping,
            "records": self.records,
            "clean": self.clean,
            "faults": self.count("fault"),
            "warnings": self.count("warning"),
            "findings": [
                {
                    "code": f.code,
                    "kind": f.kind,
                    "severity": f.severity,
                    "row": row,
                    "column": f.column,
                    "value": value,
                    "en": f.en,
                    "zh": f.zh,
                }
                for f, row, value in islice(self.lines(), limit)
            ],
        }
