"""The tree of commands."""

import typer

import haihe_fl
from haihe_fl.cli.console import out
from haihe_fl.i18n import tr


def build() -> typer.Typer:
    """Put the command groups together; called once the language is known."""
    from haihe_fl.cli import (
        budget,
        consortium,
        data,
        demo,
        monitor,
        satellite,
        serve,
        stress,
        train,
    )

    app = typer.Typer(
        name="haihe",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=tr(
            "Haihe FL: federated, private credit risk for small and medium enterprises. "
            "Language: --lang zh|en.",
            "Haihe FL:面向中小企业的联邦隐私风控。语言:--lang zh|en。",
        ),
    )

    @app.callback(invoke_without_command=True)
    def root(
        version: bool = typer.Option(
            False, "--version", help=tr("Show the version.", "显示版本。")
        ),
    ) -> None:
        if version:
            out.print(f"haihe-fl {haihe_fl.__version__}")
            raise typer.Exit

    app.command("demo", help=demo.HELP)(demo.demo)
    app.add_typer(data.app, name="data")
    app.command("train", help=train.HELP)(train.train)
    app.command("serve")(serve.serve)
    app.add_typer(stress.app, name="stress")
    app.add_typer(satellite.app, name="satellite")
    app.add_typer(monitor.app, name="monitor")
    app.add_typer(consortium.app, name="consortium")
    app.command("budget", help=budget.HELP)(budget.budget)
    return app
