import json
from pathlib import Path

import pandas as pd
import pytest

from haihe_fl.errors import UserError
from haihe_fl.stress.export import cells_frame, write_results
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.run import run_all


@pytest.fixture
def results(portfolio: object) -> list[StressResult]:
    return run_all(portfolio, ["gfc-replay", "haihe-flood"])  # type: ignore[arg-type]


def test_parquet_adds_up_to_the_result(results: list[StressResult], tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    write_results(path, results, [None, None])
    frame = pd.read_parquet(path)
    for result in results:
        own = frame[frame["scenario"] == result.scenario_id]
        by_quarter = own.groupby("quarter")["el"].sum().to_numpy()
        assert by_quarter == pytest.approx(result.total("el"))
        assert set(own["run_id"]) == {result.run_id}
    assert (frame["borrowers"] > 0).all()
    assert len(frame) == len(cells_frame(results))


def test_json_reads_back(results: list[StressResult], tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    write_results(path, results, [None, None])
    back = [StressResult.from_dict(raw) for raw in json.loads(path.read_text())]
    assert [r.run_id for r in back] == [r.run_id for r in results]


@pytest.mark.parametrize("name", ["x.csv", "x", "no/such/folder/x.json"])
def test_other_files_are_refused(results: list[StressResult], tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="H2568"):
        write_results(tmp_path / name, results, [None, None])
