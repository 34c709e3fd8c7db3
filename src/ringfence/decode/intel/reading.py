"""One bank's registers to a reading: the architectural part, the model's tables, address, known issues.

The result depends on nothing but the processor, the bank and its registers, MCG_CAP, MCG_STATUS, the socket and how the
error was delivered: equal inputs give equal readings.
"""

from __future__ import annotations

from typing import Final

from ringfence.arch import mci_misc
from ringfence.arch.cpuid import Processor
from ringfence.arch.mci_status import (
    CORRECTED_COUNT,
    EN,
    FIRMWARE_UPDATED,
    MCACOD,
    MISCV,
    OVER,
    THRESHOLD_STATUS,
    UC,
    VAL,
)
from ringfence.decode.intel import known_issues
from ringfence.decode.intel.address import read_address
from ringfence.decode.intel.bank import NOWHERE, Bank, Logged, Reader, Specific, apply
from ringfence.decode.intel.capability import Capabilities, Known, capabilities
from ringfence.decode.intel.codes import ARCHITECTURAL_UCR_NAMES, Code, CodeKind, classify
from ringfence.decode.intel.known_issues import Sighting
from ringfence.decode.intel.models import Model, model_of
from ringfence.decode.meaning import NO_WORDS, Address, AddressKind, BankReading, Note, Placed, Wording
from ringfence.record.evidence import Location, Record

_THERM_PROCHOT = 1 << 0
_THERM_READING_VALID = 1 << 31

_COUNT = Placed("corrected_count", "status", ((CORRECTED_COUNT.high, CORRECTED_COUNT.low, 0),))
_SATURATED_COUNT = 0x7FFF
_OVERFLOWED_COUNT = 0x4000


def read_bank(record: Record, processor: Processor | None) -> BankReading:
    """What an Intel processor's bank says. ``record.registers.status`` must not be None (raises ValueError)."""
    return read_with(record, processor, model_of(processor))


def read_with(record: Record, processor: Processor | None, model: Model) -> BankReading:
    """As ``read_bank``, with the tables of ``model`` (for other makers with Intel's architecture).

    Raises ValueError if the record has no MCi_STATUS.
    """
    registers = record.registers
    if registers.status is None:
        raise ValueError("a record without MCi_STATUS has no bank to read")
    status = registers.status
    code = classify(MCACOD.of(status))
    seen = known_issues.sighting(record, status, code, processor)
    if record.bank == known_issues.THERMAL_BANK:
        return _thermal(record, seen)
    if record.bank == known_issues.TIMEOUT_BANK:
        return _software(record, seen, "Operating system", "Processors did not answer a machine check in time")
    if known_issues.is_made_by_apei(record.bank, status):
        return _apei(record, seen)
    if not VAL.of(status):
        return _invalid(record, seen)
    return _hardware(record, seen, model, capabilities(registers.mcg_cap, processor))


def _hardware(record: Record, seen: Sighting, model: Model, can: Capabilities) -> BankReading:
    status, code = seen.status, seen.code
    misc = record.registers.misc if MISCV.of(status) else None
    logged = Logged(-1 if record.bank is None else record.bank, status, misc, code)
    row = model.banks.get(logged.bank)
    specific = apply(readers_of(model, row), logged)
    wording = _wording(logged, specific)
    count, count_details, count_assumptions = _corrected_count(status, can)
    state_details, state_assumptions = _state(status, code, can)
    where = read_address(status, record.registers.addr, misc, code, can)
    return BankReading(
        unit=row.unit if row else _unit(record.bank, code),
        error=_error(specific.replaces or code.phrase, wording),
        details=(*wording.details, *_io_requester(logged), *state_details, *count_details),
        address=where.address,
        location=_place(record, row, code, specific.location),
        notes=(*wording.notes, *known_issues.notes(seen), *_two_channels(row, code)),
        assumptions=(*count_assumptions, *state_assumptions, *where.assumptions),
        corrected_count=count,
        placed=specific.placed if count is None else (*specific.placed, _COUNT),
        not_an_error=known_issues.not_an_error(seen),
        wording=wording,
    )


def readers_of(model: Model, row: Bank | None) -> tuple[Reader, ...]:
    """All that read the model-specific part of a bank."""
    return (*row.readers, *model.anywhere) if row else model.anywhere


def words(readers: tuple[Reader, ...], logged: Logged) -> Wording:
    """The words that a model's tables give to what a bank logged: the ``wording`` of its reading."""
    return _wording(logged, apply(readers, logged))


def _wording(logged: Logged, specific: Specific) -> Wording:
    phrases, contradictions = _against_uc(logged.status, specific.phrases)
    # A memory error's flags may repeat each other; each thing is said once, in the table's order.
    said = [phrase for phrase in dict.fromkeys(phrases) if phrase != specific.replaces]
    details = (*specific.details, *_unnamed(logged, specific))
    if not said and not details and not contradictions:
        return NO_WORDS
    return Wording("; ".join(said), details, contradictions)


def _error(phrase: str, wording: Wording) -> str:
    return f"{phrase}: {wording.refinement}" if wording.refinement else phrase


_KINDS: Final = {"corrected": (False, "a corrected"), "uncorrected": (True, "an uncorrected")}
"""How a table names the kind of error that a code is of: UC in it, and with its article."""


def _against_uc(status: int, said: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """What the tables say with the kind of error left out where UC says otherwise, and a note of each such case.

    The manuals sort the codes of some banks into corrected and uncorrected ones; a table names that before a colon.
    """
    phrases: list[str] = []
    notes: list[Note] = []
    for phrase in said:
        kind, colon, what = phrase.partition(": ")
        if not colon or kind not in _KINDS or _KINDS[kind][0] is bool(UC.of(status)):
            phrases.append(phrase)
            continue
        phrases.append(what)
        notes.append(
            Note(
                f'the model-specific code is listed as {_KINDS[kind][1]} error\'s ("{what}"), but MCi_STATUS.UC is '
                f"{int(bool(UC.of(status)))}: they contradict each other, and the severity goes by UC",
                "SDM vol. 3B chapter 18, the model-specific codes of the bank",
            )
        )
    return (tuple(phrases), tuple(notes)) if notes else (said, ())


def _unnamed(logged: Logged, specific: Specific) -> tuple[str, ...]:
    """MSCOD, where no table of the model reads it: a reader may find it in the maker's own documents."""
    if logged.mscod == 0 or specific.phrases or specific.details or specific.replaces:
        return ()
    return (f"model-specific error code {logged.mscod:#06x} (MSCOD)",)


def _unit(bank: int | None, code: Code) -> str:
    """A unit for a bank that no table names: what its error code is about, with the bank's number."""
    place = "unknown bank" if bank is None else f"bank {bank}"
    match code.kind:
        case CodeKind.MEMORY | CodeKind.EXTENDED_MEMORY:
            return f"Memory controller ({place})"
        case CodeKind.BUS:
            return f"Bus or interconnect ({place})"
        case CodeKind.IO:
            return f"I/O ({place})"
        case CodeKind.CACHE | CodeKind.GENERIC_CACHE:
            return f"Cache ({place})"
        case CodeKind.TLB:
            return f"TLB ({place})"
        case _:
            return place[0].upper() + place[1:]


def _place(record: Record, row: Bank | None, code: Code, specific: Location) -> Location:
    """The tables' place first, then the bank's own controller and channel, then the channel of the error code."""
    channel = row.channel if row is not None else None
    if channel is None and code.is_memory:
        channel = code.channel
    place = Location(socket=record.socket, controller=row.controller if row else None, channel=channel)
    return place if specific is NOWHERE else specific.merged(place)


def _two_channels(row: Bank | None, code: Code) -> tuple[Note, ...]:
    """A note where the bank is one channel's and the error code names another."""
    if row is None or row.channel is None or not code.is_memory or code.channel in {None, row.channel}:
        return ()
    return (
        Note(
            f"two channels are named: the bank is channel {row.channel}'s, the error code (CCCC) says {code.channel}. "
            f"Of these {row.channel} is taken: each channel of this processor reports in a bank of its own, while the "
            "code may count channels otherwise, or come from software that filled in the registers",
            "SDM vol. 3B 17.9.2.6 (CCCC) and chapter 18; mcelog (haswell.c, haswell_memerr_misc) goes by the bank too",
        ),
    )


def _corrected_count(status: int, can: Capabilities) -> tuple[int | None, tuple[str, ...], tuple[str, ...]]:
    """Count, details and assumptions. Without MCG_CAP, zero bits say nothing: there may be no counter."""
    count = CORRECTED_COUNT.of(status)
    if not can.cmci_p or (can.cmci_p is Known.ASSUMED and not count):
        return None, (), ()
    details: tuple[str, ...] = ()
    if count == _SATURATED_COUNT:
        details = (f"the corrected error count is saturated: at least {count} errors",)
    elif count >= _OVERFLOWED_COUNT:
        details = ("the corrected error count has its overflow bit (52) set: the number is a lower bound",)
    if can.cmci_p is Known.ASSUMED:
        return count, details, ("MCG_CAP is not in the evidence: CMCI_P is assumed, so MCi_STATUS[52:38] counts",)
    return count, details, ()


def _state(status: int, code: Code, can: Capabilities) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Details and assumptions about the status bits that stand beside the error code."""
    details: list[str] = []
    assumptions: list[str] = []
    if OVER.of(status):
        details.append("overflow: at least one further error of this bank was lost (OVER)")
    if UC.of(status) and not EN.of(status):
        details.append("reporting of this error was not enabled in MCi_CTL (EN=0)")
    if UC.of(status) and (name := ARCHITECTURAL_UCR_NAMES.get(code.base)) is not None:
        details.append(f"the error code is the architectural one of {_article(name)} error")
    if code.filtered:
        details.append("further corrected errors of the same place may go unreported (filtering, F=1)")
    threshold = THRESHOLD_STATUS.of(status)
    if threshold and can.tes_p and not UC.of(status):
        details.append(_THRESHOLDS[threshold])
        if can.tes_p is Known.ASSUMED:
            assumptions.append("MCG_CAP is not in the evidence: TES_P is assumed, so MCi_STATUS[54:53] is a threshold")
    if FIRMWARE_UPDATED.of(status) and can.emc_p:
        details.append("system firmware may have edited MCi_STATUS (bit 37)")
        if can.emc_p is Known.ASSUMED:
            assumptions.append("MCG_CAP is not in the evidence: EMC_P is assumed, so MCi_STATUS[37] is firmware's mark")
    return tuple(details), tuple(assumptions)


_THRESHOLDS = {
    1: "threshold status green: corrected errors below the threshold",
    2: "threshold status yellow: so many corrected errors that uncorrected ones may follow",
    3: "threshold status 3 (reserved)",
}


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiouL" else f"a {name}"


def _io_requester(logged: Logged) -> tuple[str, ...]:
    """For I/O errors MISC holds the PCI Express requester that reported (SDM vol. 3B 17.3.2.4, eMCA)."""
    if logged.code.kind is not CodeKind.IO or logged.misc is None:
        return ()
    requester = mci_misc.IO_REQUESTER_ID.of(logged.misc)
    segment = mci_misc.IO_SEGMENT.of(logged.misc)
    name = f"{segment:04x}:{requester >> 8:02x}:{requester >> 3 & 0x1F:02x}.{requester & 7:x}"
    return (f"reported by the PCI Express device {name} (see its AER log)",)


def _software(record: Record, seen: Sighting, unit: str, error: str, *details: str) -> BankReading:
    """A record of a software bank: there is no address in it."""
    because = "a software bank has no MCi_ADDR"
    return BankReading(
        unit=unit,
        error=error,
        details=details,
        address=Address(record.registers.addr, AddressKind.NONE, None, names_a_page=False, because=because),
        location=Location(socket=record.socket),
        notes=known_issues.notes(seen),
        not_an_error=known_issues.not_an_error(seen),
    )


def _thermal(record: Record, seen: Sighting) -> BankReading:
    """IA32_THERM_STATUS in place of MCi_STATUS: bit 0 PROCHOT, [22:16] degrees below TjMax, bit 31 their valid bit.

    Source: SDM vol. 3B, "Thermal Monitoring and Protection".
    """
    error = "Processor below its trip temperature again"
    if seen.status & _THERM_PROCHOT:
        error = "Processor above its trip temperature: throttling"
    details: tuple[str, ...] = ()
    if seen.status & _THERM_READING_VALID:
        details = (f"{seen.status >> 16 & 0x7F} degrees Celsius below the throttling temperature",)
    return _software(record, seen, "Thermal monitor", error, *details)


def _invalid(record: Record, seen: Sighting) -> BankReading:
    """VAL=0: what the other bits say is not of an error; it is told as a detail, not as the error."""
    because = "MCi_STATUS.VAL is 0: nothing in the bank is valid"
    kind = AddressKind.NONE if record.registers.addr is None else AddressKind.UNKNOWN
    return BankReading(
        unit=_unit(record.bank, classify(0)),
        error="No valid error",
        details=(f"the bits that are there would say: {seen.code.phrase}",) if seen.status else (),
        address=Address(record.registers.addr, kind, None, names_a_page=False, because=because),
        location=Location(socket=record.socket),
        notes=known_issues.notes(seen),
        not_an_error=known_issues.not_an_error(seen),
    )


def _apei(record: Record, seen: Sighting) -> BankReading:
    """A memory error of firmware's in the dress of a bank: physical address, nothing else of it is evidence."""
    misc = record.registers.misc if MISCV.of(seen.status) else None
    granularity = None if misc is None else 1 << mci_misc.ADDRESS_LSB.of(misc)
    because = "Linux made this record from firmware's; that one, and the kernel's memory failure lines, name the page"
    return BankReading(
        unit="Firmware (APEI), not a bank of the processor",
        error="Memory error reported by firmware",
        address=Address(record.registers.addr, AddressKind.PHYSICAL, granularity, names_a_page=False, because=because),
        location=Location(socket=record.socket),
        notes=known_issues.notes(seen),
    )
