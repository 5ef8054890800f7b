"""``haihe``: the root command."""

import logging
import os
import sys

from haihe_fl.errors import HaiheError
from haihe_fl.i18n import LANGUAGES, set_language, tr

INTERRUPTED = 130


def take_language(arguments: list[str]) -> list[str]:
    """Apply ``--lang``, wherever it stands, and return the other arguments.

    Help texts are made when the commands are imported, so the language comes first.

    Examples
    --------
    >>> take_language(["stress", "list", "--lang", "zh"])
    ['stress', 'list']
    >>> set_language("en")
    """
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, _, value = argument.partition("=")
        if name != "--lang":
            rest.append(argument)
            continue
        chosen = value or next(waiting, "")
        for language in LANGUAGES:
            if language == chosen:
                set_language(language)
                os.environ["HAIHE_LANG"] = language  # for child processes
                break
        else:
            sys.stderr.write(f"--lang: zh or en, not {chosen!r} / 请使用 zh 或 en\n")
            raise SystemExit(2)
    return rest


def main() -> None:
    """Run the command line and exit with the codes of ``haihe_fl.errors``."""
    arguments = take_language(sys.argv[1:])
    # Flower and MLflow speak on standard error unless told not to.
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    from haihe_fl.cli.app import build

    try:
        build()(args=arguments, prog_name="haihe")
    except HaiheError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write(tr("stopped\n", "已停止\n"))
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # `haihe ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
