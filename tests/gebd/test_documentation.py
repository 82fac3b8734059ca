from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

from gebd import AnnotationFormat, load_annotations, load_predictions, uniform
from tests.gebd import made

ROOT = Path(__file__).parents[2]


def test_lines_of_the_documentation_run_and_load_no_heavy_library(tmp_path: Path) -> None:
    truth = {f"v{n}": made.processed_entry([2.0, 5.0], [2.1, 5.2], [4.0]) for n in range(10)}
    (tmp_path / "annotations.pkl").write_bytes(made.as_old_numpy(made.with_numpy(truth)))
    (tmp_path / "predictions.pkl").write_bytes(pickle.dumps(uniform(truth, 4)))
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "gebd.md").read_text(), re.DOTALL)
    assert block.count("\n") < 15
    loaded = "import sys; assert not {'torch', 'ray', 'av', 'decord', 'h5py'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{block}\n{loaded}"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert dict(load_annotations(tmp_path / "annotations.json")) == dict(load_annotations(truth))
    assert load_predictions(tmp_path / "submission.pkl") == uniform(truth, 4)


def test_every_format_is_documented() -> None:
    text = (ROOT / "docs" / "gebd.md").read_text()
    assert all(f"`{found.value}`" in text for found in AnnotationFormat)
