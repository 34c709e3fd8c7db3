"""A record to its meaning: who made the processor, and which vendor's reading applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ringfence.arch.cpuid import Processor, Vendor, processor
from ringfence.arch.mci_status import ADDRV
from ringfence.decode import amd, intel, zhaoxin
from ringfence.decode.meaning import Address, AddressKind, BankReading, Meaning, Note, canonical
from ringfence.decode.upkeep import is_past_threshold, names_no_error, unit_kind
from ringfence.quick import changed
from ringfence.record.evidence import ClaimKind, Delivery, Format, Location, MemoryReport, Record

_READERS: Mapping[Vendor, Callable[[Record, Processor | None], BankReading]] = {
    Vendor.INTEL: intel.read_bank,
    Vendor.AMD: amd.read_bank,
    Vendor.HYGON: amd.read_bank,
    Vendor.ZHAOXIN: zhaoxin.read_bank,
    Vendor.CENTAUR: zhaoxin.read_bank,
}

ASSUMED_INTEL = "vendor: the evidence names none; MCi_STATUS is read as Intel's (say --cpu to name it)"
ASSUMED_AMD = "vendor: the evidence names none; MCA_SYND and MCA_IPID exist on AMD only"
NO_MODEL = "processor: the evidence names no model; nothing model-specific is decoded (say --cpu to name it)"


@dataclass(frozen=True, slots=True)
class KnownProcessor:
    """A processor that another record of the same log, or the user, named; ``source`` says which."""

    vendor: Vendor
    cpuid: int | None
    source: str


def with_processor(record: Record, known: KnownProcessor | None) -> Record:
    """The record with the processor that its log names elsewhere, if it names none itself; the assumption is listed."""
    if known is None or (record.cpuid is not None and record.vendor is not None):
        return record
    if record.vendor is not None and record.vendor is not known.vendor:
        return record
    if record.cpuid is not None and record.cpuid != known.cpuid:
        return record
    if record.registers.status is None:
        return record
    return replace(
        record,
        vendor=known.vendor,
        cpuid=record.cpuid if record.cpuid is not None else known.cpuid,
        assumptions=(*record.assumptions, f"processor: taken from {known.source}"),
    )


def _vendor(record: Record) -> tuple[Vendor, tuple[str, ...]]:
    if record.vendor is not None:
        return record.vendor, ()
    if record.registers.ipid is not None or record.registers.synd is not None:
        return Vendor.AMD, (ASSUMED_AMD,)
    return Vendor.INTEL, (ASSUMED_INTEL,)


def _claimed_address(memory: MemoryReport) -> Address:
    if memory.physical_address is None and memory.guest_address is not None:
        because = "it is the guest's own physical address: which page of the host that is, the source does not say"
        return Address(memory.guest_address, AddressKind.GUEST_PHYSICAL, memory.grain_bytes, False, because)
    if memory.physical_address is None:
        return Address(None, AddressKind.NONE, None, False, "the source gives no address")
    granularity = memory.grain_bytes
    if memory.physical_address_mask:
        mask = memory.physical_address_mask
        granularity = mask & -mask
    if granularity is not None and granularity > 4096:
        because = f"the source gives a physical address of {granularity} bytes granularity: more than one page"
        return Address(memory.physical_address, AddressKind.PHYSICAL, granularity, False, because)
    because = "the source itself gives a system physical address"
    return Address(memory.physical_address, AddressKind.PHYSICAL, granularity, True, because)


_PAGE_BYTES = 4096

_UNITS = {
    Format.EDAC: "memory controller, as EDAC reports it",
    Format.MEMORY_FAILURE: "memory page, as the kernel reports it",
    Format.MCELOG_CLIENT: "memory, as mcelog accounts for it",
    Format.QEMU: "guest memory, as QEMU reports it",
}


_FIRMWARE = frozenset({Format.GHES, Format.CPER, Format.GHES_BLOCK})


def _claimed_unit(record: Record, memory: MemoryReport) -> str:
    """Who reported, where no bank did. Firmware reports of more than memory: it is memory only if it says where."""
    located = memory.physical_address is not None or memory.location != Location()
    if (
        record.format is Format.RASDAEMON
        and not located
        and all(each.kind is ClaimKind.OTHER for each in record.claims)
    ):
        return "hardware, as rasdaemon counts its records"
    if record.format in _FIRMWARE or (record.format is Format.FREEBSD and record.delivery is Delivery.FIRMWARE):
        return "memory, as firmware reports it" if located else "hardware, as firmware reports it"
    return _UNITS.get(record.format, "memory, as the source reports it")


def _claimed(record: Record, memory: MemoryReport) -> BankReading:
    """What a source without registers says, taken at its word."""
    unsaid = "hardware error" if record.format in _FIRMWARE else "memory error"
    return BankReading(
        unit=_claimed_unit(record, memory),
        error=unsaid if memory.error in {None, "", "error"} else str(memory.error),
        assumptions=record.assumptions,
        address=_claimed_address(memory),
        location=memory.location,
    )


_UNTRANSLATED = frozenset({AddressKind.NORMALISED, AddressKind.NONE, AddressKind.UNKNOWN, AddressKind.GENERIC})


def _beside(record: Record) -> str:
    """Who gave the memory report that stands beside a bank's registers."""
    said = {claim.kind for claim in record.claims}
    if ClaimKind.EDAC in said:
        return "the kernel's EDAC line"
    if ClaimKind.MEMORY_FAILURE in said:
        return "the kernel's memory failure line"
    return "the firmware's record" if record.format in _FIRMWARE else "the source"


def _joined_address(record: Record, address: Address, memory: MemoryReport) -> tuple[Address, tuple[str, ...]]:
    """The address beside the bank's registers where those have none, or none of the machine's; and what is assumed."""
    status = record.registers.status or 0
    missing = address.value is None and bool(ADDRV.of(status))
    if memory.physical_address is None or not (missing or address.kind in _UNTRANSLATED):
        return address, ()
    beside = _beside(record)
    # MISC may say that the address is coarser than EDAC's grain: then it stays so.
    grains = [known for known in (memory.grain_bytes, address.granularity_bytes) if known]
    coarse = replace(memory, grain_bytes=max(grains)) if missing and grains else memory
    translated = _claimed_address(coarse)
    because = translated.because
    if translated.names_a_page:
        because = f"{beside} gives the system physical address"
        because += " (the bank's own is normalised)" if address.kind is AddressKind.NORMALISED else ""
    granularity = translated.granularity_bytes or address.granularity_bytes
    assumed = (
        (f"address: MCi_ADDR is missing from the evidence; the one that {beside} gives is taken",) if missing else ()
    )
    return replace(translated, granularity_bytes=granularity, because=because), assumed


def _joined(record: Record, reading: BankReading, memory: MemoryReport) -> BankReading:
    """A bank's reading with what EDAC or firmware adds: the place, and a translated address."""
    # EDAC knows the place better than the bank does, but cuts the syndrome to 16 bits where the register has more.
    location = memory.location.merged(reading.location)
    if reading.location.syndrome is not None:
        location = replace(location, syndrome=reading.location.syndrome)
    address, assumptions = _joined_address(record, reading.address, memory)
    notes = (*reading.notes, *_two_channels(reading, memory))
    assumptions = (*reading.assumptions, *assumptions)
    return replace(reading, location=location, address=address, notes=notes, assumptions=assumptions)


def _two_channels(reading: BankReading, memory: MemoryReport) -> tuple[Note, ...]:
    """A note where the bank's registers name one channel and what stands beside them another."""
    by_bank, beside = reading.location.channel, memory.location.channel
    if by_bank is None or beside is None or by_bank == beside:
        return ()
    granularity = reading.address.granularity_bytes
    doubt = ""
    if granularity is not None and granularity >= _PAGE_BYTES:
        doubt = (
            f". The logged address is only that of {granularity} bytes, though, which usually lie in several channels: "
            f"what was worked out from it may be wrong, and {by_bank} right (later kernels take the channel of such an "
            "error from the registers)"
        )
    return (
        Note(
            f"two channels are named: {by_bank} by the bank's registers, {beside} by the words beside them. {beside} "
            f"is used, as the rest of the place (DIMM, rank, label) was worked out with it{doubt}",
            "Linux drivers/edac/sb_edac.c, sbridge_mce_output_error",
        ),
    )


def _with_canonical_address(reading: BankReading) -> BankReading:
    """A linear address as software knows it, whichever vendor logged it, and in whichever view it is shown."""
    address = reading.address
    if address.kind is not AddressKind.LINEAR or address.value is None:
        return reading
    return replace(reading, address=replace(address, value=canonical(address.value)))


def decode(record: Record) -> Meaning:
    """What the record means.

    Raises ValueError for a record with neither MCi_STATUS nor a memory report: readers never make one.
    """
    if record.registers.status is None:
        if record.memory is None:
            raise ValueError(f"{record.origin}: nothing to decode")
        known = processor(record.vendor, record.cpuid) if record.vendor and record.cpuid else None
        claimed = _claimed(record, record.memory)
        claimed = replace(claimed, unit_kind=unit_kind(record, record.vendor, known, claimed))
        return Meaning(record=record, vendor=record.vendor, processor=known, reading=claimed)
    vendor, assumptions = _vendor(record)
    known = processor(vendor, record.cpuid) if record.cpuid is not None else None
    if known is None:
        assumptions += (NO_MODEL,)
    reading = _with_canonical_address(_READERS[vendor](record, known))
    if record.memory is not None:
        reading = _joined(record, reading, record.memory)
    if record.socket is not None and reading.location.socket is None:
        reading = replace(reading, location=replace(reading.location, socket=record.socket))
    return Meaning(
        record=record,
        vendor=vendor,
        processor=known,
        reading=changed(
            reading,
            assumptions=(*record.assumptions, *assumptions, *reading.assumptions),
            unit_kind=unit_kind(record, vendor, known, reading),
            past_threshold=is_past_threshold(record, vendor, known),
            names_no_error=names_no_error(record, vendor),
        ),
    )
