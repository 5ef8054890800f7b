from pathlib import Path

import pytest
from pydantic import ValidationError
from small_consortium import make_plan

from clients.policy import NodePolicy, load_policy
from haihe_fl.errors import PolicyError, UserError


def test_the_defaults_allow_an_ordinary_plan() -> None:
    NodePolicy().check(make_plan())


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"families": ["neural"]}, "family additive"),
        ({"modes": ["inspected"]}, "mode secure"),
        ({"epsilon_per_run": 2.0}, "epsilon 3 > 2"),
        ({"delta": 1e-6}, "delta 1e-05 > 1e-06"),
        ({"minimum_survivors": 5}, "minimum of 4 survivors < 5"),
    ],
)
def test_each_limit_is_named_when_overstepped(limits: dict[str, object], said: str) -> None:
    with pytest.raises(PolicyError, match=said) as caught:
        NodePolicy.model_validate(limits).check(make_plan())
    assert caught.value.code == "H3301"


@pytest.mark.parametrize(
    "limits",
    [
        {"epsilon_cap": 0},
        {"epsilon_cap": "nan"},
        {"delta": 1.0},
        {"minimum_survivors": 1},
        {"modes": ["open"]},
        {"epsilon": 3.0},
    ],
)
def test_what_is_no_policy(limits: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NodePolicy.model_validate(limits)


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("epsilon_cap: 2\nmodes: [secure]\n")
    assert load_policy(path) == NodePolicy(epsilon_cap=2, modes=("secure",))
    path.write_text("")
    assert load_policy(path) == NodePolicy()


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"epsilon_cap: -1", "epsilon_cap"),
        (b"epsilon: 3", "epsilon"),
        (b"a: [", "file"),
        (b"- 1", "file"),
        (b"\xff\xfe\xfa", "file"),
    ],
)
def test_faults_in_the_file_are_told(tmp_path: Path, content: bytes, where: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"policy.yaml, {where}") as caught:
        load_policy(path)
    assert caught.value.code == "H2301"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="H2301"):
        load_policy(tmp_path / "policy.yaml")
