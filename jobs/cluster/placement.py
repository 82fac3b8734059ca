"""Which extractors go to which node: pure functions over numbers of cores and GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from jobs.cluster.devices import Node, Workers
from jobs.cluster.options import Options
from schemas.errors import ResourceError
from schemas.wording import counted

_CORES_AN_EXTRACTOR = 4  # without a GPU: more threads gain little, and fewer extractors waste cores
_FIRST_DECODERS = 16  # of an extractor on a GPU: some seconds later there are as many as its device needs
_NAMED = 3  # nodes in a sentence
_LEAST_SHARE = 0.05  # of a GPU, below which a network has no room


@dataclass(frozen=True, slots=True)
class Placement:
    """Workers by node; a node whose GPUs are shared unevenly occurs more than once.

    notes: sentences for the user, on GPUs that are not used and why, and on decoders that share cores.
    """

    groups: tuple[Workers, ...]
    notes: tuple[str, ...] = ()

    @property
    def extractors(self) -> int:
        """Extractors of all nodes."""
        return sum(group.extractors for group in self.groups)

    @property
    def decoders(self) -> int:
        """Decoders of all nodes at the start."""
        return sum(group.extractors * group.decoders for group in self.groups)

    @property
    def gpu(self) -> bool:
        """Whether extractors compute on GPUs."""
        return any(group.gpu for group in self.groups)

    @property
    def decoders_fixed(self) -> bool:
        """Whether the user said how many decoders an extractor has."""
        return any(group.decoders_fixed for group in self.groups)

    def each(self) -> Iterator[Workers]:
        """A record for each extractor. Neighbours are on different nodes, so that the first few use many of them."""
        left = [replace(group, extractors=1) for group in self.groups for _ in range(group.extractors)]
        seen: Counter[str] = Counter()
        turns = []
        for one in left:
            turns.append(seen[one.node.id])
            seen[one.node.id] += 1
        yield from (one for _, one in sorted(zip(turns, left, strict=True), key=lambda pair: pair[0]))

    def wall_seconds(self, decode_seconds: float, network_seconds: float) -> float:
        """Time for so many seconds of one decoder and of one extractor's network.

        Beside GPUs decoding and the network run side by side, and the longer one counts; on a CPU they share the cores.
        """
        decoders = devices = cores = 0.0
        for group in self.groups:
            each = group.cores or max(group.threads, group.decoders)
            decoders += group.extractors * (group.most_decoders if group.gpu else min(group.most_decoders, each))
            devices += group.extractors * (group.gpus if group.gpu else min(1.0, each / group.threads))
            cores += group.extractors * each
        wall = max(decode_seconds / decoders, network_seconds / devices)
        if self.gpu:
            return wall
        threads = max(group.threads for group in self.groups)
        return max(wall, (decode_seconds + network_seconds * threads) / cores)

    def __str__(self) -> str:
        def kind(group: Workers) -> tuple[float, ...]:
            return group.gpus, group.threads, group.decoders

        kinds = groupby(sorted(self.groups, key=kind, reverse=True), key=kind)
        together = [list(groups) for _, groups in kinds]
        return ", ".join(str(replace(same[0], extractors=sum(one.extractors for one in same))) for same in together)


@dataclass(slots=True)
class _Room:
    """A node while it is filled. slots: of its GPUs; most: extractors that it can have; count: those that it has."""

    node: Node
    slots: int
    most: int
    count: int = 0

    def preference(self) -> tuple[bool, bool, float]:
        """The larger, the sooner it gets the next extractor: room, a free GPU, cores for each."""
        return self.count < self.most, self.count < self.slots, self.node.cores / (self.count + 1)


def place(
    gpu: bool, nodes: Sequence[Node], options: Options, *, shards: int | None = None, files: int | None = None
) -> Placement:
    """Place extractors on nodes, each with an equal part of its node's cores.

    On GPUs there is one for each, or so many to one as --extractors asks for; each needs a core. shards, files: that
    there are to do, if it is known: there are not more extractors or decoders than that.

    A Ray of our own (no --ray-address) is told of more cores than there are if --extractors asks for more. Raises
    ResourceError if there is no room for what was asked for.
    """
    rooms = [_room(node, gpu, options) for node in nodes]
    room, asked = sum(one.most for one in rooms), options.extractors
    if asked is not None and asked > room:
        room = _more_room(rooms, gpu, asked, own=options.ray_address is None)
    if room < max(1, asked or 1):
        raise ResourceError(
            f"expected room for {counted(asked or 1, 'extractor')}{' on GPUs' if gpu else ''}; the cluster of "
            f"{counted(len(nodes), 'node')} has room for {room}. Give fewer --extractors, or add nodes"
        )
    at_most = max(1, min(room if number is None else number for number in (asked, shards)))
    for _ in range(min(room, at_most)):
        max(rooms, key=_Room.preference).count += 1
    count = sum(one.count for one in rooms)
    files_each = None if files is None else max(1, -(-files // count))
    groups = [group for one in rooms if one.count for group in _groups(one, gpu, options, files_each)]
    return Placement(tuple(groups), (*_idle(rooms, options, shards), *_crowded(groups)))


def _room(node: Node, gpu: bool, options: Options) -> _Room:
    if gpu:
        slots = int(node.gpus) + (node.gpus % 1 >= _LEAST_SHARE)
        return _Room(node, slots, min(slots, node.cores))
    if options.extractors is not None:
        return _Room(node, 0, node.cores // (options.threads or 1))
    return _Room(node, 0, max(min(1, node.cores), node.cores // (options.threads or _CORES_AN_EXTRACTOR)))


def _more_room(rooms: Sequence[_Room], gpu: bool, asked: int, *, own: bool) -> int:
    """Make room for more extractors than there are GPUs, or in a Ray of our own than there are cores."""
    each = -(-asked // max(1, sum(one.slots for one in rooms) if gpu else len(rooms)))
    for one in rooms:
        if gpu:
            one.most = one.slots * each if own else min(one.slots * each, one.node.cores)
        elif own:
            one.most = each
    return sum(one.most for one in rooms)


def _groups(room: _Room, gpu: bool, options: Options, files: int | None) -> Iterator[Workers]:
    cores = room.node.cores / room.count
    for count, share in _shares(room) if gpu else [(room.count, 0.0)]:
        threads = options.threads or (1 if gpu else max(1, int(cores)))
        most = max(1, int(cores) - threads) if gpu else max(1, int(cores))
        first = min(most, _FIRST_DECODERS if gpu else 1, files or most)
        fixed = options.decoders is not None
        decoders = options.decoders or first
        yield Workers(count, decoders, threads, share, options.batch_frames, fixed, cores, room.node)


def _shares(room: _Room) -> Iterator[tuple[int, float]]:
    """(extractors, part of a GPU) for a node: whole GPUs first; if they do not suffice, the last ones are shared.

    With several kinds of parts smaller than a half, Ray would cut GPUs so that the last extractor finds no room.
    """
    whole, rest = int(room.node.gpus), room.node.gpus % 1
    count = _on_whole(room)
    if count < room.count:
        yield room.count - count, rest / (room.count - count)
    if 0 < count <= whole:
        yield count, 1.0
    elif 0 < count < 2 * whole:
        yield 2 * whole - count, 1.0
        yield 2 * (count - whole), 0.5
    elif count:
        yield count, 1 / -(-count // whole)


def _on_whole(room: _Room) -> int:
    """Extractors on whole GPUs; a last part takes one of those that would have to share, or all if it is alone."""
    whole = int(room.node.gpus)
    if room.slots == whole or room.count <= whole:
        return room.count
    return room.count - 1 if whole else 0


def _idle(rooms: Sequence[_Room], options: Options, shards: int | None) -> Iterator[str]:
    """Sentences on the GPUs that take no extractor, a reason each."""
    total = sum(-(-one.node.gpus // 1) for one in rooms if one.slots or one.node.gpus)
    few = shards is not None and (options.extractors is None or shards < options.extractors)
    reasons = (
        (
            [one.node.gpus % 1 > 0 and one.node.gpus // 1 == one.slots for one in rooms],
            "Ray has too small a part of it",
        ),
        ([max(0, one.slots - one.most) for one in rooms], "there are fewer cores than GPUs"),
        (
            [max(0, min(one.most, one.slots) - one.count) for one in rooms],
            f"there are no more shards than {shards}" if few else f"--extractors {options.extractors}",
        ),
        ([_left_by_sharing(one) for one in rooms], f"the others are shared by --extractors {options.extractors}"),
    )
    for counts, why in reasons:
        if idle := sum(counts):
            at = [one.node for one, count in zip(rooms, counts, strict=True) if count]
            where = "; ".join(f"{node.name}: {counted(node.cores, 'core')}, {node.gpus:g} GPUs" for node in at[:_NAMED])
            more = "; ..." if len(at) > _NAMED else ""
            are = "is" if idle == 1 else "are"
            yield f"{idle} of {counted(int(total), 'GPU')} {are} not used, as {why} ({where}{more})"


def _left_by_sharing(room: _Room) -> int:
    """GPUs without an extractor because several share each of the others."""
    whole, count = int(room.node.gpus), _on_whole(room)
    return whole - -(-count // -(-count // whole)) if whole and count >= 2 * whole else 0


def _crowded(groups: Sequence[Workers]) -> Iterator[str]:
    """A sentence on decoders that are more than the cores they have."""
    crowded = [one for one in groups if one.decoders_fixed and one.decoders > one.cores]
    if crowded:
        one = crowded[0]
        yield (
            f"{counted(one.decoders, 'decoder')} of each extractor share {one.cores:.3g} "
            f"{'core' if one.cores == 1 else 'cores'} (--decoders): more than cores help only where files come slowly"
        )
