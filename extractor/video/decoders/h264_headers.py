"""Whether other frames may refer to an H.264 frame, by the headers of its slices."""

from __future__ import annotations

from typing import NamedTuple

from extractor.video.bitstreams.headers import (
    Bits,
    extradata_signature,
    nal_length_size,
    nal_units,
    to_frame_numbers,
)

_SLICE, _IDR_SLICE = 1, 5
_BESIDE_SLICES = frozenset({6, 7, 8, 9, 12})  # supplemental information, parameter sets, delimiters, filler
_LONGEST_HEADER = 12  # bytes that are read of a slice: its number is the fourth field


class FrameHeader(NamedTuple):
    """unreferenced: nal_ref_idc is 0 (H.264, 7.4.1). starts_over: it is an IDR picture. The rest holds the number."""

    unreferenced: bool
    starts_over: bool
    first_slice: bytes
    number_bits: int

    @property
    def number(self) -> int:
        """frame_num (7.4.3), read when it is asked for: that takes as long as all else."""
        bits = Bits(self.first_slice[1:_LONGEST_HEADER].replace(b"\0\0\3", b"\0\0"))
        for _ in range(3):  # first macroblock, kind of slice, picture parameter set
            bits.golomb()
        return bits.read(self.number_bits)

    def follows(self, unreferenced_number: int) -> bool:
        """Whether this frame may come behind one of that number to which no other refers.

        A reference counts up, so what follows it has another number: if a changed bit makes a reference look like none,
        this tells.
        """
        return self.starts_over or self.number == unreferenced_number


class FrameHeaders:
    """Reads the headers of the frames of one stream, from their packets."""

    def __init__(self, extradata: bytes) -> None:
        self._length_size = nal_length_size("h264", extradata)
        parameters = extradata_signature("h264", extradata)
        bits = to_frame_numbers(parameters) if parameters else None
        self._number_bits = None if bits is None else bits.golomb() + 4

    def read(self, packet: bytes) -> FrameHeader | None:
        """The header of a packet's frame; None if it has none that can be read, or none of a simple kind."""
        units = [unit for unit in nal_units(packet, self._length_size) if unit[0] & 31 not in _BESIDE_SLICES]
        kinds = {unit[0] & 31 for unit in units}
        if self._number_bits is None or kinds not in ({_SLICE}, {_IDR_SLICE}):
            return None
        unreferenced = all(unit[0] >> 5 & 3 == 0 for unit in units)
        return FrameHeader(unreferenced, kinds == {_IDR_SLICE}, units[0], self._number_bits)
