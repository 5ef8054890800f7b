"""The notebooks run from top to bottom, and are stored without outputs."""

from pathlib import Path

import pytest

pytest.importorskip("ipykernel")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == ["01_first_private_model.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_without_outputs_and_in_both_languages(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
        else:
            assert any("\u4e00" <= c <= "\u9fff" for c in cell.source), cell.source
            assert any(c.isascii() and c.isalpha() for c in cell.source)


# pyzmq's event loop warns on its own; the kernel is a process of its own, with its own filters.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    printed = "".join(
        out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ())
    )
    assert "epsilon 3.00, delta 1e-05, per record" in printed
    assert "spent 3.00" in printed and "points lost" in printed
    drawn = [
        out
        for cell in notebook.cells
        for out in cell.get("outputs", ())
        if "image/svg+xml" in out.get("data", {})
    ]
    assert len(drawn) == 4
