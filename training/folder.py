"""The folder of a training: the state to resume from, curves as csv and for TensorBoard, and the checkpoints."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from extractor.store.disk.atomic import replacing, storage_errors, write_bytes
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from schemas.errors import ConfigurationError, StorageError
from schemas.records import Failure

CHECKPOINT, BEST = CHECKPOINTS = ("model.safetensors", "best.safetensors")
_LOSSES, _EVALUATIONS = LOGS = ("losses.csv", "evaluations.csv")
LEFT_OUT = "left_out.csv"
"""Videos that could not be used; absent where there are none."""

CURVES = "tensorboard"
"""Folder of the same curves for TensorBoard."""
_STATE = "state.pt"
_POLL_SECONDS = 0.2


class TrainingFolder:
    """A folder that holds one training and nothing else.

    Raises StorageError where it holds other files or cannot be created.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._claimed: int | None = None
        self._curves: EventsWriter | None = None  # SummaryWriter writes in a thread, which prints its own errors

    def claim(self, patience_seconds: float = 0.0) -> None:
        """Keep other trainings out of the folder, if it exists, until `close`, or until this process dies.

        Raises StorageError if another process has it for longer than `patience_seconds`.
        """
        if self._claimed is not None or not self.root.is_dir():
            return
        with storage_errors(self.root):
            self._claimed = os.open(self.root, os.O_RDONLY)
        until = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(self._claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise StorageError(
                        f"expected {self.root} to be free; another training writes there. Wait for it, or choose"
                        " another folder"
                    ) from error
                time.sleep(_POLL_SECONDS)
            except OSError:  # a network file system without locks
                return
            else:
                return

    def read_state(
        self, configuration: str, device: torch.device, later: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """The saved state; None in a new folder. later: fields, with values, that an older configuration may lack.

        Raises ConfigurationError where it is the state of another configuration, or cannot be read.
        """
        path = self.root / _STATE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            if not isinstance(state, dict) or not isinstance(state.get("config"), str):
                raise ValueError("expected the state of a training")
            saved = json.loads(state["config"])
        except (OSError, EOFError, RuntimeError, ValueError, RecursionError, UnpicklingError) as error:
            raise ConfigurationError(
                f"expected the state of a training; got {path}, which cannot be read. Choose another folder, or remove"
                " the file to start over"
            ) from error
        asked = json.loads(configuration)
        if isinstance(saved, dict):
            saved = {**(later or {}), **saved}
        if saved != asked:
            field = _first_difference(saved, asked)
            raise ConfigurationError(
                f"expected the configuration that {self.root} was trained with; got another configuration ({field}"
                " differs). Use the same one to continue, or choose another folder"
            )
        return state

    def begin(self, step: int) -> None:
        """Make the folder ready to go on behind `step` steps: rows of later ones will be written again."""
        for name in LOGS:
            _refuse_link(self.root / name)
        if not step:
            refuse_other_folder(self.root, {*LOGS, *CHECKPOINTS, CURVES, LEFT_OUT}.__contains__, "a training")
            probe_storage(self.root)
            self.claim()
        with storage_errors(self.root):
            for name in LOGS:
                _drop_rows_after(self.root / name, step)
            if not step:
                shutil.rmtree(self.root / CURVES, ignore_errors=True)
            (self.root / CURVES).mkdir(exist_ok=True)
        with self.saving():
            self._curves = EventsWriter(str(self.root / CURVES / "events"))
            # TensorBoard hides what an earlier process wrote of these steps
            start = SessionLog(status=SessionLog.START)
            self._curves.write_event(Event(wall_time=time.time(), step=step + 1, session_log=start))

    def close(self) -> None:
        """Write out the curves, and let others have the folder."""
        if self._curves is not None:
            with suppress(OSError):  # of a full disk, of which the user has been told
                self._curves.close()
        if self._claimed is not None:
            os.close(self._claimed)
            self._claimed = None

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Save everything that resuming needs, atomically."""
        with self.saving(), replacing(self.root / _STATE) as temporary:
            torch.save(dict(state), temporary)

    def log_step(self, step: int, stage: str, rate: float, losses: Mapping[str, float], names: Iterable[str]) -> None:
        """Add a step to the curves. names: the columns, in every step the same."""
        columns = {name: losses.get(name, "") for name in names}
        self._append(_LOSSES, {"step": step, "stage": stage, "learning_rate": rate, **columns})
        self._draw(step, {"learning_rate": rate} | {f"loss/{name}": value for name, value in losses.items()})

    def log_evaluation(self, step: int, found: Mapping[str, float]) -> None:
        """Add an evaluation to the curves."""
        self._append(_EVALUATIONS, {"step": step, **found})
        self._draw(step, {f"held_out/{name}": value for name, value in found.items() if value == value})

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Turn a failure to write, of whatever library, into a StorageError that says what is kept."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError, StorageError) as error:
            kept = "the last saved state is kept" if (self.root / _STATE).exists() else "nothing is saved yet"
            reason = str(error.__cause__ or error).partition("\n")[0]  # a StorageError's advice is about stores
            raise StorageError(
                f"expected room in {self.root} to save the training; got: {reason}. Free some space, and run the same"
                f" command again; {kept}"
            ) from error

    def save_left_out(self, failures: Mapping[str, Failure]) -> None:
        """Name the videos that could not be used, with the class of their failure and why."""
        lines = io.StringIO(newline="")
        writer = csv.writer(lines)
        writer.writerow(("video_id", "failure", "message"))
        writer.writerows((name, one.failure.value, one.message) for name, one in sorted(failures.items()))
        write_bytes(self.root / LEFT_OUT, lines.getvalue().encode("utf-8", "replace"))

    def evaluations(self) -> list[dict[str, float]]:
        """The evaluations so far, with their steps."""
        return [{name: float(value) for name, value in row.items()} for row in _rows(self.root / _EVALUATIONS)]

    def _append(self, name: str, row: Mapping[str, object]) -> None:
        _refuse_link(self.root / name)
        with self.saving():
            _append(self.root / name, row)

    def _draw(self, step: int, values: Mapping[str, float]) -> None:
        assert self._curves is not None
        with self.saving():
            for name, value in values.items():
                summary = scalar(name, value)
                self._curves.write_event(Event(wall_time=time.time(), step=step, summary=summary))
            self._curves.flush()


def _refuse_link(path: Path) -> None:
    """Raise StorageError for a symbolic link: rows would be added to a file of somebody else."""
    if path.is_symlink():
        raise StorageError(
            f"expected {path} to be a file of the training; got a symbolic link. Remove it, and run the same command"
            " again"
        )


def _append(path: Path, row: Mapping[str, object]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _drop_rows_after(path: Path, step: int) -> None:
    """Drop the rows of steps after the saved state, at once, and a row that a crash cut short."""
    rows = _rows(path)
    whole = [row for row in rows if None not in row and None not in row.values()]
    kept = [row for row in whole if row["step"].isdigit() and int(row["step"]) <= step]
    if len(kept) == len(rows):
        return
    lines = io.StringIO(newline="")
    if kept:
        writer = csv.DictWriter(lines, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    write_bytes(path, lines.getvalue().encode())


def _first_difference(one: Any, other: Any, where: str = "") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if one.get(key) != other.get(key):
                return _first_difference(one.get(key), other.get(key), f"{where}.{key}" if where else key)
    return where or "it"
