"""What the bits of one record mean: the values that every vendor's decoder returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ringfence.arch.cpuid import Processor, Vendor
from ringfence.quick import quick
from ringfence.record.evidence import Location, Record


class AddressKind(StrEnum):
    """What MCi_ADDR holds."""

    NONE = "none"
    SEGMENT_OFFSET = "segment offset"
    LINEAR = "linear"
    PHYSICAL = "physical"
    MEMORY = "memory"
    GENERIC = "generic"
    NORMALISED = "normalised"
    GUEST_PHYSICAL = "guest-physical"
    UNKNOWN = "unknown"


class UnitKind(StrEnum):
    """What sort of thing an error is about, as far as what to do depends on it."""

    MEMORY = "memory"
    CORE = "core or cache"
    LINK = "link"
    GUEST_MEMORY = "guest memory"
    THERMAL = "thermal monitor"
    OTHER = "other"


@quick
@dataclass(frozen=True, slots=True)
class Address:
    """MCi_ADDR with its kind, granularity, and whether it can be trusted to name a page of host memory, and why.

    ``mask`` says which bits of MCi_ADDR are the address: where ``value`` comes from there it is MCi_ADDR & ``mask``, of
    a linear address with the sign extended (``canonical``). ``lsb``, where it is given, is the number of the lowest
    valid bit: those below it are cleared too, and ``granularity_bytes`` is two to its power.
    """

    value: int | None
    kind: AddressKind
    granularity_bytes: int | None
    names_a_page: bool
    because: str
    mask: int = (1 << 64) - 1
    lsb: Placed | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A number that a reading takes straight from the bits of a register.

    ``name`` is an attribute of Location or of BankReading, ``register`` one of Registers ("misc", "status", "synd").
    The number is the sum of the ``pieces``: bits high:low of the register, shifted left by ``shift``; if ``length`` is
    given, only as many low bits of it as the bits high:low named there say. A log of many records is read by columns
    with the same declaration (``diagnosis.table``).
    """

    name: str
    register: str
    pieces: tuple[tuple[int, int, int], ...]
    length: tuple[int, int] | None = None

    def of(self, value: int) -> int:
        """The number in a register's value."""
        number = sum((value >> low & ((1 << (high - low + 1)) - 1)) << shift for high, low, shift in self.pieces)
        if self.length is None:
            return number
        high, low = self.length
        return number & ((1 << (value >> low & ((1 << (high - low + 1)) - 1))) - 1)

    @property
    def mask(self) -> int:
        """The bits of the register that the number is made of."""
        return sum(((1 << (high - low + 1)) - 1) << low for high, low, _ in self.pieces)


def located(location: Location, placed: tuple[Placed, ...], value: int) -> Location:
    """A location with the numbers that one register's value holds."""
    if not placed:
        return location
    known: dict[str, Any] = {name: getattr(location, name) for name in Location.__slots__}
    return Location(**known | {each.name: each.of(value) for each in placed})


def canonical(linear: int) -> int:
    """A linear address as software would write it: AMD's log holds 49 or 56 bits of it, the sign not extended."""
    for top_bit in (48, 55):
        ones = (1 << (top_bit - 46)) - 1
        if linear >> 47 == ones:
            return linear | ~((1 << top_bit) - 1) & 0xFFFF_FFFF_FFFF_FFFF
    return linear


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader should know (a known false positive, an erratum, a trap), with its source."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of a reading that numbers in the registers choose one by one (Intel's MSCOD, AMD's ErrorInformation).

    ``refinement`` stands behind the error's phrase and a colon, ``details`` and ``notes`` before the reading's others.
    Records of one kind may differ in them (``decode.significance``).
    """

    refinement: str = ""
    details: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


NO_WORDS = Wording()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class BankReading:
    """What a vendor's decoder makes of one bank.

    ``unit`` is the hardware unit that reported ("Integrated Memory Controller 0, channel 1", "Load-Store unit"),
    ``error`` one phrase for what happened, as the manual words it ("Memory read error on channel 0"), ``details``
    further facts, one phrase each. ``corrected_count`` is the count in the registers when they have one (Intel
    MCi_STATUS[52:38]), ``threshold_count`` the state of AMD's threshold counter (MCA_MISC0[43:32]: software presets
    it, so it is no count of this record's errors). ``placed`` declares which numbers of the reading are plain bit
    fields: whatever else it says does not depend on those bits. ``not_an_error`` gives the reason why the record is no
    hardware error at all (a thermal event, VAL=0), else None. ``unit_kind``, ``past_threshold`` (its corrected errors
    came too often, by the registers' own threshold or count) and ``names_no_error`` (valid, with the error code 0) are
    filled in for every vendor alike (``decode.upkeep``). ``wording`` is the part of ``error``, ``details`` and
    ``notes`` that may differ within a kind of record, None if nothing does; ``worded`` puts another in its place.
    """

    unit: str
    error: str
    details: tuple[str, ...] = ()
    address: Address
    location: Location = Location()
    notes: tuple[Note, ...] = ()
    assumptions: tuple[str, ...] = ()
    corrected_count: int | None = None
    threshold_count: int | None = None
    placed: tuple[Placed, ...] = ()
    not_an_error: Note | None = None
    unit_kind: UnitKind = UnitKind.OTHER
    past_threshold: bool = False
    names_no_error: bool = False
    wording: Wording | None = None


def worded(reading: BankReading, wording: Wording) -> BankReading:
    """The reading with other words in the place of its own ``wording``; unchanged if it has none (None)."""
    own = reading.wording
    if own is None:
        return reading
    error = reading.error.removesuffix(f": {own.refinement}") if own.refinement else reading.error
    return replace(
        reading,
        error=f"{error}: {wording.refinement}" if wording.refinement else error,
        details=(*wording.details, *reading.details[len(own.details) :]),
        notes=(*wording.notes, *reading.notes[len(own.notes) :]),
        wording=wording,
    )


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A record and what its bits mean. How bad it is, is said elsewhere (``diagnosis.severity``)."""

    record: Record
    vendor: Vendor | None
    processor: Processor | None
    reading: BankReading
