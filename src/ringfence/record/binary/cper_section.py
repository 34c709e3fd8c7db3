"""One error section of firmware, whatever it came in: what kind it is, and the evidence that it makes.

CPER records (UEFI appendix N) and generic error data entries (ACPI 18.3.2.7.1) wrap the same sections. They are
unwrapped by ``cper`` and ``ghes``; here a section becomes records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntFlag
from struct import Struct
from typing import Final
from uuid import UUID

from ringfence.errors import FormatError
from ringfence.record.binary import cper_memory, cper_processor, guids, pstore
from ringfence.record.binary.bcd_time import FirmwareTime
from ringfence.record.binary.cper_processor import MachineCheckMsr
from ringfence.record.binary.layout import take
from ringfence.record.binary.pstore import PstoreText
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

SEVERITIES: Final = ("recoverable", "fatal", "corrected", "informational")
"""Error severity by its number, the same in UEFI (N.2.1) and ACPI."""

FRU_TEXT_BYTES: Final = 20

_MAX_WHY_CHARS = 1000  # a section can hold 63 error information structures, and one line has to show them


class SectionFlag(IntFlag):
    """Flags of a section descriptor (UEFI N.2.2); the last two came with UEFI 2.9."""

    PRIMARY = 1 << 0
    CONTAINMENT_WARNING = 1 << 1
    RESET = 1 << 2
    ERROR_THRESHOLD_EXCEEDED = 1 << 3
    RESOURCE_NOT_ACCESSIBLE = 1 << 4
    LATENT_ERROR = 1 << 5
    PROPAGATED = 1 << 6
    OVERFLOW = 1 << 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section and what its container says of it. ``raw`` is what the records keep: headers and body, unchanged.

    ``header_claims`` are the container's statements about the whole record. ``type`` is one of ``guids`` or unknown.
    ``written_s`` is the container's timestamp as Linux's pstore means it, in seconds since 1970.
    """

    origin: Origin
    format: Format
    raw: bytes
    type: UUID
    body: bytes
    severity: int
    flags: int = 0
    fru_id: UUID | None = None
    fru_text: str | None = None
    time: FirmwareTime | None = None
    written_s: float | None = None
    header_claims: tuple[Claim, ...] = ()

    @property
    def severity_text(self) -> str:
        """The severity in the specification's words."""
        return SEVERITIES[self.severity] if self.severity < len(SEVERITIES) else f"severity {self.severity}"

    def claimed_severity(self) -> ClaimedSeverity | None:
        """The severity; None for a reserved number.

        A recoverable error flagged as latent is contained, not corrected and not consumed: that is a deferred one.
        """
        if self.severity >= len(SEVERITIES):
            return None
        severity = ClaimedSeverity(SEVERITIES[self.severity])
        is_latent = bool(self.flags & SectionFlag.LATENT_ERROR)
        return ClaimedSeverity.DEFERRED if severity is ClaimedSeverity.RECOVERABLE and is_latent else severity


def fru_text(raw: bytes) -> str | None:
    """The FRU text field: ASCII, NUL-padded. Bytes that are not ASCII are shown escaped; an empty one is None."""
    return raw.partition(b"\0")[0].decode("ascii", "backslashreplace").strip() or None


def evidence(section: Section) -> Iterator[Evidence | PstoreText]:
    """What the section is evidence of. A section that contradicts itself is Unrecognised; nothing is raised."""
    try:
        yield from _evidence(section)
    except FormatError as error:
        yield Unrecognised(section.origin, section.raw, str(error))


def _evidence(section: Section) -> Iterator[Evidence | PstoreText]:
    match section.type:
        case guids.PLATFORM_MEMORY | guids.PLATFORM_MEMORY_2:
            yield _memory(section)
        case guids.PROCESSOR_GENERIC:
            yield _processor_generic(section)
        case guids.PROCESSOR_IA32_X64:
            yield from _processor_ia32_x64(section)
        case guids.LINUX_MCE:
            yield _struct_mce(section)
        case guids.LINUX_DMESG:
            yield pstore.read_text(section.body, section.origin, section.written_s)
        case guids.LINUX_DMESG_Z:
            yield pstore.read_text(pstore.inflate(section.body), section.origin, section.written_s)
        case guids.FIRMWARE_RECORD:
            yield _firmware_record(section)
        case guids.PCI_EXPRESS:
            yield _not_a_machine_check(section, _pci_express(section.body))
        case other if other in guids.OTHER_SECTIONS:
            yield _not_a_machine_check(section, guids.OTHER_SECTIONS[other])
        case _:
            why = f"{section.severity_text} error section of unknown type {section.type}"
            yield Unrecognised(section.origin, section.raw, why)


def _claims(section: Section, *more: tuple[ClaimKind, str]) -> tuple[Claim, ...]:
    """The container's claims, the descriptor's, and the section's own."""
    texts: list[tuple[ClaimKind, str]] = []
    if section.flags & ~SectionFlag.PRIMARY:
        names = [str(flag.name).lower().replace("_", " ") for flag in SectionFlag if section.flags & flag]
        texts.append((ClaimKind.FIRMWARE, f"section flags {section.flags:#x} ({', '.join(names)})"))
    if section.fru_id is not None:
        texts.append((ClaimKind.FIRMWARE, f"FRU id {section.fru_id}"))
    if section.time is not None and section.time.precise:
        texts.append((ClaimKind.FIRMWARE, "timestamp is precise: it is the time of the error"))
    return section.header_claims + tuple(Claim(kind, text, section.origin) for kind, text in (*texts, *more))


def _record(section: Section, *claims: tuple[ClaimKind, str]) -> Record:
    """What every record from firmware has."""
    assumptions: tuple[str, ...] = ()
    if section.time is not None:
        # UEFI N.2.1: the timestamp holds "the local time", and nothing says of where.
        assumptions = ("the firmware's timestamp is local time: it is taken as UTC",)
    return Record(
        origin=section.origin,
        format=section.format,
        raw=section.raw,
        time=section.time.epoch_s if section.time else None,
        stamp=section.time.text if section.time else None,
        delivery=Delivery.FIRMWARE,
        claims=_claims(section, *claims),
        assumptions=assumptions,
    )


def _fru_claim(section: Section) -> tuple[tuple[ClaimKind, str], ...]:
    return ((ClaimKind.FIRMWARE, f"FRU text {section.fru_text}"),) if section.fru_text else ()


def _memory(section: Section) -> Record:
    if section.type == guids.PLATFORM_MEMORY:
        memory, assumptions = cper_memory.unpack(section.body)
    else:
        memory, assumptions = cper_memory.unpack_2(section.body), ()
    claims = list(memory.claims())
    if section.claimed_severity() is None:
        claims.append((ClaimKind.SEVERITY, section.severity_text))
    record = _record(section, *claims)
    return replace(
        record,
        # The FRU of a memory error is its DIMM.
        memory=memory.report(section.claimed_severity(), section.fru_text),
        assumptions=record.assumptions + assumptions,
    )


def _without_registers(section: Section, what: str, *words: str) -> Unrecognised:
    """A section that reports an error in words only, without a register or an address of memory to decode."""
    said = [claim.text for claim in _claims(section, *_fru_claim(section))]
    if section.time is not None:
        said.insert(0, f"at {section.time.text}")
    text = "; ".join((*words, *said))[:_MAX_WHY_CHARS]
    return Unrecognised(section.origin, section.raw, f"{section.severity_text} {what}: {text}")


def _processor_generic(section: Section) -> Unrecognised:
    processor = cper_processor.unpack_generic(section.body)
    numbers = (("APIC id", processor.processor_id), ("CPUID", processor.cpuid), ("IP", processor.ip))
    named = [f"{name} {value:#x}" for name, value in numbers if value is not None]
    return _without_registers(section, "processor error without machine-check registers", *processor.words, *named)


def _processor_ia32_x64(section: Section) -> Iterator[Evidence]:
    """A record for every bank in the register dumps that holds a valid error.

    Without one, what the section says in words is all there is, unless it dumps exactly one bank: then it means that.
    """
    processor = cper_processor.unpack_ia32_x64(section.body)
    valid = [bank for bank, values in processor.banks.items() if values[MachineCheckMsr.STATUS] >> 63]
    chosen = valid or (list(processor.banks) if len(processor.banks) == 1 else [])
    if not chosen:
        numbers = (("APIC id", processor.apicid), ("CPUID", processor.cpuid), ("IP", processor.ip))
        named = [f"{name} {value:#x}" for name, value in numbers if value is not None]
        what = "processor error without machine-check registers"
        yield _without_registers(section, what, *processor.words, *named)
        return
    words = tuple((ClaimKind.FIRMWARE, text) for text in processor.words)
    record = _record(section, (ClaimKind.SEVERITY, section.severity_text), *_fru_claim(section), *words)
    vendor, assumption = processor.vendor()
    common = Registers(
        ip=processor.ip,
        mcg_cap=processor.common.get(MachineCheckMsr.MCG_CAP),
        mcg_status=processor.common.get(MachineCheckMsr.MCG_STATUS),
    )
    for bank in chosen:
        values = {register.value: value for register, value in processor.banks[bank].items()}
        yield replace(
            record,
            bank=bank,
            registers=replace(common, **values),
            apicid=processor.apicid,
            cpuid=processor.cpuid,
            vendor=vendor,
            assumptions=record.assumptions + ((assumption,) if assumption else ()),
        )


def _struct_mce(section: Section) -> Record:
    mce = StructMce.unpack(section.body).record(origin=section.origin, raw=section.raw, format=section.format)
    # Linux and Xen write no timestamp into these headers; the structure's own time is the error's.
    return replace(mce, claims=_claims(section, *_fru_claim(section)) + mce.claims)


_FIRMWARE_RECORD = Struct("<BB6xQ")
_FIRMWARE_RECORD_TYPES = (
    "IPF SAL error record",
    "SOC firmware error record type 1 (legacy crash log)",
    "SOC firmware error record type 2",
)


def _firmware_record(section: Section) -> Unrecognised:
    """A reference to, or a wrapping of, a record in the maker's own format (UEFI N.2.10), which stays opaque."""
    kind, revision, number = take(_FIRMWARE_RECORD, section.body, 0, "firmware error record reference")
    name = _FIRMWARE_RECORD_TYPES[kind] if kind < len(_FIRMWARE_RECORD_TYPES) else f"record type {kind}"
    words = [f"{name}, revision {revision}, {len(section.body)} bytes"]
    if revision == 0 and number:
        words.append(f"record identifier {number:#x}")
    elif revision >= 2 and len(section.body) >= 32:
        words.append(f"record identifier {UUID(bytes_le=section.body[16:32])}")
    return _without_registers(section, "firmware error record in the maker's own format", *words)


_PCI_EXPRESS = Struct("<Q16xHH3sBBHB")
_HAS_DEVICE_ID = 1 << 3


def _pci_express(body: bytes) -> str:
    """Which device a PCI Express section is about (UEFI N.2.7), as far as the section is long enough to say."""
    name = guids.OTHER_SECTIONS[guids.PCI_EXPRESS]
    if len(body) < _PCI_EXPRESS.size:
        return name
    validation, vendor, device, _, function, slot, segment, bus = take(_PCI_EXPRESS, body, 0, name)
    if not validation & _HAS_DEVICE_ID:
        return name
    return f"{name} of {segment:04x}:{bus:02x}:{slot:02x}.{function:x} [{vendor:04x}:{device:04x}]"


def _not_a_machine_check(section: Section, name: str) -> Unrecognised:
    return Unrecognised(section.origin, section.raw, f"not a machine check: {name}, {section.severity_text}")
