"""Storms: many ``struct mce`` at once, put together by kind while the writer is busy, so that each is decoded once.

What may be uncorrected is told by its bits and handed back at once: it takes no part in any of this. The rest is held
until the writer has time (``release``): one by one at a low rate, and then it is written at once; in a storm by the
thousand. Nothing is dropped here. When as much is held as there is room for (``is_full``), its source reads no more,
and whoever sends is held up.

Two structures are of one kind if they differ in MCi_ADDR, TSC and time alone, and the address says nothing of its own
(``decode.significance.address_class``). ``KINDS_APART`` of them are told apart at a time; what else comes is put
together by all that its finding depends on (``decode.significance``), its place left open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ringfence.arch.cpuid import LINUX_VENDORS
from ringfence.arch.mci_status import DEFERRED, PCC, UC
from ringfence.decode.significance import (
    Significance,
    address_class,
    significance,
    significant_misc,
    smca_class,
)
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import Origin, Record, Unrecognised
from ringfence.record.repeats import ADDR_AT, TIME_AT, TSC_AT, Repeats, column
from ringfence.service.sources.source import may_be_uncorrected

HELD_STRUCTS: Final = 65_536
"""Eight MiB of the longest form: two thirds of a second of 100,000 a second, while the disk takes its time."""
RELEASED_STRUCTS: Final = 1_024
"""Handed over at a time. An uncorrected error waits at most for the writing of so many: some five milliseconds, or ten
where each is of a kind of its own."""
SINGLES_AT_ONCE: Final = 20
SINGLES_A_SECOND: Final = 2
"""Reports that are handed over as records, each compared with what other sources tell. What comes more often is a
storm, though only one has come since the writer was last free."""
KINDS_APART: Final = 16
"""Kinds told apart at a time: each is diagnosed, and is an event of the journal."""
KINDS_MIXED: Final = 64
"""Kinds of what is put together beyond these. Who finds no room waits for the writer, as when all is full."""

_PRESSING: Final = UC.mask | PCC.mask | DEFERRED.mask
_ORDINARY_LOW: Final = range(1, 0xFC00_0000)
_ORDINARY_HIGH: Final = range(1 << 32, 0x00FD_F700_0000)
"""Addresses of class 0: between them are the holes below 4 GiB, above them an alias and what has no such address."""
_STATUS_AT, _MISC_AT, _SYND_AT = 0, 8, 88


class Aggregation:
    """Structures held for the writer. ``file`` names their source in the records' origins; ``now_s`` is a clock that
    does not step.
    """

    def __init__(self, file: str, kinds_apart: int = KINDS_APART, now_s: Callable[[], float] = time.monotonic) -> None:
        self._origin, self._kinds_apart, self._now_s = Origin(file), kinds_apart, now_s
        self._singles, self._singles_s = float(SINGLES_AT_ONCE), now_s()
        self._kinds: dict[tuple[int, bytes], bytearray] = {}
        self._mixed: dict[tuple[int, bytes], bytearray] = {}
        self.held = 0
        """How many structs are held."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be taken before some is released."""
        return self.held >= HELD_STRUCTS or len(self._mixed) >= KINDS_MIXED

    def take(self, structs: bytes, struct_bytes: int) -> tuple[Record | Unrecognised, ...]:
        """Hold whole structs, of a length that ``struct_mce.LENGTHS`` has.

        Returns those that may be uncorrected, in their order: they are not held, and must not wait. What would be
        uncorrected, and is nothing that a kernel could have written, is returned as unrecognised.
        """
        if not structs:
            return ()
        pressing: list[Record | Unrecognised] = []
        # A storm has few values of MCi_STATUS: to look at each once is much quicker than at all structs.
        suspicious = {each for each in set(column(structs, struct_bytes, _STATUS_AT)) if each & _PRESSING}
        plain = not suspicious and _are_ordinary(column(structs, struct_bytes, ADDR_AT))
        kinds = self._kinds
        for start in range(0, len(structs), struct_bytes):
            struct = structs[start : start + struct_bytes]
            if suspicious and int.from_bytes(struct[:8], "little") in suspicious:
                found = self._read(struct)
                if isinstance(found, Unrecognised) or may_be_uncorrected(found):
                    pressing.append(found)
                    continue
            special = _address_key(struct)
            if not plain:
                special += _class_key(struct)
            key = (struct_bytes, b"%b%b%b%b" % (struct[:ADDR_AT], struct[24:TSC_AT], struct[TIME_AT + 8 :], special))
            known = kinds.get(key)
            if known is None:
                known = self._apart(key, struct, special)
            known += struct
        self.held += len(structs) // struct_bytes - len(pressing)
        return tuple(pressing)

    def _apart(self, key: tuple[int, bytes], struct: bytes, special: bytes) -> bytearray:
        """Where a struct of a kind that is not held goes: by itself, or with others."""
        if len(self._kinds) < self._kinds_apart:
            return self._kinds.setdefault(key, bytearray())
        return self._mixed.setdefault((len(struct), _coarse_key(struct) + special), bytearray())

    def release(self) -> tuple[Record | Repeats, ...]:
        """Some of what is held, by kind, in the order in which the kinds came: ``RELEASED_STRUCTS`` at most."""
        room = RELEASED_STRUCTS
        released: list[Record | Repeats] = []
        for groups in (self._kinds, self._mixed):
            for key in list(groups):
                if not room:
                    break
                struct_bytes, held = key[0], groups[key]
                taken = held[: room * struct_bytes]
                if len(taken) < len(held):
                    groups[key] = held[len(taken) :]
                else:
                    del groups[key]
                count = len(taken) // struct_bytes
                room -= count
                self.held -= count
                released.append(self._together(bytes(taken), struct_bytes, alike=groups is self._kinds))
        return tuple(released)

    def _together(self, structs: bytes, struct_bytes: int, *, alike: bool) -> Record | Repeats:
        first = self._record(structs[:struct_bytes])
        if len(structs) == struct_bytes and self._may_be_single():
            return first
        return Repeats(first, structs, struct_bytes, alike)

    def _may_be_single(self) -> bool:
        now_s = self._now_s()
        gained = (now_s - self._singles_s) * SINGLES_A_SECOND
        self._singles, self._singles_s = min(float(SINGLES_AT_ONCE), self._singles + gained), now_s
        if self._singles < 1:
            return False
        self._singles -= 1
        return True

    def _read(self, struct: bytes) -> Record | Unrecognised:
        if not StructMce.unpack(struct).is_plausible():
            return Unrecognised(self._origin, struct, "no kernel writes such a struct mce")
        return self._record(struct)

    def _record(self, struct: bytes) -> Record:
        return StructMce.unpack(struct).record(origin=self._origin, raw=struct)


# --- what makes a kind ----------------------------------------------------------------------------------------------


def _are_ordinary(addresses: list[int]) -> bool:
    """Whether no address says anything of its own."""
    low, high = min(addresses), max(addresses)
    return any(low in ordinary and high in ordinary for ordinary in (_ORDINARY_LOW, _ORDINARY_HIGH))


def _class_key(struct: bytes) -> bytes:
    """What of MCi_ADDR changes a finding beside the page that it names."""
    addr = int.from_bytes(struct[ADDR_AT : ADDR_AT + 8], "little")
    return b"" if addr in _ORDINARY_HIGH or addr in _ORDINARY_LOW else b"%d %d" % (address_class(addr), not addr)


def _address_key(struct: bytes) -> bytes:
    """MCi_ADDR itself, on a processor where it is a place of which no number is declared (stacked memory of AMD)."""
    mask = _address_mask(struct[56:64], struct[65])
    if not mask:
        return b""
    return b"@%d" % (int.from_bytes(struct[ADDR_AT : ADDR_AT + 8], "little") & mask)


@lru_cache(maxsize=1024)
def _address_mask(processor: bytes, bank: int) -> int:
    return _matters(processor, bank).addr


@lru_cache(maxsize=1024)
def _matters(processor: bytes, bank: int) -> Significance:
    """What matters in a bank. ``processor`` are bytes 56 to 63 of the structure: cpuvendor first, cpuid last."""
    vendor = LINUX_VENDORS.get(processor[0])
    cpuid = int.from_bytes(processor[4:], "little")
    return significance(vendor, cpuid, bank) if vendor is not None and cpuid else Significance()


def _coarse_key(struct: bytes) -> bytes:
    """All of a struct on which its finding depends, but for words and places."""
    matters = _matters(struct[56:64], struct[65])
    has_synd = len(struct) >= _SYND_AT + 8
    status, misc, addr = (int.from_bytes(struct[at : at + 8], "little") for at in (_STATUS_AT, _MISC_AT, ADDR_AT))
    synd = int.from_bytes(struct[_SYND_AT : _SYND_AT + 8], "little") if has_synd else 0
    small = smca_class(misc, synd, addr) if matters.amd else misc == 0
    what = b"%d %d %d" % (significant_misc(status, misc, matters.misc, matters.amd), synd & matters.synd, small)
    return b"%b%b%b%b%b" % (struct[:8], struct[24:TSC_AT], struct[TIME_AT + 8 : _SYND_AT], what, struct[_SYND_AT + 8 :])
