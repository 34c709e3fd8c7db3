"""Many ``struct mce`` of one kind, held as the bytes that came: a storm told as one thing, with nothing of it lost."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from ringfence.errors import FormatError
from ringfence.record.binary.struct_mce import LENGTHS
from ringfence.record.evidence import Record

ADDR_AT: Final = 16
TSC_AT: Final = 40
TIME_AT: Final = 48
"""Where MCi_ADDR, the time stamp counter and the wall clock's seconds stand in the structure, each 64 bits,
little-endian (Linux arch/x86/include/uapi/asm/mce.h)."""

_LEVEL: Final = 1
"""zlib's quickest: structures of one kind shrink to a tenth by it, and no other level makes it a twentieth."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Reports of corrected errors in the order in which they came: ``structs``, ``struct_bytes`` each.

    ``first`` is the first of them as a record. If they are ``alike``, they differ in MCi_ADDR, TSC and time alone, so
    that all has the first one's finding but for the page. Else they differ in bits that make up words and places too
    (``decode.significance``): of what is said of the first, its place and its words hold for that one only.
    """

    first: Record
    structs: bytes
    struct_bytes: int
    alike: bool = True

    @property
    def reports(self) -> int:
        """How many they are."""
        return len(self.structs) // self.struct_bytes

    def raw(self, at: int) -> bytes:
        """The ``at``-th of them."""
        return self.structs[at * self.struct_bytes : (at + 1) * self.struct_bytes]

    @property
    def addresses(self) -> list[int]:
        """MCi_ADDR of each."""
        return column(self.structs, self.struct_bytes, ADDR_AT)

    @property
    def last_s(self) -> float | None:
        """The time of the last one, seconds since the epoch; None if it has none."""
        at = len(self.structs) - self.struct_bytes + TIME_AT
        return float(int.from_bytes(self.structs[at : at + 8], "little")) or None

    @property
    def packed(self) -> bytes:
        """``structs`` as they are kept: see ``unpacked``."""
        return zlib.compress(self.structs, _LEVEL)


def unpacked(packed: bytes, struct_bytes: int, reports: int) -> bytes:
    """The bytes that ``Repeats.packed`` was made of. Raises FormatError if these are not ``reports`` structures."""
    wanted = struct_bytes * reports
    decompressor = zlib.decompressobj()
    try:
        structs = decompressor.decompress(packed, wanted + 1)
    except zlib.error as error:
        raise FormatError(f"packed structures are damaged: {error}") from None
    if struct_bytes not in LENGTHS or len(structs) != wanted:
        raise FormatError(f"packed structures are not {reports} of {struct_bytes} bytes")
    return structs


def column(structs: bytes, struct_bytes: int, at: int) -> list[int]:
    """The 64-bit number at byte ``at`` of each structure."""
    if struct_bytes % 8 == 0:
        return memoryview(structs).cast("Q")[at // 8 :: struct_bytes // 8].tolist()
    return [int.from_bytes(structs[start : start + 8], "little") for start in range(at, len(structs), struct_bytes)]
