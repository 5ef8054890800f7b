"""The layout of the institutions' files: Chinese headers, 元 and per cent, codes for gaps.

The files look as an export of a bank does, so that reading them is the work it is in life; the
mapping written beside them takes them back to the catalogue.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature
from haihe_fl.data.cohort import Cohort

KEY, INSTITUTION, DATE, LABEL, EAD, LGD = (
    "统一社会信用代码",
    "机构编号",
    "数据日期",
    "十二个月内违约",
    "风险暴露(万元)",
    "违约损失率(%)",
)
YES, NO = "是", "否"

# In the order of the catalogue's categories.
NAMES: dict[str, tuple[str, ...]] = {
    "sector": (
        "汽车零部件",
        "生物医药",
        "装备制造",
        "石油化工",
        "电子信息",
        "航空航天",
        "新能源",
        "港口物流",
        "跨境贸易",
        "农业食品",
        "建材",
        "商贸服务",
    ),
    "district": tuple(
        f"{name}区"
        for name in (
            *("和平", "河东", "河西", "南开", "河北", "红桥", "东丽", "西青"),
            *("津南", "北辰", "武清", "宝坻", "滨海新", "宁河", "静海", "蓟州"),
        )
    ),
    "ownership": ("民营", "国有", "外资", "集体", "混合"),
    "size_class": ("微型", "小型", "中型"),
    "policy_status": ("无", "创新型中小企业", "专精特新", "小巨人"),
}
_YUAN = "CNY 10k"


def header(feature: Feature) -> str:
    """Return the column's header: the Chinese title, with the unit in which it is written."""
    title = feature.title.zh if feature.title else feature.name
    return title + {"share": "(%)", _YUAN: "(元)"}.get(feature.unit, "")


def factor(feature: Feature) -> float:
    """Return what takes a cell of the file to the unit of the catalogue."""
    return {"share": 0.01, _YUAN: 0.0001}.get(feature.unit, 1.0)


def table_cells(column: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Return numbers as written: without the noise of float32 wherever that is read back alike.

    >>> table_cells(np.array([0.6775], dtype=np.float32), 0.01).tolist()
    [67.75]
    """
    exact = column.astype(np.float64)
    short = (exact.round(4) / scale).round(6)
    same = (short * scale).astype(np.float32) == column
    return np.where(same, short, exact / scale)


def table(cohort: Cohort, coded: bool) -> pd.DataFrame:
    """Return an institution's file.

    Parameters
    ----------
    coded : bool
        Write gaps as the catalogue's codes (-9999, ``UNKNOWN``) instead of leaving them empty.
    """
    columns: dict[str, Any] = {
        KEY: cohort.key,
        INSTITUTION: cohort.institution,
        LABEL: np.where(cohort.label == 1, YES, NO),
        EAD: table_cells(cohort.extra["ead"], 1e4),
        LGD: table_cells(cohort.extra["lgd"], 0.01),
    }
    if cohort.date is not None:
        columns[DATE] = np.char.replace(cohort.date.astype("U10"), "-", "")
    for j, feature in enumerate(cohort.catalogue.features):
        column = cohort.values[:, j]
        gap = np.isnan(column)
        code = feature.missing[0] if coded else None
        if feature.kind == "category":
            names = np.array(NAMES.get(feature.name, feature.categories), dtype=object)
            cells = names[np.where(gap, 0, column).astype(np.intp)]
            cells[gap] = code
        else:
            cells = table_cells(column, factor(feature))
            if coded:
                cells[gap] = code
        columns[header(feature)] = cells
    return pd.DataFrame(columns)


def mapping(cohort: Cohort) -> dict[str, Any]:
    """Return the mapping that takes such a file back to the catalogue (``docs/mapping.md``)."""
    columns: dict[str, Any] = {}
    for feature in cohort.catalogue.features:
        source: dict[str, Any] = {"column": header(feature)}
        if factor(feature) != 1:
            source["factor"] = factor(feature)
        if feature.name in NAMES:
            source["values"] = dict(zip(NAMES[feature.name], feature.categories or (), strict=True))
        columns[feature.name] = source
    return {
        "name": "haihe-synthetic",
        "catalogue": cohort.catalogue.name,
        "key": KEY,
        "institution": {"column": INSTITUTION},
        "date": {"column": DATE, "format": "%Y%m%d"},
        "label": {"column": LABEL, "positive": [YES], "negative": [NO]},
        "ead": {"column": EAD, "factor": 10000},
        "lgd": {"column": LGD, "factor": 0.01},
        "sector": columns["sector"],
        "columns": columns,
    }
