"""UEFI Common Platform Error Records, with a record header: what ERST keeps, and what firmware hands over.

Source: UEFI 2.10 N.2.1 (record header), N.2.2 (section descriptor). BERT and GHES data have no such header: see
``ghes``. Read is a file of one record, of several one after another, or the storage of an ERST (QEMU's acpi-erst file,
in which the records stand at fixed distances with padding between).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from enum import IntFlag
from struct import Struct
from typing import Final
from uuid import UUID

from ringfence.errors import FormatError
from ringfence.record.binary import CPER_SIGNATURE as SIGNATURE
from ringfence.record.binary import bcd_time, cper_memory, guids, struct_mce
from ringfence.record.binary.bcd_time import FirmwareTime
from ringfence.record.binary.cper_section import FRU_TEXT_BYTES, SEVERITIES, Section, SectionFlag, evidence, fru_text
from ringfence.record.binary.layout import give, part, take
from ringfence.record.binary.pstore import PstoreText
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Evidence,
    Format,
    MemoryReport,
    Origin,
    Record,
    Unrecognised,
)

_SIGNATURE_END: Final = b"\xff\xff\xff\xff"
_SIGNATURE_END_AT: Final = 6

_NO_TEXT: Final = frozenset({*range(9), *range(0x0E, 0x20), 0x7F, 0xFF})
"""Bytes that no text has: control characters, and what UTF-8 never uses. The header's revision is of them."""
_ERST_MAGIC: Final = b"ERSTSTOR"
"""What QEMU's acpi-erst storage begins with (hw/acpi/erst.c, ERST_STORE_MAGIC)."""
_ERST_HEADER = Struct("<8sII")
_PADDING = b"\x00\xff"

_HEADER = Struct("<4sH4sHIII8s16s16s16s16sQIQ12x")
_DESCRIPTOR = Struct("<IIHBxI16s16sI20s")

_VALID_TIMESTAMP = 2
_VALID_FRU_ID, _VALID_FRU_TEXT = 1, 2

_RECORD_REVISION = 0x0100
_SECTION_REVISION = 0x0100


class RecordFlag(IntFlag):
    """Flags of the record header (UEFI N.2.1)."""

    RECOVERED = 1
    PREVERR = 2
    SIMULATED = 4


_FLAG_CLAIMS: Final = (
    (RecordFlag.RECOVERED, ClaimKind.FIRMWARE, "record flag: recovered"),
    (RecordFlag.PREVERR, ClaimKind.FIRMWARE, "record flag: error of a previous boot"),
    (RecordFlag.SIMULATED, ClaimKind.INJECTION, "record flag: simulated"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A section descriptor. ``offset`` is counted from the record header's first byte."""

    offset: int
    length: int
    type: UUID
    severity: int
    flags: int = SectionFlag.PRIMARY
    fru_id: UUID | None = None
    fru_text: str | None = None

    @classmethod
    def unpack(cls, blob: bytes, at: int) -> Descriptor:
        """The descriptor at byte ``at``. Raises FormatError if it is not wholly there."""
        offset, length, _revision, validation, flags, kind, fru_id, severity, text = take(
            _DESCRIPTOR, blob, at, "section descriptor"
        )
        return cls(
            offset=offset,
            length=length,
            type=UUID(bytes_le=kind),
            severity=severity,
            flags=flags,
            fru_id=UUID(bytes_le=fru_id) if validation & _VALID_FRU_ID else None,
            fru_text=fru_text(text) if validation & _VALID_FRU_TEXT else None,
        )

    def pack(self) -> bytes:
        """The 72 bytes. Raises ValueError if the FRU text is not ASCII of at most 20 bytes, or a number too large."""
        text = (self.fru_text or "").encode("ascii")
        if len(text) > FRU_TEXT_BYTES:
            raise ValueError(f"a FRU text has {FRU_TEXT_BYTES} bytes: {self.fru_text!r} does not fit")
        validation = _VALID_FRU_ID * (self.fru_id is not None) | _VALID_FRU_TEXT * (self.fru_text is not None)
        return give(
            _DESCRIPTOR, "a section descriptor", self.offset, self.length, _SECTION_REVISION, validation, self.flags,
            self.type.bytes_le, (self.fru_id or guids.NIL).bytes_le, self.severity, text,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The record header, without the platform, partition and persistence fields, which say nothing of the error.

    ``timestamp`` is the field's eight bytes if they are flagged as valid: what they mean depends on who wrote them.
    """

    sections: int
    severity: int
    length: int
    timestamp: bytes | None = None
    creator: UUID = guids.NIL
    notification: UUID = guids.NIL
    record_id: int = 0
    flags: int = 0

    @classmethod
    def unpack(cls, blob: bytes, at: int) -> Header:
        """The header at byte ``at``. Raises FormatError if it is not wholly there or lacks one of its signatures."""
        (
            signature, _revision, signature_end, sections, severity, validation, length, timestamp, _platform,
            _partition, creator, notification, record_id, flags, _persistence,
        ) = take(_HEADER, blob, at, "CPER record header")  # fmt: skip
        if signature != SIGNATURE or signature_end != _SIGNATURE_END:
            raise FormatError("no CPER signature", offset=at)
        return cls(
            sections=sections,
            severity=severity,
            length=length,
            timestamp=timestamp if validation & _VALID_TIMESTAMP else None,
            creator=UUID(bytes_le=creator),
            notification=UUID(bytes_le=notification),
            record_id=record_id,
            flags=flags,
        )

    def pack(self) -> bytes:
        """The 128 bytes. Raises ValueError if a number is too large for its field."""
        return give(
            _HEADER, "a CPER record header", SIGNATURE, _RECORD_REVISION, _SIGNATURE_END, self.sections, self.severity,
            _VALID_TIMESTAMP * (self.timestamp is not None), self.length, self.timestamp or bytes(8), bytes(16),
            bytes(16), self.creator.bytes_le, self.notification.bytes_le, self.record_id, self.flags, 0,
        )  # fmt: skip

    def claims(self, origin: Origin) -> tuple[Claim, ...]:
        """What the header says of the error as a whole."""
        claims = [Claim(kind, text, origin) for flag, kind, text in _FLAG_CLAIMS if self.flags & flag]
        if self.notification in guids.NOTIFICATIONS:
            text = f"notification: {guids.NOTIFICATIONS[self.notification]}"
            claims.append(Claim(ClaimKind.FIRMWARE, text, origin))
        return tuple(claims)


def detect(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a CPER record, or an ERST storage file, which holds such records."""
    at = _SIGNATURE_END_AT
    return head.startswith(_ERST_MAGIC) or (head.startswith(SIGNATURE) and head[at : at + 4] == _SIGNATURE_END)


def begins_with_one(head: bytes) -> bool:
    """Whether ``head`` begins with a record's signature and goes on as no text does: a damaged or cut header."""
    return head.startswith(SIGNATURE) and any(byte in _NO_TEXT for byte in head[len(SIGNATURE) : _SIGNATURE_END_AT + 4])


def read(blob: bytes, file: str, base_offset: int = 0) -> Iterator[Evidence | PstoreText]:
    """The evidence in every record of the blob, in its order: one for each error section.

    Bytes between records that are not padding, and what cannot be read, are Unrecognised; nothing is raised.
    """
    at = _erst_storage_start(blob)
    while at < len(blob):
        found = _find_header(blob, at)
        if blob[at:found].strip(_PADDING):
            yield Unrecognised(Origin(file, offset=base_offset + at), blob[at:found], "bytes outside of a CPER record")
        if found == len(blob):
            return
        at = yield from _read_record(blob, found, file, base_offset)


def _find_header(blob: bytes, start: int) -> int:
    """Where the next record header begins; the blob's length if there is none."""
    at = blob.find(SIGNATURE, start)
    while at >= 0:
        end = at + _SIGNATURE_END_AT
        if blob[end : end + 4] == _SIGNATURE_END:
            return at
        at = blob.find(SIGNATURE, at + 1)
    return len(blob)


def _erst_storage_start(blob: bytes) -> int:
    """Behind the header and the record map of an ERST storage file; 0 for anything else."""
    if not blob.startswith(_ERST_MAGIC) or len(blob) < _ERST_HEADER.size:
        return 0
    _, _record_bytes, start = take(_ERST_HEADER, blob, 0, "ERST storage header")
    return min(int(start), len(blob))


def _read_record(blob: bytes, at: int, file: str, base_offset: int) -> Generator[Evidence | PstoreText, None, int]:
    """The evidence of the record at ``at``; returns where to go on.

    Of a record that is cut off, the sections that are whole are read; then the next signature is looked for.
    """
    origin = Origin(file, offset=base_offset + at)
    try:
        header = Header.unpack(blob, at)
        sections = _descriptors(blob, at, header)
    except FormatError as error:
        end = _find_header(blob, at + 1)
        yield Unrecognised(origin, blob[at:end], str(error))
        return end
    end = at + header.length
    if end > len(blob):
        read_to = [at + item.offset + item.length for item, _ in sections]
        table = at + _HEADER.size + len(sections) * _DESCRIPTOR.size
        end = _find_header(blob, max([table, *(place for place in read_to if place <= len(blob))]))
    for descriptor, raw_descriptor in sections:
        start = at + descriptor.offset
        raw = blob[at : at + _HEADER.size] + raw_descriptor
        if start + descriptor.length > len(blob):
            why = f"error section needs {descriptor.length} bytes and {max(0, len(blob) - start)} are left"
            yield Unrecognised(origin, raw + blob[start:end], why)
            continue
        body = part(blob, start, descriptor.length, "error section")
        yield from evidence(_section(header, descriptor, body, raw=raw + body, origin=origin))
    return end


def _descriptors(blob: bytes, at: int, header: Header) -> list[tuple[Descriptor, bytes]]:
    """The record's section descriptors, each with its bytes.

    Raises FormatError if the record has none, or if they, or the sections that they name, do not fit into the length
    that the header gives. Sections may not overlap, so that a small file cannot become a large one.
    """
    if header.sections == 0:
        raise FormatError("CPER record without a section", offset=at)
    start = at + _HEADER.size
    table = _HEADER.size + header.sections * _DESCRIPTOR.size
    if header.length < table:
        text = f"CPER record of {header.length} bytes cannot hold {header.sections} section descriptors"
        raise FormatError(text, offset=at)
    if start + header.sections * _DESCRIPTOR.size > len(blob):
        raise FormatError("section descriptors are cut off", offset=at)
    places = [start + index * _DESCRIPTOR.size for index in range(header.sections)]
    found = [(Descriptor.unpack(blob, place), blob[place : place + _DESCRIPTOR.size]) for place in places]
    free = table
    for descriptor in sorted((descriptor for descriptor, _ in found), key=lambda item: item.offset):
        if descriptor.offset < free or descriptor.offset + descriptor.length > header.length:
            raise FormatError("error sections overlap or leave the record", offset=at + descriptor.offset)
        free = descriptor.offset + descriptor.length
    return found


def _section(header: Header, descriptor: Descriptor, body: bytes, *, raw: bytes, origin: Origin) -> Section:
    return Section(
        origin=origin,
        format=Format.CPER,
        raw=raw,
        type=descriptor.type,
        body=body,
        severity=descriptor.severity,
        flags=descriptor.flags,
        fru_id=descriptor.fru_id,
        fru_text=descriptor.fru_text,
        time=FirmwareTime.unpack(header.timestamp) if header.timestamp else None,
        # pstore puts seconds since 1970 where UEFI wants a BCD time (drivers/acpi/apei/erst.c, erst_writer).
        written_s=float(int.from_bytes(header.timestamp, "little")) if header.timestamp else None,
        header_claims=header.claims(origin),
    )


# --- writing ---------------------------------------------------------------------------------------------------------


def write(record: Record, *, record_id: int = 0, mce_length: int = 128) -> bytes:
    """A record as a CPER record with one section.

    With MCi_STATUS, the section is a ``struct mce`` of ``mce_length`` bytes, and the whole is what Linux's
    apei_write_mce and Xen's write to ERST when they panic (Xen: 88 bytes). Without, it is a platform memory section
    with the time, if known, as UTC in the header. Raises ValueError if the record has neither, or says something that
    the section has no field for.
    """
    if record.registers.status is not None:
        body = struct_mce.write(record, mce_length)
        return _write(
            body,
            Descriptor(offset=0, length=0, type=guids.LINUX_MCE, severity=SEVERITIES.index("fatal")),
            Header(
                sections=1,
                severity=SEVERITIES.index("fatal"),
                length=0,
                creator=guids.LINUX_CREATOR,
                notification=guids.NOTIFY_MCE,
                record_id=record_id,
                flags=RecordFlag.PREVERR,
            ),
        )
    if record.memory is None:
        raise ValueError("a CPER record is written of MCi_STATUS or of a memory report, and the record has neither")
    return _write_memory(record.memory, record.time, record_id)


def _write_memory(report: MemoryReport, time: float | None, record_id: int) -> bytes:
    memory = cper_memory.of_report(report)
    try:
        kind, body = guids.PLATFORM_MEMORY, cper_memory.pack(memory)
    except ValueError:
        # A number too large for the first form's 16 bits.
        kind, body = guids.PLATFORM_MEMORY_2, cper_memory.pack_2(memory)
    severity, latent = _severity(report.severity)
    flags = SectionFlag.PRIMARY | (SectionFlag.LATENT_ERROR if latent else 0)
    is_corrected = report.severity in {ClaimedSeverity.CORRECTED, ClaimedSeverity.INFORMATIONAL}
    return _write(
        body,
        Descriptor(offset=0, length=0, type=kind, severity=severity, flags=flags, fru_text=report.location.label),
        Header(
            sections=1,
            severity=severity,
            length=0,
            timestamp=None if time is None else bcd_time.pack(time),
            notification=guids.NOTIFY_CMC if is_corrected else guids.NOTIFY_MCE,
            record_id=record_id,
        ),
    )


def _severity(claimed: ClaimedSeverity | None) -> tuple[int, bool]:
    """The severity's number, and whether the error is flagged as latent."""
    match claimed:
        case None:
            raise ValueError("a CPER section has a severity, and the memory report has none")
        case ClaimedSeverity.DEFERRED:
            return SEVERITIES.index("recoverable"), True
        case _:
            return SEVERITIES.index(claimed.value), False


def _write(body: bytes, descriptor: Descriptor, header: Header) -> bytes:
    """One section wrapped, its place and the record's length filled in."""
    offset = _HEADER.size + _DESCRIPTOR.size
    head = replace(header, length=offset + len(body))
    return head.pack() + replace(descriptor, offset=offset, length=len(body)).pack() + body
