import os
from pathlib import Path

import pytest

from haihe_fl.i18n import set_language


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; tests that need it skip where it is absent."""
    root = Path(os.environ.get("HAIHE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data sets at {root}; set HAIHE_DATA to their folder")
    return root


@pytest.fixture(autouse=True)
def _english() -> None:
    set_language("en")
