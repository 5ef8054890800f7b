"""Results as files for other programs: everything as JSON, or the cells as Parquet."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from haihe_fl.errors import UserError
from haihe_fl.stress.chain_results import ChainResult
from haihe_fl.stress.results import StressResult


def cells_frame(results: Sequence[StressResult]) -> pd.DataFrame:
    """Return one row a scenario, sector, institution and quarter, one column a measure.

    Amounts in CNY, as in `haihe_fl.stress.kernel.MEASURES`; quarters from 1. Cells without
    borrowers are left out.
    """
    frames = []
    for result in results:
        shape = (len(result.sectors), len(result.institutions), result.quarters)
        sector, institution, quarter = (place.ravel() for place in np.indices(shape))
        frame = pd.DataFrame(
            {
                "run_id": result.run_id,
                "scenario": result.scenario_id,
                "overlay": result.overlay,
                "grade": result.grade,
                "model_fingerprint": result.model_fingerprint,
                "sector": np.array(result.sectors)[sector],
                "institution": np.array(result.institutions)[institution],
                "quarter": quarter + 1,
                **{name: values.ravel() for name, values in result.cells.items()},
            }
        )
        frames.append(frame[frame["borrowers"] > 0])
    return pd.concat(frames, ignore_index=True)


def write_results(
    path: Path, results: Sequence[StressResult], chains: Sequence[ChainResult | None]
) -> None:
    """Write results by the suffix of the path: ``.json`` everything, ``.parquet`` the cells.

    Raises
    ------
    UserError
        H2568 for another suffix, or if the file cannot be written.
    """
    try:
        if path.suffix == ".parquet":
            cells_frame(results).to_parquet(path, index=False)
            return
        if path.suffix == ".json":
            whole = [
                {**r.to_dict(), **({"chain": c.to_dict()} if c else {})}
                for r, c in zip(results, chains, strict=True)
            ]
            path.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
            return
        what = f"{path.suffix or 'no suffix'} is neither .json nor .parquet"
    except OSError as error:
        what = str(error)
    raise UserError(
        "H2568",
        en=f"cannot save results to {path}: {what}; name a .json or .parquet file",
        zh=f"无法将结果保存到 {path}:{what};请指定 .json 或 .parquet 文件",
    )
