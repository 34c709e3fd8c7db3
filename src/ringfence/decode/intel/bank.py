"""How a model's banks are declared: unit, place, and tables that give MSCOD's bits their names.

The model-specific part of MCi_STATUS (MSCOD, bits 31:16) means something else in each bank of each model. A bank is a
row: its unit, the memory controller and channel that it stands for, a reader of MSCOD, a reader of MISC.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_

import msgspec

from ringfence.arch.mci_status import MSCOD
from ringfence.decode.intel.codes import Code, CodeKind
from ringfence.decode.meaning import Placed
from ringfence.record.evidence import Location


@dataclass(frozen=True, slots=True)
class Logged:
    """What one bank logged: MCi_STATUS, MCi_MISC (None unless MISCV and in the evidence), and the MCA error code."""

    bank: int
    status: int
    misc: int | None
    code: Code

    @property
    def mscod(self) -> int:
        """MCi_STATUS[31:16]."""
        return MSCOD.of(self.status)

    def bits(self, high: int, low: int) -> int:
        """MCi_STATUS[high:low]."""
        return self.status >> low & ((1 << (high - low + 1)) - 1)


NOWHERE = Location()


class Specific(msgspec.Struct, frozen=True, kw_only=True):
    """What the model-specific tables add. ``phrases`` refine the error, ``details`` stand beside it.

    ``replaces``: a better phrase than the MCA error code's own (the manual names the code for this bank).
    """

    phrases: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    location: Location = NOWHERE
    placed: tuple[Placed, ...] = ()
    replaces: str | None = None


NOTHING = Specific()

DRAM_LOCATION = ((1 << 64) - 1) & ~0x1FF
"""MCi_MISC[63:9], where the newer memory controllers log rank, bank, row, column and device."""

NO_DRAM_LOCATION = Specific(
    details=(
        "no DRAM location: MCi_MISC[63:9] is all zero, as it is where software or firmware filled in address mode and "
        "granularity only (row 0, column 0 of bank 0 in rank 0, device 0 would look the same)",
    )
)
"""What a memory controller's MISC says whose location bits are all zero: to take that for a place would invent one."""

Reader = Callable[[Logged], Specific]


@dataclass(frozen=True, slots=True)
class Bank:
    """One bank of a model. ``readers`` are applied in order; without any, MSCOD has no public table."""

    unit: str
    readers: tuple[Reader, ...] = ()
    controller: int | None = None
    channel: int | None = None


Banks = Mapping[int, Bank]


def _bits(high: int, low: int) -> int:
    return ((1 << (high - low + 1)) - 1) << low


@dataclass(frozen=True, slots=True)
class Reads:
    """What a reader looks at: its words and places are the same for banks that agree in this and in UC.

    ``status`` and ``misc`` are bits of the registers (those of MCi_MISC that make up ``placed`` numbers aside),
    ``code`` functions of the MCA error code. ``place``: functions of MSCOD on which the location and ``placed``
    depend, ``misc_place`` the bits of MCi_MISC on which they do, the ``placed`` numbers aside (None: all of ``misc``).
    ``anything``: it is not declared what it looks at in MCi_STATUS. ``refines``: it may name the error more closely.
    """

    status: int = 0
    misc: int = 0
    code: tuple[Callable[[Code], Hashable], ...] = ()
    place: tuple[Callable[[int], bool], ...] = ()
    misc_place: int | None = None
    anything: bool = False
    refines: bool = True

    @property
    def placing_misc(self) -> int:
        """The bits of MCi_MISC on which the location and ``placed`` depend."""
        return self.misc if self.misc_place is None else self.misc_place

    def __or__(self, other: Reads) -> Reads:
        return Reads(
            self.status | other.status,
            self.misc | other.misc,
            self.code + other.code,
            self.place + other.place,
            self.placing_misc | other.placing_misc,
            self.anything or other.anything,
            self.refines or other.refines,
        )


MSCOD_ONLY = Reads(status=MSCOD.mask)

_READS: dict[Reader, Reads] = {}
_UNDECLARED = Reads(anything=True)


def declare(looks: Reads) -> Callable[[Reader], Reader]:
    """Declares what a reader looks at."""

    def declared(reader: Reader) -> Reader:
        _READS[reader] = looks
        return reader

    return declared


@lru_cache(maxsize=1024)
def reads(readers: tuple[Reader, ...]) -> Reads:
    """What some readers together look at."""
    return reduce(or_, (_READS.get(reader, _UNDECLARED) for reader in readers), Reads(refines=False))


def flags(names: Mapping[int, str], *, high: int = 31, low: int = 16) -> Reader:
    """A reader of single bits: ``names`` by bit number of MCi_STATUS; set bits without a name are told by number."""

    def read(logged: Logged) -> Specific:
        if not logged.bits(high, low):
            return NOTHING
        found = [bit for bit in range(low, high + 1) if logged.status >> bit & 1]
        return Specific(
            phrases=tuple(names[bit] for bit in found if bit in names),
            details=tuple(f"model-specific bit {bit} of MCi_STATUS is set" for bit in found if bit not in names),
        )

    return declare(Reads(status=_bits(high, low)))(read)


def choice(names: Mapping[int, str], *, high: int = 31, low: int = 16, what: str = "model-specific code") -> Reader:
    """A reader of a number in MCi_STATUS[high:low]; zero without a name says nothing, others are told as numbers."""

    def read(logged: Logged) -> Specific:
        value = logged.bits(high, low)
        if (name := names.get(value)) is not None:
            return Specific(phrases=(name,))
        if value == 0:
            return NOTHING
        return Specific(details=(f"{what} {value:#x} (MCi_STATUS[{high}:{low}]) has no public meaning",))

    return declare(Reads(status=_bits(high, low)))(read)


def code_names(names: Mapping[int, str]) -> Reader:
    """A reader that names MCA error codes which the manual defines for one bank (internal unclassified ones)."""

    def read(logged: Logged) -> Specific:
        return Specific(replaces=names.get(logged.code.base))

    return declare(Reads(code=(lambda code: names.get(code.base),)))(read)


def only_for(matches: Callable[[Logged], bool], *readers: Reader, looks: Reads | None = None) -> Reader:
    """``readers``, but only where ``matches``, which looks at no more than ``looks`` (None: at anything)."""

    def read(logged: Logged) -> Specific:
        return apply(readers, logged) if matches(logged) else NOTHING

    found = reads(readers)
    return declare(Reads(misc=found.misc, anything=True) if looks is None else found | looks)(read)


def for_interconnect(*readers: Reader) -> Reader:
    """``readers`` of a QPI or UPI bank: the manuals define its MSCOD for bus and interconnect codes only.

    SDM vol. 3B chapter 18: such a bank logs MCACOD in the form 000F 1PPT RRRR IILL (0E0BH, I/O, is one of these). What
    else stands there, such as an internal error, has a MSCOD that no table explains.
    """
    return only_for(
        lambda logged: logged.code.kind in {CodeKind.BUS, CodeKind.IO},
        *readers,
        looks=Reads(code=(lambda code: code.kind in {CodeKind.BUS, CodeKind.IO},)),
    )


def apply(readers: tuple[Reader, ...], logged: Logged) -> Specific:
    """What all of ``readers`` say, in order."""
    parts = [part for reader in readers if (part := reader(logged)) is not NOTHING]
    if len(parts) < 2:
        return parts[0] if parts else NOTHING
    location = NOWHERE
    replaces = None
    for part in parts:
        # Most parts say nothing of the place; merging is not free.
        if part.location is not NOWHERE:
            location = part.location if location is NOWHERE else location.merged(part.location)
        replaces = replaces or part.replaces
    return Specific(
        phrases=tuple(phrase for part in parts for phrase in part.phrases),
        details=tuple(detail for part in parts for detail in part.details),
        location=location,
        placed=tuple(number for part in parts for number in part.placed),
        replaces=replaces,
    )


def misc_bits(misc: int, high: int, low: int) -> int:
    """MCi_MISC[high:low]."""
    return misc >> low & ((1 << (high - low + 1)) - 1)
