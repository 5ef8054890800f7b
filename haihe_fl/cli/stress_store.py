"""The results store: each run a file under ``WORK/stress``, and two runs side by side."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from haihe_fl.errors import UserError
from haihe_fl.stress.chain_results import ChainResult
from haihe_fl.stress.results import StressResult
from haihe_fl.workspace import Workspace

FORMAT = 1
_SAME = ("borrowers", "exposure")


def entry_of(result: StressResult, chain: ChainResult | None = None) -> dict[str, Any]:
    """Return a result as the store and ``--json`` hold it: figures, not cells."""
    entry = {
        **result.summary(),
        **result.tables(),
        "settings": result.settings.model_dump(mode="json"),
    }
    if chain is not None:
        whole = chain.to_dict()
        entry["not_applied"] = whole.pop("stress")["not_applied"]
        entry["chain"] = whole
    return entry


def save_run(space: Workspace, entries: Sequence[dict[str, Any]]) -> tuple[str, Path]:
    """Write the results of one command and return its run id and its file.

    A single result has its own id; several have one made of theirs. The same run writes the same
    file again.
    """
    ids = [e["chain"]["run_id"] if "chain" in e else e["run_id"] for e in entries]
    joined = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    run_id = ids[0] if len(ids) == 1 else joined
    path = space.folder("stress") / f"{run_id}.json"
    body = {"format": FORMAT, "run_id": run_id, "results": list(entries)}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")
    part.replace(path)
    return run_id, path


def load_run(space: Workspace, name: str) -> list[dict[str, Any]]:
    """Read a run by its id, the beginning of it, or its file.

    Raises
    ------
    UserError
        H2609 if there is no such run, or several begin so; H2610 if the file is none of ours.
    """
    folder = space.folder("stress")
    path = Path(name)
    if not path.is_file():
        known = sorted(folder.glob("*.json"))
        found = [p for p in known if p.stem.startswith(name)]
        if len(found) != 1:
            many = f"{len(found)} runs begin with" if found else "there is no run"
            several = f"有 {len(found)} 个运行以此开头:" if found else "没有运行 "
            last = sorted(known, key=lambda p: p.stat().st_mtime)[-3:]
            near = ", ".join(p.stem for p in last) or "-"
            raise UserError(
                "H2609",
                en=f"{many} {name!r} in {folder}; the latest: {near}",
                zh=f"{folder} 中{several}{name!r};最近的有:{near}",
            )
        path = found[0]
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']}")
        return list(body["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "H2610",
            en=f"{path} is no stored stress run ({error}); run the scenarios again",
            zh=f"{path} 不是压力测试结果文件({error});请重新运行",
        ) from None


def compare_runs(
    first: Sequence[dict[str, Any]],
    second: Sequence[dict[str, Any]],
    only: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return what changes from one run to the other, scenario by scenario, largest change first.

    Raises
    ------
    UserError
        H2611 if they have no scenario in common, H2612 if the portfolio or a setting differs:
        the change would not be the model's.
    """
    ours = {(e["scenario"], e["overlay"]): e for e in first}
    theirs = {(e["scenario"], e["overlay"]): e for e in second}
    common = [key for key in ours if key in theirs and (not only or key[0] in only)]
    if not common:
        raise UserError(
            "H2611",
            en="the two runs have no scenario with the same overlay in common; run both alike",
            zh="两次运行没有相同的情景与政策叠加;请以相同情景重新运行",
        )
    rows = [_changed(ours[key], theirs[key]) for key in common]
    return sorted(rows, key=lambda r: -abs(r["loss_change"]))


def _changed(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    differ = [k for k in _SAME if abs(a[k] - b[k]) > 1e-9 * max(abs(a[k]), 1.0)]
    differ += [k for k, v in a["settings"].items() if b["settings"].get(k) != v]
    if differ:
        raise UserError(
            "H2612",
            en=f"{a['scenario']}: the runs differ in {', '.join(differ)}, so the change would not "
            "be the model's; run both on one portfolio with one set of settings",
            zh=f"{a['scenario']}:两次运行的 {'、'.join(differ)} 不同,差异并非来自模型;"
            "请用同一组合与同一设置运行",
        )
    moved = {
        name: b["by_institution"][name]["expected_loss"] - row["expected_loss"]
        for name, row in a["by_institution"].items()
        if name in b["by_institution"]
    }
    most = max(moved, key=lambda name: abs(moved[name]), default="")
    row = {
        "scenario": a["scenario"],
        "name": a["name"],
        "overlay": a["overlay"],
        "runs": [a["run_id"], b["run_id"]],
        "models": [a["model"], b["model"]],
        "loss_change": b["expected_loss"] - a["expected_loss"],
        "most_moved": most,
        "most_moved_change": moved.get(most, 0.0),
    }
    for key in ("expected_loss", "loss_rate", "pd_start", "pd_peak", "ecl_change", "rwa_peak"):
        row[key] = [a[key], b[key]]
    ends = [_closing(e) for e in (a, b)]
    row["cet1_end"] = ends if None not in ends else None
    return row


def _closing(entry: dict[str, Any]) -> float | None:
    capital = (entry.get("chain") or {}).get("capital")
    return None if capital is None else float(capital["network"]["ratio"][-1])
