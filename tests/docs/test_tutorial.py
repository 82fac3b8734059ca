"""The notebook: stored without outputs, and run from its first cell to its last results."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.documents import NOTEBOOK, ROOT

CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_notebook_is_stored_without_outputs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_what_the_notebook_needs_is_told_where_it_is_linked() -> None:
    """Beside the package itself: what its cells import, by the extra that brings it, and what runs a notebook."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code")
    assert "import matplotlib" in code and any(one.startswith("matplotlib") for one in extras["plot"])
    assert any(one.startswith("ipykernel") for one in extras["dev"]), "what `make` sets up"
    readme = (ROOT / "README.md").read_text()
    places = [part for part in re.split(r"\n\n|\n(?=\|)", readme) if "docs/tutorial.ipynb" in part]
    assert len(places) == 2
    for text in (*places, "".join(CELLS[0]["source"])):
        assert "extra `plot`" in text and "ipykernel" in text


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Jupyter's own, about event loops and its folders
def test_notebook_runs_to_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel (extra dev)")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    text = {
        "".join(cell["source"]): "".join(output.get("text", "") for output in cell["outputs"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    }
    (extracted,) = (output for source, output in text.items() if "jobs.extract(" in source)
    assert "24 done, 0 failed" in extracted
    (joined,) = (output for source, output in text.items() if "gebd.train_head(" in source)
    assert "16 of 16 annotated videos" in joined
    (compared,) = (output for source, output in text.items() if "compare_with_baselines(" in source)
    f1 = {name: float(score) for name, score in re.findall(r"^([\w-]+(?: head)?) +(0\.\d+)", compared, re.MULTILINE)}
    assert f1["our head"] > max(score for name, score in f1.items() if name.endswith("-matched"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
