"""What a scenario file must satisfy beyond its form: names that exist, quarters, numbers."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from haihe_fl.errors import UserError

if TYPE_CHECKING:
    from haihe_fl.stress.scenarios import PathSpec, Profile, Scenario, ScenarioCatalogue

SHAPES: tuple[str, ...] = (
    "ramp_decay",
    "spike",
    "ramp_hold",
    "plateau",
    "double_dip",
    "seasonal_q3",
)


def check_catalogue(catalogue: "ScenarioCatalogue", source: str) -> None:
    """Check names, quarters and numbers.

    Raises
    ------
    UserError
        H2503 unknown driver, H2504 unknown sector or family, H2505 unknown shape, H2506
        quarter outside the horizon, H2507 id used twice, H2508 number that is not finite
        (or multiplier not positive), H2509 half-life missing or not positive.
    """
    if undefined := [name for name in catalogue.shapes if name not in SHAPES]:
        raise _wrong("H2505", source, f"shapes.{undefined[0]}", *_not_among(undefined[0], SHAPES))
    for name, overlay in catalogue.policy_overlays.items():
        for driver, value in overlay.drivers.items():
            where = f"overlay {name}, driver {driver}"
            if driver not in catalogue.drivers:
                raise _wrong("H2503", source, where, *_not_among(driver, catalogue.drivers))
            if not math.isfinite(value):
                raise _wrong(
                    "H2508", source, where, f"{value} is not finite", f"{value} 不是有限数"
                )
    seen: set[str] = set()
    for scenario in catalogue.scenarios:
        if scenario.id in seen:
            raise _wrong(
                "H2507", source, f"scenario {scenario.id}", "this id stands twice", "编号重复"
            )
        seen.add(scenario.id)
        _check_scenario(catalogue, scenario, source)


def _check_scenario(catalogue: "ScenarioCatalogue", scenario: "Scenario", source: str) -> None:
    here = f"scenario {scenario.id}"
    if scenario.family not in catalogue.families:
        raise _wrong(
            "H2504", source, f"{here}, family", *_not_among(scenario.family, catalogue.families)
        )
    for name, path in scenario.drivers.items():
        where = f"{here}, driver {name}"
        if name not in catalogue.drivers:
            raise _wrong("H2503", source, where, *_not_among(name, catalogue.drivers))
        if not math.isfinite(path.peak):
            raise _wrong(
                "H2508",
                source,
                where,
                f"peak {path.peak} is not finite",
                f"峰值 {path.peak} 不是有限数",
            )
        _check_path(catalogue, path, source, where)
    for sector, multiplier in scenario.idiosyncratic.sectors.items():
        where = f"{here}, sector {sector}"
        if sector not in catalogue.sectors:
            raise _wrong("H2504", source, where, *_not_among(sector, catalogue.sectors))
        if not (math.isfinite(multiplier) and multiplier > 0):
            raise _wrong(
                "H2508",
                source,
                where,
                f"multiplier {multiplier} must be finite and positive",
                f"乘数 {multiplier} 必须为有限正数",
            )
    _check_path(catalogue, scenario.idiosyncratic.profile, source, f"{here}, profile")


def _check_path(
    catalogue: "ScenarioCatalogue", path: "PathSpec | Profile", source: str, where: str
) -> None:
    if path.shape not in catalogue.shapes:
        raise _wrong("H2505", source, where, *_not_among(path.shape, catalogue.shapes))
    last = catalogue.horizon_quarters
    if not 1 <= path.peak_quarter <= last:
        raise _wrong(
            "H2506",
            source,
            where,
            f"peak_quarter {path.peak_quarter} is not within 1..{last}",
            f"peak_quarter {path.peak_quarter} 不在 1..{last} 之内",
        )
    life = path.half_life
    if path.shape != "ramp_hold" and (life is None or not math.isfinite(life) or life <= 0):
        raise _wrong(
            "H2509",
            source,
            where,
            f"shape {path.shape} needs a positive half_life in quarters, not {life}",
            f"形状 {path.shape} 需要正的 half_life(季度),现为 {life}",
        )


def _not_among(name: str, known: Iterable[str]) -> tuple[str, str]:
    names = ", ".join(known)
    return f"{name!r} is not known; choose one of {names}", f"未知名称 {name!r};可选:{names}"


def _wrong(code: str, source: str, where: str, en: str, zh: str) -> UserError:
    return UserError(code, en=f"{source}, {where}: {en}", zh=f"{source},{where}:{zh}")
