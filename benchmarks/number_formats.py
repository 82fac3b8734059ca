"""How far float16 and bfloat16 are from float32 on real video: `python -m benchmarks.number_formats FOLDER`.

From the middle of every video of the folder it takes a clip (`--frames`, at 10 per second, 224 x 224) and runs it in
each format. The table holds the differences from float32 over all clips: frame features relative to their norm
(median, mean, largest) and one minus their least cosine; displacement as the length of the difference in cells (mean,
99th percentile, and the share of cells that are off by more than half a cell), without the cells that are tied in
either format; confidence (mean, 99th percentile); motion features relative to their norm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor import MSNetOutput, load_model, normalize
from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS
from extractor.video.frames import read_frames
from extractor.video.listing import list_videos

__all__ = ["differences", "main", "middle", "outputs_of"]

_FORMATS = ("float16", "bfloat16")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="msnet_resnet18")
    parser.add_argument("--weights", default=BUNDLED_WEIGHTS)
    parser.add_argument("--frames", type=int, default=8, help="frames of each video")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    clips = [middle(read_frames(job).pixels, options.frames) for job in list_videos(options.folder).jobs]
    outputs = {
        name: outputs_of(clips, options.model, options.weights, getattr(torch, name), options.device)
        for name in ("float32", *_FORMATS)
    }
    print(f"{options.model} ({options.weights}) on {options.device}: {len(clips)} clips of {options.frames} frames")
    for name in _FORMATS:
        print(f"{name} against float32")
        for quantity, difference in differences(outputs[name], outputs["float32"]).items():
            print(f"  {quantity:<48} {difference:.2g}")


def middle(pixels: npt.NDArray[np.uint8], count: int) -> Tensor:
    """The `count` frames in the middle, as one clip of network input."""
    start = max(0, (len(pixels) - count) // 2)
    return normalize(pixels[start : start + count]).unsqueeze(0)


@torch.no_grad()
def outputs_of(clips: list[Tensor], model: str, weights: str, dtype: torch.dtype, device: str) -> list[MSNetOutput]:
    """The outputs of each clip, computed in `dtype`."""
    network = load_model(model, weights=weights, dtype=dtype, device=device)
    return [network(clip) for clip in clips]


def differences(found: list[MSNetOutput], expected: list[MSNetOutput]) -> dict[str, float]:
    """Each quantity's name and value, over all clips."""
    a, b = _joined(found, "frame_features"), _joined(expected, "frame_features")  # (frames, D)
    relative = (a - b).norm(dim=1) / b.norm(dim=1)
    rows = {
        "frame features, relative, median": relative.median(),
        "frame features, relative, mean": relative.mean(),
        "frame features, relative, largest": relative.max(),
        "frame features, 1 - least cosine": 1 - torch.cosine_similarity(a.double(), b.double()).min(),
    }
    if expected[0].displacement is not None:
        untied = ~(_joined(found, "tied") | _joined(expected, "tied"))  # (pairs, h, w)
        off = (_joined(found, "displacement") - _joined(expected, "displacement")).norm(dim=1)[untied]
        unsure = (_joined(found, "confidence") - _joined(expected, "confidence")).abs().flatten()
        motion, reference = _joined(found, "motion"), _joined(expected, "motion")
        rows |= {
            "displacement, cells, mean": off.mean(),
            "displacement, cells, 99 %": _percentile(off),
            "displacement, share of cells off by over 0.5": (off > 0.5).double().mean(),
            "tied cells left out, share": 1 - untied.double().mean(),
            "confidence, mean": unsure.mean(),
            "confidence, 99 %": _percentile(unsure),
            "motion features, relative": (motion - reference).norm() / reference.norm(),
        }
    return {name: float(value) for name, value in rows.items()}


def _joined(outputs: list[MSNetOutput], name: str) -> Tensor:
    """A tensor of all clips, their frames or pairs one after another."""
    return torch.cat([getattr(output, name)[0].cpu() for output in outputs])


def _percentile(values: Tensor) -> Tensor:
    return values.sort().values[round(0.99 * (len(values) - 1))]


if __name__ == "__main__":
    main()
