"""The code of docs/graft.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

GUIDE = Path(__file__).parents[4] / "docs/graft.md"


def test_the_code_of_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    sizes = "size_px=112, steps=400"
    assert sizes in code
    small = code.replace(sizes, "size_px=64, steps=1, clips=16, num_frames=2, textures=4, shapes=4")
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        exec(compile(small, str(GUIDE), "exec"), {"__name__": "guide"})
    step, ratio, shape = capsys.readouterr().out.splitlines()
    assert step.startswith("1 {'matching': ") and float(ratio) > 0 and shape == "torch.Size([7, 2, 28, 28])"
    assert (tmp_path / "module.pt").exists()
