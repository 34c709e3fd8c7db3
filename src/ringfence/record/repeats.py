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
"""zlib's quickest: frames of one kind shrink to a tenth by it, and no other level makes it a twentieth."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Reports of corrected errors in the order in which they came: ``frames``, ``frame_bytes`` each.

    ``first`` is the first of them as a record. If they are ``alike``, they differ in MCi_ADDR, TSC and time alone, so
    that all has the first one's finding but for the page. Else they differ in bits that make up words and places too
    (``decode.significance``): of what is said of the first, its place and its words hold for that one only.
    """

    first: Record
    frames: bytes
    frame_bytes: int
    alike: bool = True

    @property
    def reports(self) -> int:
        """How many they are."""
        return len(self.frames) // self.frame_bytes

    @property
    def addresses(self) -> list[int]:
        """MCi_ADDR of each."""
        return column(self.frames, self.frame_bytes, ADDR_AT)

    @property
    def packed(self) -> bytes:
        """``frames`` as they are kept: see ``unpacked``."""
        return zlib.compress(self.frames, _LEVEL)


def unpacked(packed: bytes, frame_bytes: int, reports: int) -> bytes:
    """The frames that ``Repeats.packed`` was made of. Raises FormatError if these are not ``reports`` of them."""
    wanted = frame_bytes * reports
    decompressor = zlib.decompressobj()
    try:
        frames = decompressor.decompress(packed, wanted + 1)
    except zlib.error as error:
        raise FormatError(f"packed frames are damaged: {error}") from None
    if frame_bytes not in LENGTHS or len(frames) != wanted:
        raise FormatError(f"packed frames are not {reports} of {frame_bytes} bytes")
    return frames


def column(frames: bytes, frame_bytes: int, at: int) -> list[int]:
    """The 64-bit number at byte ``at`` of each frame."""
    if frame_bytes % 8 == 0:
        return memoryview(frames).cast("Q")[at // 8 :: frame_bytes // 8].tolist()
    return [int.from_bytes(frames[start : start + 8], "little") for start in range(at, len(frames), frame_bytes)]
