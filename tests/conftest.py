import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from haihe_fl.i18n import set_language

# A slow machine is no failure; and CI repeats the same examples, while people explore new ones.
settings.register_profile(
    "haihe",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("haihe")


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
