from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from schemas import errors
from schemas.errors import DamagedShardError, FailureClass, MSNetError, NotFiniteError, StoreError, VideoError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MSNetError)]


def made(kind: type[MSNetError]) -> MSNetError:
    if kind is DamagedShardError:
        return DamagedShardError("it is torn", shard="shard-00007", dataset="frames/feature")
    if kind is VideoError:
        return VideoError(FailureClass.TOO_SHORT, "one frame")
    return kind("a sentence")


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_errors_survive_pickling_between_processes(kind, protocol):
    error = made(kind)
    error.add_note("seen on node 3")
    for other in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(other) is kind
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_damage_without_a_dataset_survives_pickling():
    other = pickle.loads(pickle.dumps(DamagedShardError("it is missing", shard="shard-00000")))
    assert (other.shard, other.dataset) == ("shard-00000", None)


def test_tree_of_errors_is_the_one_that_is_drawn():
    assert all(kind.__name__ in errors.__doc__ for kind in CLASSES)
    assert issubclass(NotFiniteError, StoreError)
