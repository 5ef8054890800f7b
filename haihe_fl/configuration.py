"""Reading YAML configuration into a checked model: one way for all rooms."""

from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class ConfigurationFault(ValueError):
    """A file cannot be read, or is no valid configuration; the text says what and where.

    The room that reads the file turns it into a numbered error of its own.
    """


def source_name(name: str, path: Path | None) -> str:
    """Return how a configuration file is called in a message."""
    return str(path) if path else f"configs/{name}"


def read_configuration(model: type[Model], name: str, path: Path | None = None) -> Model:
    """Read a YAML file; without a path, the one shipped in ``configs``.

    Parameters
    ----------
    model : type
        Pydantic model of the whole file.
    name : str
        Name of the packaged file, e.g. ``"pool.yaml"``.
    path : Path, optional
        Another file of the same form.

    Raises
    ------
    ConfigurationFault
        With what is wrong and where.
    """
    try:
        text = (path or files("configs") / name).read_text(encoding="utf-8")
        return model.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"{where}: {first['msg']}" if where else first["msg"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = str(error)
    raise ConfigurationFault(what)
