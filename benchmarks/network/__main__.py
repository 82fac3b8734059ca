"""The cost of the networks: `python -m benchmarks.network` prints ratios, all from one run.

On a CPU everything runs on one thread, and time is the process's CPU time, so that other load disturbs little. What is
compared takes turns, and the median counts. With an accelerator, a second table follows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.network.plain_network import PlainResNet
from extractor import DenseStream, build_network, load_model

FRAMES, SIZE = 8, 224
PUSH = 8  # frames per push of the dense stream, as many as a clip has, so that caches serve both alike

Clock = Callable[[], float]
Rows = list[tuple[str, float, str]]


def alternate(work: dict[str, Callable[[], object]], repetitions: int, clock: Clock) -> dict[str, list[float]]:
    """Seconds of each piece of work, run in turns. The first turn is a warm-up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repetitions + 1):
        for name, run in work.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: values[1:] for name, values in seconds.items()}


def ratio(seconds: dict[str, list[float]], over: str, under: str) -> float:
    """Median over the turns of the time of `over` divided by that of `under`."""
    return statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def measure_networks(repetitions: int) -> Rows:
    """Speed-up over the plain version, MSNet over TSM, share of the machine's matrix-product rate."""
    rows: Rows = []
    clip = torch.randn(FRAMES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    square = torch.randn(2048, 2048)
    for backbone, speed_up, overhead in (("resnet50", 1.15, 1.05), ("resnet18", 1.2, 1.08)):
        plain = PlainResNet(build_network(f"msnet_{backbone}").eval())
        tuned = load_model(f"msnet_{backbone}", weights="random", edges="zeros")  # as in the plain version
        without = load_model(f"tsm_{backbone}", weights="random", edges="zeros")
        check = (plain(clip) - tuned(clip.unsqueeze(0)).frame_features[0]).norm() / plain(clip).norm()
        seconds = alternate(
            {
                "plain": lambda run=plain: run(clip),  # type: ignore[misc]
                "msnet": lambda run=tuned: run(clip.unsqueeze(0)),  # type: ignore[misc]
                "tsm": lambda run=without: run(clip.unsqueeze(0)),  # type: ignore[misc]
                "product": lambda: square @ square,
            },
            repetitions,
            time.process_time,
        )
        rate = plain.flops / 2 / 2048**3 * ratio(seconds, "product", "msnet")
        clips = 1 / statistics.median(seconds["msnet"])
        rows += [
            (f"{backbone}: clips per second", clips, f"{plain.flops / 1e9:.1f} GFLOP per clip"),
            (f"{backbone}: relative difference from the plain version", float(check), ""),
            (f"{backbone}: speed-up over the plain version", ratio(seconds, "plain", "msnet"), f">= {speed_up}"),
            (f"{backbone}: time of MSNet over TSM", ratio(seconds, "msnet", "tsm"), f"<= {overhead}"),
            (f"{backbone}: share of the matrix-product rate", rate, ">= 0.8" if backbone == "resnet50" else ""),
        ]
    return rows


def measure_dense(num_frames: int) -> Rows:
    """A dense stream against separate clips of 8 with hop 1, on one item: CPU seconds per distinct frame.

    Each push of the stream alternates with one clip. All clips cost the same, so their total is the mean of the timed
    ones times their number.
    """
    network = load_model("msnet_resnet50", weights="random")
    generator = torch.Generator().manual_seed(0)
    stream = DenseStream(network)
    dense, windows = 0.0, []
    for start in range(0, num_frames, PUSH):
        frames = torch.randn(min(PUSH, num_frames - start), 3, SIZE, SIZE, generator=generator)
        begin = time.process_time()
        stream.push(frames)
        dense += time.process_time() - begin
        if len(frames) == FRAMES:
            begin = time.process_time()
            network(frames.unsqueeze(0))
            windows.append(time.process_time() - begin)
    begin = time.process_time()
    stream.finish()
    dense = (dense + time.process_time() - begin) / num_frames
    hop_one = statistics.mean(windows) * (num_frames - FRAMES + 1) / num_frames
    note = f"{num_frames} frames, {len(windows)} of {num_frames - FRAMES + 1} clips timed"
    return [
        ("dense: CPU seconds per frame", dense, note),
        ("clips of 8, hop 1: CPU seconds per frame", hop_one, ""),
        ("dense: speed-up over clips", hop_one / dense, ">= 6.5"),
    ]


def measure_accelerator(device: torch.device, repetitions: int) -> Rows:
    """Lower precision against float32, clips per second, MSNet over TSM, share of the matrix-product rate."""

    def clock() -> float:
        torch.accelerator.synchronize()
        return time.perf_counter()

    rows: Rows = []
    clips = torch.randn(32, FRAMES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    exact = load_model("msnet_resnet50", weights="random", device=device)
    expected = exact(clips).frame_features
    plain = PlainResNet(build_network("msnet_resnet50").eval())
    plain(clips[0].cpu())
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        network = load_model("msnet_resnet50", weights="random", dtype=dtype, device=device)
        without = load_model("tsm_resnet50", weights="random", dtype=dtype, device=device)
        square = torch.randn(8192, 8192, device=device, dtype=dtype)
        work: dict[str, Callable[[], object]] = {
            "msnet": lambda run=network: run(clips),  # type: ignore[misc]
            "tsm": lambda run=without: run(clips),  # type: ignore[misc]
            "product": lambda matrix=square: matrix @ matrix,  # type: ignore[misc]
        }
        seconds = alternate(work, repetitions, clock)
        error = float((network(clips).frame_features - expected).norm() / expected.norm())
        share = plain.flops * len(clips) / 2 / 8192**3 * ratio(seconds, "product", "msnet")
        name = str(dtype).removeprefix("torch.")
        rows += [
            (f"{name}: relative error of frame features", error, "against float32"),
            (f"{name}: clips per second", len(clips) / statistics.median(seconds["msnet"]), "batches of 32"),
            (f"{name}: time of MSNet over TSM", ratio(seconds, "msnet", "tsm"), ""),
            (f"{name}: share of the matrix-product rate", share, "8192 x 8192, same dtype"),
        ]
    return rows


def report(title: str, rows: Rows) -> None:
    """Print one table."""
    print(f"\n{title}")
    for name, value, note in rows:
        print(f"  {name:<58} {value:>11.4g}   {note}")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15, help="turns that count")
    parser.add_argument("--dense-frames", type=int, default=1000, help="frames of the dense stream; 0 leaves it out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        report("Networks, 8 frames of 224 x 224, one thread", measure_networks(options.repetitions))
        if options.dense_frames >= FRAMES:
            report("Dense sampling, ResNet-50, one thread", measure_dense(options.dense_frames))
        accelerator = getattr(torch, "accelerator", None)  # from PyTorch 2.6 on
        if accelerator is not None and accelerator.is_available():
            device = accelerator.current_accelerator()
            report(f"ResNet-50 on {device}", measure_accelerator(device, options.repetitions))


if __name__ == "__main__":
    main()
