from __future__ import annotations

import builtins
import os
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gebd.annotations import unpickling
from gebd.annotations.stand_ins import ADMITTED
from gebd.annotations.unpickling import unpickle
from schemas.errors import UsageError
from tests.gebd import made


class Runs:
    """Pickles into a call of whatever it is given."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_unpickle_plain_data_of_every_protocol(protocol: int) -> None:
    content = {"a": [1, -7, 70_000, 2**40, 0.1, True, False, None, "ü", ()], "b": {"c": (1, 2, 3, 4), "d": [[], {}]}}
    assert unpickle(pickle.dumps(content, protocol), "x") == content


def test_unpickle_scalar_of_old_numpy_written_by_hand() -> None:
    found = unpickle(b"\x80\x03}X\x01\x00\x00\x00a" + made.old_scalar(0.1) + b"s.", "x")
    assert found == {"a": 0.1} and type(found["a"]) is float


def test_unpickle_old_names_of_the_newer_protocol() -> None:
    data = b"\x80\x04" + made.old_scalar(2.5) + b"."
    data = data.replace(b"cnumpy.core.multiarray\nscalar\n", b"\x8c\x15numpy.core.multiarray\x8c\x06scalar\x93")
    assert unpickle(data.replace(b"cnumpy\ndtype\n", b"\x8c\x05numpy\x8c\x05dtype\x93"), "x") == 2.5


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i8", "u1", "?", "i2", "U3"])
def test_unpickle_arrays_and_scalars_become_lists_and_numbers(protocol: int, dtype: str) -> None:
    values = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    content = {"array": values, "turned": np.asfortranarray(values), "scalar": values[1, 1], "none": values[:0, 0]}
    content |= {"every second": values[:, ::2], "copies": [values[0, :1].copy() for _ in range(300)]}
    data = pickle.dumps(content, protocol)
    if protocol == 3:
        data = made.as_old_numpy(content)
    found = unpickle(data, "x")
    assert found["array"] == found["turned"] == values.tolist()
    assert found["scalar"] == values[1, 1].item() and not isinstance(found["scalar"], np.generic)
    assert found["none"] == [] and found["every second"] == values[:, ::2].tolist()
    assert found["copies"] == [values[0, :1].tolist()] * 300


def test_unpickle_lists_of_different_lengths_in_an_object_array() -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[1.0, 2.0], []]
    assert unpickle(made.as_old_numpy({"raters": ragged, "id": np.str_("abc")}), "x") == {
        "raters": [[1.0, 2.0], []],
        "id": "abc",
    }


def test_unpickle_bytes_of_python_2() -> None:
    state = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8K\x00K\x01\x87R" + state
    assert unpickle(data + b"U\x08" + struct.pack("<d", -0.7) + b"\x86R.", "x") == -0.7


def hostile(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}"
    name = b"\x80\x03c%b\n%b\n."
    return {
        "os.system": pickle.dumps({"a": Runs(os.system, command)}),
        "eval": pickle.dumps(Runs(builtins.eval, f"open({str(marker)!r}, 'w')")),
        "exec": pickle.dumps([Runs(builtins.exec, f"open({str(marker)!r}, 'w')")], 2),
        "open": pickle.dumps(Runs(open, str(marker), "w"), 0),
        "after good data": pickle.dumps({"id": made.processed_entry([1.0]), "last": Runs(os.mkdir, str(marker))}),
        "getattr": name % (b"builtins", b"getattr"),
        "numpy.fromfile": name % (b"numpy", b"fromfile"),
        "numpy.core of another name": name % (b"numpy.core.multiarray", b"fromfile"),
        "numpy below a name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "memory mapping": name % (b"numpy", b"memmap"),
        "codecs": name % (b"_codecs", b"lookup"),
        "bytes of Python 3": name % (b"builtins", b"bytes"),
        "name that is no text": b"\x80\x04K\x01K\x02\x93.",
        "persistent id": b"\x80\x03X\x01\x00\x00\x00aQ.",
        "extension registry": b"\x80\x02\x82\x01.",
        "old-style instance": b"(ios\nsystem\n.",
        "object instruction": b"(cnumpy\nndarray\no.",
        "new object": b"\x80\x03cnumpy\nndarray\n)\x81.",
        "out-of-band buffer": b"\x80\x05\x97.",
    }


def test_unpickle_refuses_hostile_pickles_and_nothing_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for what, data in hostile(marker).items():
        with pytest.raises(UsageError, match=r"was refused unread|STACK_GLOBAL requires str") as raised:
            unpickle(data, "file.pkl")
        assert str(raised.value).startswith("file.pkl"), what
        assert not marker.exists(), what
    pickle.loads(hostile(marker)["os.system"])
    assert marker.exists(), "the example does run where pickle itself reads it"


OBJECT = b"cnumpy\ndtype\nX\x01\x00\x00\x00OK\x00K\x01\x87R"
ORDER = b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"  # and flags 0: "holds no references"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
DOUBLE = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R"
FROM_BUFFER = b"cnumpy.core.numeric\n_frombuffer\n("
FORGED = {
    "objects over raw bytes": EMPTY + b"(K\x01K\x01\x85" + OBJECT + ORDER + b"\x89C\x08AAAAAAAAtb.",
    "scalar of an object": b"cnumpy.core.multiarray\nscalar\n" + OBJECT + ORDER + b"C\x08AAAAAAAA\x86R.",
    "array of records": EMPTY.replace(b"K\x00\x85C\x01b", b"K\x00\x85X\x03\x00\x00\x00V16") + b"0.",
    "type of records": b"cnumpy\ndtype\nX\x03\x00\x00\x00V16K\x00K\x01\x87R.",
    "shape larger than its bytes": EMPTY + b"(K\x01J\xff\xff\xff\x7f\x85" + OBJECT.replace(b"\x01\x00\x00\x00O",
        b"\x02\x00\x00\x00f8") + ORDER + b"\x89C\x08AAAAAAAAtb.",
    "negative shape": EMPTY + b"(K\x01J\xff\xff\xff\xff\x85" + OBJECT + ORDER + b"\x89]tb.",
    "another class": EMPTY.replace(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n") + b".",
    "attributes of a stand-in": b"cnumpy.core.multiarray\nscalar\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
    "state of the array type": b"cnumpy\nndarray\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
    "state of the maker": b"cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00aK\x01sb.",
    "array of more than its buffer": FROM_BUFFER + b"C\x08AAAAAAAA" + DOUBLE + b"K\x02\x85X\x01\x00\x00\x00CtR.",
    "array of objects over a buffer": FROM_BUFFER + b"C\x08AAAAAAAA" + OBJECT + b"K\x01\x85X\x01\x00\x00\x00CtR.",
    "array in another order": FROM_BUFFER + b"C\x08AAAAAAAA" + DOUBLE + b"K\x01\x85X\x01\x00\x00\x00KtR.",
    "array over text in another order": FROM_BUFFER + b"K\x08" + DOUBLE + b"K\x01\x85X\x01\x00\x00\x00CtR.",
    "state of the buffer's maker": FROM_BUFFER[:-1] + b"}X\x01\x00\x00\x00aK\x01sb.",
    "another encoding": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00rot_13\x86R.",
    "encoding of a number": b"c_codecs\nencode\nK\x01X\x06\x00\x00\x00latin1\x86R.",
    "state of an encoding": b"c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",
    "bytes of a number": b"c__builtin__\nbytes\nK\x09\x85R.",
    "state of bytes": b"c__builtin__\nbytes\n}X\x01\x00\x00\x00aK\x01sb.",
    "scalar of too few bytes": b"cnumpy.core.multiarray\nscalar\n" + OBJECT.replace(b"\x01\x00\x00\x00O",
        b"\x02\x00\x00\x00f8") + ORDER + b"C\x01A\x86R.",
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_unpickle_refuses_states_that_numpy_would_trust(what: str) -> None:
    with pytest.raises(UsageError, match=r"^file\.pkl"):
        unpickle(b"\x80\x03" + FORGED[what], "file.pkl")
    assert not any(hasattr(admitted, "a") for admitted in ADMITTED.values())


BOMBS = {
    "memo of 32 GB": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "memo in digits": b"Np99999999999\n.",
    "text of 8 EB": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
    "bytes of 4 GB": b"\x80\x03B\xff\xff\xff\xff.",
    "bytearray": b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",
    "frame beyond the end": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "long number": b"\x80\x02\x8b\xff\xff\xff\x7f.",
}


MEGABYTE = b"B" + (1 << 20).to_bytes(4, "little") + b"A" * (1 << 20)
ONE_AXIS = b"J" + (1 << 17).to_bytes(4, "little") + b"\x85"
AGAIN = {
    "arrays of one buffer": b"(" + MEGABYTE + b"q\x00(" + DOUBLE + b"q\x01" + ONE_AXIS + b"q\x02"
    + (FROM_BUFFER + b"h\x00h\x01h\x02X\x01\x00\x00\x00CtR") * 1000 + b"t.",
    "arrays of one state": b"(" + MEGABYTE + b"q\x00(K\x01" + ONE_AXIS + DOUBLE + b"\x89h\x00tq\x01"
    + (EMPTY + b"h\x01b") * 1000 + b"t.",
    "objects of one list": b"((" + b"N" * 100_000 + b"lq\x00(K\x01J\xa0\x86\x01\x00\x85" + OBJECT + b"\x89h\x00tq\x01"
    + (EMPTY + b"h\x01b") * 1000 + b"t.",
    "bytes of one text": b"(X" + MEGABYTE[1:] + b"q\x00"
    + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 1000 + b"t.",
}  # fmt: skip


@pytest.mark.parametrize("what", AGAIN)
def test_unpickle_refuses_what_builds_one_part_of_a_file_again_and_again(what: str) -> None:
    with pytest.raises(UsageError, match="got more numbers than its size explains"):
        unpickle(b"\x80\x03" + AGAIN[what], "x")


@pytest.mark.parametrize("what", BOMBS)
def test_unpickle_refuses_what_asks_for_more_than_its_size(what: str) -> None:
    with pytest.raises(UsageError, match="was refused unread"):
        unpickle(BOMBS[what], "x")


def test_unpickle_bounds_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickling, "MAX_INSTRUCTIONS", 1000)
    assert unpickle(b"\x80\x03(" + b"]" * 996 + b"t.", "x") == ([],) * 996
    with pytest.raises(UsageError, match="more than 1000 instructions"):
        unpickle(b"\x80\x03(" + b"]" * 2000 + b"t.", "x")


def test_unpickle_damaged_files_are_refused_in_a_sentence() -> None:
    content = {"id": made.with_numpy(made.processed_entry([1.0, 2.0], [])), "scores": np.arange(3.0)}
    rng = random.Random(0)
    for whole in (pickle.dumps(content, 4), made.as_old_numpy(content)):
        for cut in range(len(whole) - 1):
            with pytest.raises(UsageError):
                unpickle(whole[:cut], "x")
        for _ in range(3000):
            damaged = bytearray(whole)
            for _ in range(rng.randint(1, 3)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            try:
                unpickle(bytes(damaged), "x")
            except UsageError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"\x80\x02]q\x00h\x00a.", "a list that holds itself"),
        (b"\x80\x02]q\x00" + b"".join(b"(h%ch%clq%c" % (n, n, n + 1) for n in range(60)) + b".", "again and again"),
        (b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b".", "again and again"),
        (b"\x80\x02(cnumpy\nndarray\nq\x00](NNeq\x01" + b"h\x00h\x01\x85R" * 9 + b"l.", "made of a list"),
    ],
)
def test_unpickle_refuses_content_that_is_larger_than_its_file(data: bytes, got: str) -> None:
    with pytest.raises(UsageError, match=got):
        unpickle(data, "x")


def test_unpickle_keeps_lists_that_several_videos_share() -> None:
    same = [1.5, 2.5]
    assert unpickle(pickle.dumps({str(n): [same, same] for n in range(1000)}, 2), "x")["7"] == [same, same]
