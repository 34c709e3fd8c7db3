"""What the bits of one record mean: the values that every vendor's decoder returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringfence.arch.cpuid import Processor, Vendor
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


@dataclass(frozen=True, slots=True)
class Address:
    """MCi_ADDR with its kind, granularity, and whether it can be trusted to name a page of host memory, and why."""

    value: int | None
    kind: AddressKind
    granularity_bytes: int | None
    names_a_page: bool
    because: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader should know (a known false positive, an erratum, a trap), with its source."""

    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BankReading:
    """What a vendor's decoder makes of one bank.

    ``unit`` is the hardware unit that reported ("Integrated Memory Controller 0, channel 1", "Load-Store unit"),
    ``error`` one phrase for what happened, as the manual words it ("Memory read error on channel 0"), ``details``
    further facts, one phrase each. ``corrected_count`` is the count in the registers when they have one (Intel
    MCi_STATUS[52:38]). ``not_an_error`` gives the reason why the record is no hardware error at all (a thermal
    event, VAL=0), else None.
    """

    unit: str
    error: str
    details: tuple[str, ...] = ()
    address: Address
    location: Location = Location()
    notes: tuple[Note, ...] = ()
    assumptions: tuple[str, ...] = ()
    corrected_count: int | None = None
    not_an_error: Note | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A record and what its bits mean. How bad it is, is said elsewhere (``diagnosis.severity``)."""

    record: Record
    vendor: Vendor | None
    processor: Processor | None
    reading: BankReading
