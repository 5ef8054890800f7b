"""``haihe consortium``: a deployed consortium on this machine."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from haihe_fl.cli.console import (
    Column,
    JsonOption,
    WorkOption,
    err,
    out,
    show_json,
    show_table,
    workspace,
)
from haihe_fl.cli.options import DataOption, EnterprisesOption, MappingOption, SeedOption, read_rows
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr

app = typer.Typer(
    help=tr(
        "A real consortium on loopback: SuperLink, SuperNodes, node agents.",
        "本机上的真实联合体:SuperLink、SuperNode 与节点代理。",
    ),
    no_args_is_help=True,
)


@app.command("up", help=tr("Start it, and keep it running until Ctrl-C.", "启动并运行至 Ctrl-C。"))
def up(
    institutions: Annotated[
        int, typer.Option(min=2, max=50, help=tr("How many nodes.", "节点数。"))
    ] = 3,
    data: DataOption = None,
    mapping: MappingOption = None,
    enterprises: EnterprisesOption = 30_000,
    seed: SeedOption = 2023,
    work: WorkOption = None,
) -> None:
    """Start a SuperLink and one agent and SuperNode an institution, over TLS."""
    from consortium.local import LocalConsortium
    from consortium.prepare import prepare_nodes

    space = workspace(work)
    folder = space.folder("deployment")
    with err.status(tr("preparing nodes …", "正在准备节点……")):
        cohort, made = read_rows(data, mapping, enterprises, seed)
        nodes = prepare_nodes(space.folder("consortium"), cohort, made, institutions, data, mapping)
        (folder / "catalogue.json").write_text(cohort.catalogue.model_dump_json())
    consortium = LocalConsortium(folder, nodes)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with err.status(tr("starting …", "正在启动……")) as status:
            deployment = consortium.up(
                lambda what: status.update(tr(f"started {what}", f"已启动 {what}"))
            )
        show_table(
            tr("Consortium is up", "联合体已启动"),
            [Column(tr("what", "组件")), Column(tr("where", "位置"))],
            [
                ("SuperLink", f"https://127.0.0.1:{deployment.port}"),
                *((name, str(nodes[name])) for name in deployment.institutions),
                (tr("logs", "日志"), str(folder / "logs")),
            ],
        )
        out.print(
            tr(
                "In another terminal: haihe train --deployed. Stop with Ctrl-C.",
                "请在另一终端执行:haihe train --deployed。按 Ctrl-C 停止。",
            )
        )
        while not stop.wait(1.0):
            for name in consortium.processes.dead():
                err.print(
                    tr(
                        f"[red]{name} has ended; see {folder / 'logs' / name}.log[/]",
                        f"[red]{name} 已退出;请查看 {folder / 'logs' / name}.log[/]",
                    )
                )
                consortium.processes.running.pop(name)
    finally:
        with err.status(tr("stopping …", "正在停止……")):
            consortium.down()


@app.command("status", help=tr("Say what runs.", "查看运行状态。"))
def status(work: WorkOption = None, json: JsonOption = False) -> None:
    """Show the consortium that runs from the working folder."""
    from consortium.local import Deployment, supernodes

    running = Deployment.load(workspace(work).folder("deployment"))
    nodes = supernodes(Path(running.flower_home), running.nodes)
    if json:
        show_json({"port": running.port, "pid": running.pid, "nodes": nodes})
        return
    show_table(
        tr(f"Consortium on port {running.port}", f"联合体(端口 {running.port})"),
        [Column(tr("node", "节点")), Column(tr("state", "状态"))],
        [(name, state) for name, state in nodes.items()],
    )


@app.command("down", help=tr("Stop it from another terminal.", "从另一终端停止。"))
def down(work: WorkOption = None) -> None:
    """Ask the running `up` to stop."""
    from consortium.local import Deployment
    from consortium.processes import wait_until

    folder = workspace(work).folder("deployment")
    running = Deployment.load(folder)
    os.kill(running.pid, signal.SIGTERM)
    if not wait_until(lambda: not (folder / "deployment.json").exists(), 30.0):
        raise UserError(
            "H2605",
            en=f"process {running.pid} does not stop; end it by hand",
            zh=f"进程 {running.pid} 未能停止;请手动结束",
        )
    out.print(tr("stopped", "已停止"))
