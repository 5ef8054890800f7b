"""``haihe budget``: what every institution has spent, from its own ledger."""

from typing import Any

from haihe_fl.cli.console import (
    Column,
    JsonOption,
    WorkOption,
    out,
    show_json,
    show_table,
    workspace,
)
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.privacy.gaussian import epsilon_for, mu_for

HELP = tr("Privacy budget by institution.", "各机构的隐私预算。")
GAUGE = 10


def budget(work: WorkOption = None, json: JsonOption = False) -> None:
    """Show spent, reserved and left, by institution."""
    from clients.policy import load_policy
    from haihe_fl.privacy.ledger import Ledger

    space = workspace(work)
    nodes = sorted((space.root / "consortium" / "nodes").glob("*/ledger.db"))
    if not nodes:
        raise UserError(
            "H2604",
            en=f"no ledger in {space.root}; train first, or name the working folder with --work",
            zh=f"{space.root} 下没有台账;请先训练,或用 --work 指定工作目录",
        )
    rows: list[dict[str, Any]] = []
    for path in nodes:
        cap = load_policy(path.parent / "policy.yaml").cap
        ledger = Ledger(path, path.parent.name, cap)
        spent = ledger.spent()
        rows.append(
            {
                "institution": path.parent.name,
                "spent": spent,
                "reserved": max(ledger.reserved(), 0.0),
                "left": ledger.left(),
                "cap": cap.epsilon,
                "delta": cap.delta,
                "unit": "record",
                "borrower_at_2": _borrower(spent, cap.delta, 2),
                "head": ledger.head.hash,
            }
        )
        ledger.disconnect()
    if json:
        show_json(rows)
        return
    show_table(
        tr(
            f"Privacy budget: epsilon of one record, delta {rows[0]['delta']:g}",
            f"隐私预算:单条记录的 epsilon,delta {rows[0]['delta']:g}",
        ),
        [
            Column(tr("institution", "机构")),
            Column(""),
            Column(tr("spent", "已用"), right=True),
            Column(tr("reserved", "预留"), right=True),
            Column(tr("left", "剩余"), right=True),
            Column(tr("cap", "上限"), right=True),
            Column(tr("at two", "两家"), right=True),
        ],
        [
            (
                r["institution"],
                _gauge(r["spent"] / r["cap"]),
                f"{r['spent']:.2f}",
                f"{r['reserved']:.2f}",
                f"{r['left']:.2f}",
                f"{r['cap']:g}",
                f"{r['borrower_at_2']:.2f}",
            )
            for r in rows
        ],
    )
    out.print(
        tr(
            "Unit: one record; at two: a borrower with records at two institutions. "
            "Against: a curious centre and colluding institutions up to the run's tolerance.",
            "单位:一条记录;“两家”指在两家机构均有记录的借款人。"
            "防范对象:好奇的中心,以及不超过容忍数的合谋机构。",
        )
    )


def _borrower(epsilon: float, delta: float, records: int) -> float:
    if epsilon <= 0:
        return 0.0
    return epsilon_for(records * mu_for(epsilon, delta), delta)


def _gauge(share: float) -> str:
    filled = min(round(share * GAUGE), GAUGE)
    colour = "green" if share < 0.5 else "yellow" if share < 0.85 else "red"
    return f"[{colour}]{'█' * filled}[/]{'░' * (GAUGE - filled)}"
