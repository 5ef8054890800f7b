"""Run all benchmarks: ``python -m benchmarks --json-dir DIR [--quick]``.

Every module of this package with a ``main`` is one. A benchmark runs in a process of its own,
so that none of them warms another's caches or spends its memory.
"""

import argparse
import pkgutil
import subprocess
import sys
from pathlib import Path

import benchmarks

HELPERS = {"__main__", "harness", "baselines"}


def modules() -> list[str]:
    """Return the names of the benchmark modules."""
    found = pkgutil.iter_modules(benchmarks.__path__)
    return sorted(m.name for m in found if not m.ispkg and _has_main(m.name))


def _has_main(name: str) -> bool:
    if name in HELPERS or name.startswith("_"):
        return False
    source = Path(benchmarks.__path__[0]) / f"{name}.py"
    return "\ndef main(" in source.read_text(encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run them one after the other; return how many failed."""
    parser = argparse.ArgumentParser(description="Run all benchmarks.")
    parser.add_argument("--json-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    args.json_dir.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in modules():
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        command += ["--json", str(args.json_dir / f"{name}.json")]
        print(f"== {name}", flush=True)
        failed += subprocess.run(command + ["--quick"] * args.quick, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
