"""``struct mce`` of one failing DIMM by the hundred thousand, and of uncorrected errors: what storms are made of here.

An Intel Skylake-SP's memory controller reports (CPUID 50654h, bank 13); each report has its own address, time stamp
counter and time. A spread says what of the DIMM is broken, and so in how many pages and of how many kinds it shows:
``cell`` one line; ``row`` 128 pages; ``bank`` 4,096 pages, and MISC has 8 values; ``dimm`` 1,048,576 pages, MISC 1,024.
"""

from __future__ import annotations

import random
import time
from array import array
from typing import Final

from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.repeats import ADDR_AT, TIME_AT, TSC_AT

BYTES: Final = 128
_WORDS: Final = BYTES // 8
_MISC_AT: Final = 8
_BASE: Final = 0x20_0000_0000
_TICKS: Final = 20_000
SPREADS: Final = {"cell": (1, 1), "row": (128, 1), "bank": (4_096, 8), "dimm": (1 << 20, 1_024)}
"""How many pages, and how many values of MCi_MISC."""

_CORRECTED: Final = StructMce(
    status=0x8C00_0040_0001_0091, misc=0x86, addr=_BASE, cpuid=0x50654, bank=13, cpu=1, extcpu=1, apicid=2,
    socketid=0, mcgcap=0xF00_0C14, microcode=0x200005E, finished=1,
)  # fmt: skip


def uncorrected(number: int) -> bytes:
    """A machine check for an error that the scrubber found (SRAO), each in a page of its own."""
    return StructMce(
        status=0xBD00_0000_0000_00C0, misc=0x8C, addr=0x7654_0000_0000 + number * 4096, mcgstatus=5,
        tsc=10**9 + number, time=int(time.time()), cpuid=0x50654, bank=13, cpu=1, extcpu=1, apicid=2, socketid=0,
        mcgcap=0xF00_0C14, microcode=0x200005E, finished=1,
    ).pack(BYTES)  # fmt: skip


class Storm:
    """Corrected errors without end, seeded: the same seed gives the same addresses."""

    def __init__(self, spread: str, seed: int = 1) -> None:
        self._pages, self._kinds = SPREADS[spread]
        self._chance = random.Random(seed)
        self._tsc = 10**12
        self._addresses = array("Q", (self._address() for _ in range(1 << 16)))
        self._miscs = array("Q", (self._misc() for _ in range(1 << 16)))
        self._at = 0

    def _address(self) -> int:
        line = 0 if self._pages == 1 else self._chance.randrange(64) * 64
        return _BASE + self._chance.randrange(self._pages) * 4096 + line

    def _misc(self) -> int:
        return 0x86 | self._chance.randrange(self._kinds) << 20

    def next(self, count: int) -> bytes:
        """The next so many reports; their time is now. Addresses repeat after 65,536."""
        here = min(count, len(self._addresses) - self._at)
        return self._some(here) + (self.next(count - here) if here < count else b"")

    def _some(self, count: int) -> bytes:
        reports = bytearray(_CORRECTED.pack(BYTES) * count)
        words = memoryview(reports).cast("Q")
        here = slice(self._at, self._at + count)
        words[ADDR_AT // 8 :: _WORDS] = memoryview(self._addresses[here])
        words[_MISC_AT // 8 :: _WORDS] = memoryview(self._miscs[here])
        words[TSC_AT // 8 :: _WORDS] = memoryview(array("Q", range(self._tsc, self._tsc + count * _TICKS, _TICKS)))
        words[TIME_AT // 8 :: _WORDS] = memoryview(array("Q", [int(time.time())]) * count)
        self._tsc += count * _TICKS
        self._at = (self._at + count) % len(self._addresses)
        return bytes(reports)
