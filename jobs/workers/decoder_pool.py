"""The decoders of one extractor: kept busy a little ahead, watched, and replaced when they die, hang or grow."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from jobs.cluster.options import DecoderLimits
from jobs.workers.pool.sharing import SharedFile
from jobs.workers.pool.slots import QueuedFile, Slot, joinable
from schemas.errors import FailureClass, ResourceError, VideoError
from schemas.records import Decoded, DecodingEvent, FileJob, FrameChunk, Header, Restart
from schemas.wording import in_a_line, what_to_mend

_AHEAD_EVENTS = 2  # requested from a decoder but not taken: bounds the frames in shared memory
_AHEAD_FILES = 2
_JUDGING_SECONDS = 0.25  # between two looks at all decoders' memory and silence
_ANSWER_SECONDS = 10.0  # for an idle decoder to answer, which takes a millisecond
_START_SECONDS = 120.0  # for a process to start
_MOST_FAILED_STARTS = 5  # in a row
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class FileEvent:
    """An event of a file. attempts: how many decoders have tried it."""

    job: FileJob
    event: DecodingEvent | VideoError
    attempts: int = 1


class DecoderPool:
    """Decodes files in several processes; `poll` returns their events as they come.

    An infrastructure failure (the process died, was silent too long, or took too much memory) costs at most the current
    file: after a Restart event it is tried once more in a fresh decoder, and then ends in a VideoError. Files queued
    behind it are not charged. Events of one file come in order and end with Decoded or a VideoError.

    A decoder without a file helps with a long one that another has begun, if its header says that it has stretches, and
    leaves it when a file waits. A doubt of any of its decoders, as their end, voids what came of the file: after a
    Restart event one decodes it alone.

    spawn: starts a process; its argument says whether it asks Ray for a core. The first `reserved` ones do not, as
    their cores are reserved already; the others may have to wait for one, and are not missed meanwhile. most: decoders
    that there may be at a time.
    """

    def __init__(
        self, spawn: Callable[[bool], Any], count: int, limits: DecoderLimits, reserved: int, most: int
    ) -> None:
        self._spawn = spawn
        self._limits = limits
        self._reserved = reserved
        self._most = most
        self._slots = [self._new_slot(number >= reserved) for number in range(count)]
        self._waiting: deque[QueuedFile] = deque()
        self._draining = False
        self._failed_starts = 0
        self._judged = 0.0
        self.warm = False  # whether an event has come: waiting for the first decoders to start is not a lack of them
        self.notes: list[str] = []  # tracebacks of decoders, for the log

    @property
    def idle(self) -> bool:
        """Whether no file waits or is being decoded."""
        return not self._waiting and not any(slot.tasks for slot in self._slots)

    @property
    def hungry(self) -> bool:
        """Whether decoders will soon have nothing to do."""
        return len(self._waiting) < len(self._slots)

    @property
    def shares(self) -> bool:
        """Whether more decoders would help with a file that is being decoded."""
        return joinable(self._slots) is not None

    @property
    def size(self) -> int:
        """Number of decoders that have started, or for which a core is reserved."""
        return sum(not slot.retiring and (slot.process_id is not None or not slot.asks) for slot in self._slots)

    def resize(self, change: int) -> int:
        """Add decoders, or give some up but the first; returns the change that was made or asked for.

        One that starts, or waits for a core, already keeps others from being asked for.
        """
        kept = [slot for slot in self._slots if not slot.retiring]
        if change > 0:
            if any(slot.process_id is None for slot in kept):
                return 0
            added = min(change, self._most - len(kept))
            asking = sum(slot.asks for slot in kept)
            self._slots += [self._new_slot(len(kept) - asking + n >= self._reserved) for n in range(added)]
            return max(0, added)
        given_up = kept[1:][change:] if change < 0 else []
        for slot in given_up:
            slot.retiring = True  # once it has finished the files that it was sent
            self._waiting.extendleft(task for task in reversed(slot.tasks) if not task.sent)
            slot.tasks = deque(task for task in slot.tasks if task.sent)
        return -len(given_up)

    def ahead(self, ready: Collection[Any]) -> bool:
        """Whether every decoder has an answer ready that nobody took yet."""
        started = [slot for slot in self._slots if slot.process_id is not None]
        return bool(started) and all(slot.tasks and (not slot.answers or slot.answers[0] in ready) for slot in started)

    def add(self, jobs: Iterable[FileJob]) -> None:
        """Queue files behind those that wait."""
        self._waiting += (QueuedFile(job) for job in jobs)

    def withdraw(self, jobs: Collection[FileJob]) -> None:
        """Take back those files that are not handed to a decoder."""
        self._waiting = deque(file for file in self._waiting if file.job not in jobs)

    def drain(self) -> None:
        """Start no more files."""
        self._draining = True

    def close(self) -> None:
        """End the decoders."""
        for slot in self._slots:
            ray.kill(slot.actor)

    def awaited(self) -> list[Any]:
        """References to what comes next, for a caller that waits for other things, too."""
        return list(self._busy())

    def poll(self, ready: Collection[Any]) -> Iterator[FileEvent]:
        """Events that have come: `ready` are those of `awaited` that have. Gives decoders more to do.

        Raises ResourceError if decoders do not start, for which no file is to blame.
        """
        busy = self._busy()
        for reference in ready:
            if (slot := busy.get(reference)) is not None:
                yield from self._take(slot)
        if self._draining:
            self._waiting.clear()
            for slot in self._slots:  # drop files queued behind the current one, and their events
                task, behind = list(slot.tasks)[:1], list(slot.tasks)[1:]
                slot.tasks = deque(task)
                slot.retiring |= any(one.sent for one in behind)  # it decodes them next, and so cannot help with a film
        for slot in self._slots:
            if slot.retiring and not slot.tasks:
                ray.kill(slot.actor)
        self._slots = [slot for slot in self._slots if slot.tasks or not slot.retiring]
        for files in range(1, _AHEAD_FILES + 1):  # no decoder gets a second file before all have one
            for slot in self._slots:
                self._fill(slot, files)
        if time.monotonic() - self._judged > _JUDGING_SECONDS:
            self._judged = time.monotonic()
            yield from self._judge()

    def _judge(self) -> Iterator[FileEvent]:
        """Replace decoders that are silent too long, or have taken too much memory."""
        busy = self._busy()
        # Look now: the caller may have been slow with the events, and no decoder is charged for that.
        silent = set(ray.wait(list(busy), num_returns=len(busy), timeout=0)[1] if busy else ())
        for reference, slot in busy.items():
            if slot.process_id is None:
                late = time.monotonic() - slot.head_since > _START_SECONDS
                if reference in silent and late and not slot.asks:
                    self._failed_to_start(slot, f"no answer within {_START_SECONDS:.0f} s")
            elif slot.tasks and (error := slot.verdict(self._limits, silent=reference in silent)):
                yield from self._replace(slot, error)

    def _busy(self) -> dict[Any, Slot]:
        """Slots whose next answer is awaited, by its reference."""
        more = bool(self._waiting) or self.shares
        return {
            slot.answers[0]: slot
            for slot in self._slots
            if slot.answers and (slot.tasks or (more and slot.process_id is None))
        }

    def _new_slot(self, asks: bool) -> Slot:
        actor = self._spawn(asks)
        return Slot(actor, deque([actor.process_id.remote()]), asks, head_since=time.monotonic())

    def _fill(self, slot: Slot, most: int) -> None:
        if slot.process_id is None:
            return
        room = min(most, self._limits.files - slot.files)
        joined = None if slot.tasks or self._waiting else joinable(self._slots)
        begins = not slot.tasks and not slot.retiring and (self._waiting or joined)
        if begins and (room <= 0 or not self._lives(slot)):
            self._renew(slot)
            return
        if begins:
            slot.head_since = time.monotonic()
        if begins and joined and joined.shared:
            joined.shared.decoders += 1
            slot.tasks.append(joined.again(shared=joined.shared, began=False))
        if slot.tasks and slot.tasks[0].shared is not None:  # no file waits for the end of a film
            room = 1
        while self._waiting and not slot.retiring and len(slot.tasks) < room:
            slot.tasks.append(self._waiting.popleft())
        while slot.tasks and len(slot.answers) < _AHEAD_EVENTS and self._request(slot):
            pass

    def _request(self, slot: Slot) -> bool:
        """Request one more answer; False if the decoder has to wait for others."""
        task = slot.tasks[0]
        more: tuple[Any, ...] = ()
        if task.shared is not None and not task.sent:
            more = None, task.shared.header.inspection
        elif task.shared is not None and not task.leaves:
            leaving = sum(other.tasks[0].leaves for other in self._slots if other.tasks)
            ask = task.shared.ask(began=task.began, leaves=slot.retiring or len(self._waiting) > leaving)
            if ask is None:
                return False
            more, task.leaves = (ask,), ask.stretch is None
        if not slot.answers:  # it was not silent meanwhile
            slot.head_since = time.monotonic()
        slot.answers.append(slot.actor.next.remote([one.sending() for one in slot.tasks if not one.sent], *more))
        return True

    def _lives(self, slot: Slot) -> bool:
        """Whether an idle decoder still answers: one that died while idle must not cost a file."""
        answer = slot.actor.process_id.remote()
        try:
            ray.get(answer, timeout=_ANSWER_SECONDS)
        except RayError:
            return False
        slot.answers.clear()  # all empty: they were requested beyond the last file
        return True

    def _renew(self, slot: Slot) -> None:
        ray.kill(slot.actor)
        fresh = self._new_slot(slot.asks)
        slot.actor, slot.answers, slot.head_since = fresh.actor, fresh.answers, fresh.head_since
        slot.process_id, slot.files = None, 0

    def _take(self, slot: Slot) -> Iterator[FileEvent]:
        """Take the first answer of a slot, which is ready."""
        reference = slot.answers.popleft()
        if slot.process_id is None:
            self._take_process_id(slot, reference)
            return
        try:
            events = ray.get(reference)
        except OutOfMemoryError:
            error = VideoError(
                FailureClass.OUT_OF_MEMORY, "the decoder was killed because the machine ran out of memory"
            )
            yield from self._replace(slot, error)
            return
        except RayTaskError as failure:
            self.notes.append(f"{slot.tasks[0].job.path if slot.tasks else 'no file'}: {failure}")
            cause = in_a_line(failure.cause)
            error = VideoError(FailureClass.DECODER_CRASHED, f"the decoder failed: {cause}")
            yield from self._replace(slot, error)
            return
        except RayError:
            error = VideoError(FailureClass.DECODER_CRASHED, "the decoder's process died")
            yield from self._replace(slot, error)
            return
        slot.head_since = time.monotonic()
        for event in events if slot.tasks else ():  # else requested beyond the last file
            self.warm = True
            task = slot.tasks[0]
            if isinstance(event, Header):
                task.has_header = True
                task.duration_seconds = event.info.end_seconds - event.info.start_seconds
                if task.began and event.stretches > 1:
                    task.shared = SharedFile(event)
            if isinstance(event, Decoded | VideoError) or (task.shared is not None and isinstance(event, Restart)):
                slot.tasks.popleft()
                slot.files += 1
            if task.shared is None or (task.began and isinstance(event, Header)):
                yield FileEvent(task.job, event, task.attempts)
            elif not task.shared.void:
                yield from (FileEvent(task.job, one, task.attempts) for one in self._merged(task, task.shared, event))

    def _merged(
        self, task: QueuedFile, shared: SharedFile, event: DecodingEvent | VideoError
    ) -> Iterator[DecodingEvent | VideoError]:
        """What an event of one of its decoders means for a shared file."""
        match event:
            case FrameChunk():
                yield from shared.add(event)
            case Decoded():
                if (end := shared.end(event)) is not None:
                    yield end
            case VideoError() if task.began:  # decoded from the start
                shared.void = True
                yield event
            case Restart(reason=reason) | VideoError(message=reason):
                yield self._alone(task, shared, reason)
            case Header(stretches=stretches) if stretches != shared.header.stretches:
                yield self._alone(task, shared, "decoders differ in how to share it")

    def _alone(self, task: QueuedFile, shared: SharedFile, reason: str) -> Restart:
        """Void a shared file, and queue it for one decoder."""
        shared.void = True
        self._waiting.appendleft(task.again(alone=True))
        return Restart(reason)

    def _take_process_id(self, slot: Slot, reference: Any) -> None:
        try:
            slot.process_id = ray.get(reference)
        except RayError as failure:
            self._failed_to_start(slot, in_a_line(failure))
            return
        self._failed_starts = 0
        slot.head_since = time.monotonic()

    def _failed_to_start(self, slot: Slot, reason: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _MOST_FAILED_STARTS:
            raise ResourceError(
                f"expected decoders to start; {self._failed_starts} in a row did not ({reason}). {what_to_mend(reason)}"
            )
        self._renew(slot)

    def _replace(self, slot: Slot, error: VideoError) -> Iterator[FileEvent]:
        """Replace the decoder of a slot. Its file is tried again in the new one, or fails with `error`."""
        if not slot.tasks:
            self._renew(slot)
            return
        task, *behind = slot.tasks
        self._waiting.extendleft(other.again() for other in reversed(behind))
        slot.tasks.clear()
        self._renew(slot)
        if task.shared is not None:
            if task.shared.void:  # its file has ended, or is decoded by another
                return
            task.shared.void = True
        if task.attempts >= _ATTEMPTS:
            yield FileEvent(task.job, error, task.attempts)
            return
        if self._draining:  # a second try would be one more file to wait for
            return
        if task.has_header or task.shared is not None:
            yield FileEvent(task.job, Restart(error.message), task.attempts)
        slot.tasks.append(task.again(attempts=task.attempts + 1, distrust=error.message, alone=True))
