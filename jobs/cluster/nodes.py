"""The nodes of a running Ray, as they come and go: which can be used, and what to ask an autoscaler for."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.devices import Node, Workers
from jobs.cluster.options import Options
from jobs.cluster.placement import Placement, place
from schemas.errors import ResourceError, StorageError
from schemas.wording import counted

_SEEN_SECONDS = 60.0
_GOING_SECONDS = 10.0
_ASK_SECONDS = 60.0  # between requests: one that was met by a node that is of no use must not be repeated all the time
_MOST_ASKED = 32
_NO_LIMIT = 1_000_000
_LOOK_SECONDS = 5.0
_WAIT_SECONDS = 2.0
_TELL_SECONDS = 60.0

Say = Callable[[str], None]


def living_nodes() -> list[Node]:
    """The nodes that Ray knows to live."""
    return [
        Node(
            node["NodeID"],
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            int(node["Resources"].get("CPU", 0)),
            float(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


class Nodes:
    """The nodes that workers are placed on; those of a cluster may change while it is used.

    gpu: whether extractors compute on GPUs. say: takes sentences for the user. store, dataset: what nodes that join
    must see.
    """

    def __init__(
        self,
        gpu: bool,
        found: Sequence[Node],
        options: Options,
        say: Say = lambda message: None,
        store: Path | None = None,
        dataset: Path | None = None,
    ) -> None:
        self._gpu = gpu
        self._found = tuple(found)
        self._options = options
        self._say = say
        self._store, self._dataset = store, dataset
        self._changes = options.ray_address is not None
        self._known = {node.id for node in found}
        self._spare = list(found)  # that have no workers
        self._gone: set[str] = set()
        self._checked: dict[Any, tuple[Node, Path | None]] = {}
        self._asked: list[Any] = []
        self._looked = self._asked_at = self._told = -math.inf

    def placement(self, shards: int | None = None, files: int | None = None) -> Placement:
        """Place workers on the nodes that there were at the start; arguments and errors as of `place`."""
        placement = place(self._gpu, self._found, self._options, shards=shards, files=files)
        used = {group.node.id for group in placement.groups}
        self._spare = [node for node in self._found if node.id not in used]
        return placement

    def lives(self, node: Node) -> bool:
        """Whether a node has not gone; the user is told of each that has."""
        if not self._changes:
            return True
        if node.id not in self._gone and not any(one.id == node.id for one in living_nodes()):
            self._gone.add(node.id)
            self._say(f"{node.name} is gone; other nodes go on with its shards")
        return node.id not in self._gone

    def newcomers(self, running: int, missing: int) -> list[Workers]:
        """A record for each extractor to start on nodes that have joined, or had none so far; looks now and then.

        running: extractors that there are; missing: those for which there is work besides. What is still missing then
        is asked of the cluster's autoscaler. The user is told of each node, and if there is none.
        """
        if not self._changes or time.monotonic() - self._looked < _LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        self._spare += self._joined()
        found: list[Workers] = []
        for node in self._spare[:]:
            if (placement := self._placement_on(node, running + len(found), missing - len(found))) is not None:
                self._spare.remove(node)
                found += placement.each()
                self._say(f"{node.name} is used now, too, by {placement}")
        missing -= len(found)
        self.ask(missing if self._wanted(running + len(found)) else 0)
        if missing and not running and not found and self._looked - self._told > _TELL_SECONDS:
            self._told = self._looked
            self._say("all nodes with extractors are gone: waiting for one to join (Ctrl-C ends this)")
        return found

    def close(self) -> None:
        """Take back what was asked for, and what nodes were to look for."""
        for _, token in self._checked.values():
            if token is not None:
                token.unlink(missing_ok=True)
        self._checked = {}
        self.ask(0)

    def _wanted(self, running: int) -> int:
        """How many more extractors there may be beside so many."""
        return _NO_LIMIT if self._options.extractors is None else max(0, self._options.extractors - running)

    def _placement_on(self, node: Node, running: int, missing: int) -> Placement | None:
        """Place workers on one more node; None if it has no room for one that is wanted."""
        at_most = min(self._wanted(running), missing)
        if at_most <= 0:
            return None
        try:
            return place(self._gpu, [node], replace(self._options, extractors=None), shards=at_most)
        except ResourceError:
            return None

    def _joined(self) -> list[Node]:
        """Nodes that have joined and see the store and the dataset. Does not wait for their answers."""
        for node in living_nodes():
            if node.id not in self._known:
                self._known.add(node.id)
                token = None if self._store is None else _new_token(self._store)
                self._checked[_ask_for(node, [path for path in (token, self._dataset) if path])] = node, token
        waiting = list(self._checked)
        ready = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []
        return [node for node in map(self._usable, ready) if node is not None]

    def _usable(self, reference: Any) -> Node | None:
        """The node whose answer has come, if it can be used; the user is told if not."""
        node, token = self._checked.pop(reference)
        try:
            if all(ray.get(reference)):
                return node
            self._say(f"{node.name} joined, but does not see the store and the dataset: it is not used")
        except RayError as error:
            reason = str(error).strip().splitlines()[0]
            self._say(f"{node.name} joined, but cannot be used ({reason}): is msnet-features installed on it?")
        finally:
            if token is not None:
                token.unlink(missing_ok=True)
        return None

    def ask(self, extractors: int) -> None:
        """Have a cluster's autoscaler know of so many extractors without a node; 0 takes the request back.

        It goes by what waits for resources: tasks that need what an extractor needs, and do nothing once they have it.
        """
        if not extractors:
            for reference in self._asked:
                ray.cancel(reference)
            self._asked = []
        elif self._changes and time.monotonic() - self._asked_at >= _ASK_SECONDS:
            self._asked_at = time.monotonic()
            pending = ray.wait(self._asked, num_returns=len(self._asked), timeout=0)[1] if self._asked else []
            cores = 2 if self._gpu else self._options.threads or 1
            wish = ray.remote(num_cpus=cores, num_gpus=int(self._gpu), max_retries=0)(_nothing)
            self._asked = [*pending, *(wish.remote() for _ in range(min(extractors, _MOST_ASKED) - len(pending)))]


def wait_for_gpu(options: Options, say: Say) -> list[Node]:
    """Wait until a cluster has a GPU, and tell the user every minute; returns its nodes. An autoscaler hears of it."""
    nodes, told, found = Nodes(True, (), options), -math.inf, living_nodes()
    while not any(node.gpus for node in found):
        nodes.ask(options.extractors or 1)
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            say(f"the cluster of {counted(len(found), 'node')} has no GPU yet: waiting for one (Ctrl-C ends this)")
        time.sleep(_WAIT_SECONDS)
        found = living_nodes()
    nodes.ask(0)
    return found


def nodes_that_share(store: Path | None, dataset: Path | None, nodes: Sequence[Node]) -> list[Node]:
    """The nodes, without those that are gone by now.

    Raises StorageError if one does not see the dataset, or a new file in the store, ResourceError if one does not
    answer.
    """
    token = None if store is None else _new_token(store)
    paths = {"the dataset": dataset, "the store": token}
    known = {what: path for what, path in paths.items() if path is not None}
    try:
        seen = _answers(nodes, list(known.values()))
    finally:
        if token is not None:
            token.unlink(missing_ok=True)
    for number, what in enumerate(known):
        if blind := sum(not answers[number] for answers in seen.values()):
            raise StorageError(
                f"expected the cluster's nodes to see {what} ({dataset if what == 'the dataset' else store}); {blind} "
                f"of {len(nodes)} do not. Put it on storage that all nodes share, under the same path"
            )
    return list(seen)


def _new_token(store: Path) -> Path:
    token = store / f".seen.{secrets.token_hex(6)}.tmp"
    token.touch()
    return token


def _answers(nodes: Sequence[Node], paths: Sequence[Path]) -> dict[Node, list[bool]]:
    """Which paths each node sees, of those that are not gone by now. Raises ResourceError if one does not answer."""
    asked = {node: _ask_for(node, paths) for node in nodes}
    deadline, found = time.monotonic() + _SEEN_SECONDS, {}
    for node, answer in asked.items():
        try:
            found[node] = ray.get(answer, timeout=max(0.0, deadline - time.monotonic()))
        except RayError as error:
            if _goes(node):
                continue
            reason = str(error).strip().splitlines()[0]
            raise ResourceError(
                f"expected an answer from each of the cluster's {counted(len(nodes), 'node')}; {node.name} gave none "
                f"({reason}). Is msnet-features installed on every node, in the same version?"
            ) from error
    return found


def _goes(node: Node) -> bool:
    """Whether a node that did not answer is gone; Ray counts one that has died as alive for some seconds."""
    deadline = time.monotonic() + _GOING_SECONDS
    while node.id in {one.id for one in living_nodes()}:
        if time.monotonic() > deadline:
            return False
        time.sleep(_WAIT_SECONDS)
    return True


def _ask_for(node: Node, paths: Sequence[Path]) -> Any:
    """Reference to whether a node sees each path."""
    strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
    check = ray.remote(num_cpus=0, max_retries=0)(_sees)
    return check.options(scheduling_strategy=strategy).remote([str(path) for path in paths])


def _sees(paths: Sequence[str]) -> list[bool]:
    return [Path(path).exists() for path in paths]


def _nothing() -> None:
    return None
