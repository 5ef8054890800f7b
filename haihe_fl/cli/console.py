"""What every command shares: output as table or JSON, progress, language, errors."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from haihe_fl.i18n import tr
from haihe_fl.workspace import Workspace

out = Console()
err = Console(stderr=True)

JsonOption = Annotated[
    bool, typer.Option("--json", help=tr("Print JSON instead of tables.", "输出 JSON 而非表格。"))
]
WorkOption = Annotated[
    Path | None,
    typer.Option(
        "--work", help=tr("Working folder (default ./haihe-work).", "工作目录(默认 ./haihe-work)。")
    ),
]


NAME_WIDTH = 16


@dataclass(frozen=True)
class Column:
    """A column of a table: heading, alignment."""

    heading: str
    right: bool = False


def show_table(title: str, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to standard output."""
    cells = [[str(cell) for cell in row] for row in rows]
    # Names come first and stay whole where they can; the other columns give way.
    named = max((len(row[0]) for row in cells if row), default=0)
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            overflow="fold",
            min_width=min(named, NAME_WIDTH) if position == 0 else None,
        )
    for row in cells:
        table.add_row(*row)
    out.print(table)


def show_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Progress]:
    """Show a progress bar on standard error; call ``advance(bar.task_ids[0])`` in its body."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as bar:
        bar.add_task(label, total=total)
        yield bar


def workspace(work: Path | None) -> Workspace:
    """Open the working folder of a command; our own log goes to ``haihe.log`` in it."""
    space = Workspace.at(work)
    handler = logging.FileHandler(space.root / "haihe.log", delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("clients", "server", "strategies", "consortium", "haihe_fl"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False  # the screen is for people
    return space
