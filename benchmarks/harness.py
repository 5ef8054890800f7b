"""What all benchmark modules share: options, where it ran, tables, JSON.

A benchmark module has ``main(argv: list[str] | None = None) -> int``; it makes its options
with `parser` and ends with `publish`.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "lightgbm", "torch", "opacus", "flwr")

Row = Mapping[str, Any]


def parser(description: str | None, *, seed: int = 0) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    out = argparse.ArgumentParser(description=(description or "").strip().split("\n")[0])
    out.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    out.add_argument("--quick", action="store_true", help="a small run that only shows it works")
    out.add_argument("--seed", type=int, default=seed, help="first seed (default %(default)s)")
    return out


def numbers(text: str) -> list[float]:
    """Read a list of numbers as it stands on a command line.

    Examples
    --------
    >>> numbers("1,3,8")
    [1.0, 3.0, 8.0]
    """
    return [float(part) for part in text.split(",") if part]


def surroundings() -> dict[str, Any]:
    """Return versions and hardware; no host name, no path, no user."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(
                os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
            ),
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        },
        "system": platform.system(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard error and the values themselves.

    Examples
    --------
    >>> summary([1.0, 2.0, 3.0])["mean"], round(summary([1.0, 2.0, 3.0])["se"], 3)
    (2.0, 0.577)
    """
    se = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "se": se, "values": list(values)}


def show(title: str, rows: Sequence[Row], *, console: Console | None = None) -> None:
    """Print rows as a table; numbers stand with four significant decimals."""
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        is_text = any(isinstance(row.get(name), str) for row in rows)
        table.add_column(name, justify="left" if is_text else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    (console or Console(width=None if sys.stdout.isatty() else 160)).print(table)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return str(value)


def publish(
    args: argparse.Namespace,
    name: str,
    tables: Mapping[str, Sequence[Row]],
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Print the tables and, with ``--json``, write everything with where it ran.

    Parameters
    ----------
    args : Namespace
        Options, as the benchmark read them; those that are paths are left out of the JSON but
        for their last part.
    name : str
        Name of the benchmark.
    tables : mapping of str to rows
        By title; each row a mapping from column to value.
    figures : mapping, optional
        What a table has no room for.
    """
    for title, rows in tables.items():
        show(title, rows)
    if args.json is None:
        return
    options = {k: v.name if isinstance(v, Path) else v for k, v in vars(args).items()}
    document = {
        "benchmark": name,
        "options": {k: v for k, v in options.items() if k != "json"},
        **surroundings(),
        "tables": {title: list(rows) for title, rows in tables.items()},
        "figures": figures or {},
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    args.json.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
