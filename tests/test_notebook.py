"""demos/notebooks/quickstart.ipynb runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "demos" / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 6
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}, "nothing of the machine it was made on"


@pytest.mark.slow
def test_it_runs_and_shows_pictures(notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the notebook leaves its files
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads wait long for each other beside other work
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    text = "".join(o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "text" in o)
    assert len(shown) == 5, "three for the picture and the clip, the masks of a frame, everything"
    assert "mean IoU of the ball: " in text and "24 masks" in text
    assert not any(o.get("name") == "stderr" for c in notebook.cells for o in c.get("outputs", []))
