"""A quarterly panel read from a file."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from clients.node import open_node, prepare_node
from clients.policy import NodePolicy
from haihe_fl.data.synth import synthesise
from haihe_fl.errors import UserError
from haihe_fl.models.releases import ReleaseRequest
from haihe_fl.securesum.keys import ConsortiumCA
from haihe_fl.stress.macro import Quarter
from haihe_fl.stress.panelfile import COLUMNS, read_panel
from haihe_fl.stress.panels import BANDS, DEFAULT_UNIT, KIND, PanelCounts, answer, length
from haihe_fl.stress.run import shipped

SECTORS = shipped()[0].sectors
GOOD = [
    ("2019Q4", "agri_food", "0.01", "200", "1"),
    ("2020Q1", "agri_food", "0.01", "199", "2"),
    ("2020Q1", "petrochem", "0.08", "40", "3"),
    ("2020Q2", "petrochem", "0.08", "37", "0"),
]


def write(folder: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / "panel.csv"
    path.write_text("\n".join(",".join(r) for r in [columns, *rows]) + "\n")
    return path


def test_rows_come_to_their_cells(tmp_path: Path) -> None:
    panel = read_panel(write(tmp_path, GOOD))
    assert panel.start == Quarter(2019, 4)
    assert panel.performing.shape == (3, 12, 2)
    assert panel.grade_logit == pytest.approx(np.log([0.01 / 0.99, 0.08 / 0.92]))
    food, petrol = SECTORS.index("agri_food"), SECTORS.index("petrochem")
    assert panel.performing[:, food, 0].tolist() == [200, 199, 0]
    assert panel.defaults[:, petrol, 1].tolist() == [0, 3, 0]
    assert panel.performing.sum() == 476 and panel.defaults.sum() == 6


def test_a_synthetic_panel_survives_the_way_through_parquet(tmp_path: Path) -> None:
    panel = synthesise(enterprises=1_000, seed=3).panel(quarters=6)
    mine = PanelCounts.split(panel)[0]
    t, s, g = np.nonzero(mine.performing)
    frame = pd.DataFrame(
        {
            "quarter": t + 1,
            "sector": np.array(panel.sectors)[s],
            "grade": 1 / (1 + np.exp(-mine.grade_logit[g])),
            "performing": mine.performing[t, s, g],
            "defaults": mine.defaults[t, s, g],
        }
    )
    frame.to_parquet(tmp_path / "panel.parquet")
    again = read_panel(tmp_path / "panel.parquet")
    arrays = {"edges": BANDS, "shape": np.array([6, 12])}
    request = ReleaseRequest("counts", KIND, 1.0, length(6, 12, 10), "train", arrays)
    assert (answer(again, request).vector == answer(mine, request).vector).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((0, 0, "2019"), "row 2, quarter: '2019'"),
        ((0, 0, "2019Q5"), "row 2, quarter"),
        ((0, 0, "2019Q2"), "without a gap"),
        ((0, 0, "1"), "without a gap"),
        ((1, 1, "mining"), "row 3, sector: 'mining'"),
        ((1, 2, "0"), "row 3, grade: '0'"),
        ((1, 2, "1.2"), "row 3, grade"),
        ((1, 2, "nan"), "row 3, grade"),
        ((2, 3, "-1"), "row 4, performing"),
        ((2, 3, "3.5"), "row 4, performing"),
        ((2, 3, "1e12"), "row 4, performing"),
        ((2, 4, ""), "row 4, defaults"),
        ((2, 4, "41"), "row 4: more defaults"),
    ],
)
def test_the_first_fault_is_named(tmp_path: Path, change: tuple[int, int, str], said: str) -> None:
    row, column, cell = change
    rows = [list(r) for r in GOOD]
    rows[row][column] = cell
    with pytest.raises(UserError, match=said) as caught:
        read_panel(write(tmp_path, [tuple(r) for r in rows]))
    assert caught.value.code == "H2587"


def test_faults_of_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="row 6 repeats a cell"):
        read_panel(write(tmp_path, [*GOOD, GOOD[1]]))
    with pytest.raises(UserError, match="columns defaults are missing"):
        read_panel(write(tmp_path, GOOD, (*COLUMNS[:4], "bad")))
    with pytest.raises(UserError, match="row 6 has another number"):
        read_panel(write(tmp_path, [*GOOD, ("2020Q2", "agri_food")]))
    with pytest.raises(UserError, match="H2020"):
        read_panel(tmp_path / "absent.csv")


def test_a_plan_takes_its_window_of_the_calendar(tmp_path: Path) -> None:
    panel = read_panel(write(tmp_path, GOOD))

    def asked(start: Quarter | None, quarters: int) -> np.ndarray:
        arrays = {"edges": BANDS, "shape": np.array([quarters, 12])}
        if start is not None:
            arrays["start"] = np.array(start)
        size = length(quarters, 12, len(BANDS) + 1)
        return answer(panel, ReleaseRequest("c", KIND, 1.0, size, "train", arrays)).vector

    late = asked(Quarter(2020, 1), 2)[:24].reshape(2, 12) / DEFAULT_UNIT
    assert late.sum(axis=1).tolist() == [5, 0]
    for start, quarters in ((None, 3), (Quarter(2019, 3), 2), (Quarter(2020, 1), 3)):
        with pytest.raises(UserError, match="H2581"):
            asked(start, quarters)


def test_a_node_reads_the_panel_that_its_file_names(tmp_path: Path) -> None:
    folder, made = tmp_path / "node", synthesise(enterprises=1_000, seed=3)
    ca = ConsortiumCA.create("test")
    prepare_node(folder, ca.issue("bank"), ca.certificate, NodePolicy())
    made.save(tmp_path / "data")
    name = made.cohort.institution[0]
    rows = {"data": f"../data/institutions/{name}.parquet", "mapping": "../data/mapping.yaml"}
    node = {**rows, "panel": "panel.csv.gz"}
    (folder / "node.yaml").write_text(yaml.safe_dump(node))
    plain = write(tmp_path, GOOD).read_bytes()
    (folder / "panel.csv.gz").write_bytes(gzip.compress(plain))
    agent = open_node(folder)
    assert isinstance(agent._panel, PanelCounts) and agent._panel.defaults.sum() == 6
    agent.close()
    (folder / "panel.csv.gz").write_bytes(gzip.compress(plain.replace(b"petrochem", b"oil")))
    with pytest.raises(UserError, match="H2587"):
        open_node(folder)
