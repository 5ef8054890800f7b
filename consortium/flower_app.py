"""The Flower app: what the centre bundles for the nodes, and no more.

The bundle holds the courier alone. The ServerApp is named but not bundled: the SuperLink
loads it from the centre's own installation, as each node agent runs from its institution's.
"""

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path

BUNDLED = ("clients/__init__.py", "clients/courier.py")

_PROJECT = """\
[project]
name = "haihe-courier"
version = "{version}"
description = "Haihe FL: the courier between Flower and an institution's node agent"
dependencies = []

[tool.flwr.app]
publisher = "haihe"
fab-include = ["clients/__init__.py", "clients/courier.py"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "clients.courier:app"

[tool.flwr.app.config]
job = ""
"""


def write_flower_app(folder: Path) -> Path:
    """Write the app folder that ``flwr run`` takes; returns it."""
    shutil.rmtree(folder, ignore_errors=True)
    spec = importlib.util.find_spec("clients")
    if spec is None or spec.origin is None:
        raise ImportError("the package 'clients' is not installed")
    installed = Path(spec.origin).parent
    (folder / "clients").mkdir(parents=True)
    for name in BUNDLED:
        shutil.copyfile(installed.parent / name, folder / name)
    (folder / "pyproject.toml").write_text(
        _PROJECT.format(version=importlib.metadata.version("haihe-fl"))
    )
    return folder
