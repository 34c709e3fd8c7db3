"""ACPI Generic Error Status Blocks: what BERT's region holds (/sys/firmware/acpi/tables/data/BERT).

The same error sections as in CPER records, but without a record header: a status block is a short header and generic
error data entries. Source: ACPI 6.5 18.3.1 (boot error source), 18.3.2.7.1 (tables 18.11 and 18.12). What Linux prints
of GHES into the kernel log is text, and read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from struct import Struct
from typing import Final
from uuid import UUID

from ringfence.errors import FormatError
from ringfence.record.binary import guids
from ringfence.record.binary.bcd_time import FirmwareTime
from ringfence.record.binary.cper_section import SEVERITIES, Section, evidence, fru_text
from ringfence.record.binary.layout import part, take
from ringfence.record.binary.pstore import PstoreText
from ringfence.record.evidence import Claim, ClaimKind, Evidence, Format, Origin, Unrecognised

_BLOCK = Struct("<5I")
_ENTRY = Struct("<16sIHBBI16s20s")
_TIMESTAMP_BYTES: Final = 8

_DEFINED_STATUS = 0x3FFFF
_VALID_FRU_ID, _VALID_FRU_TEXT, _VALID_TIMESTAMP = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusBlock:
    """A Generic Error Status Block's header.

    ``block_status`` counts the errors; Linux clears it once it has printed them (drivers/acpi/apei/bert.c), so a block
    is there if it has data, whatever its status says.
    """

    block_status: int
    raw_data_offset: int
    raw_data_length: int
    data_length: int
    severity: int

    @classmethod
    def unpack(cls, blob: bytes, at: int) -> StatusBlock:
        """The header at byte ``at``. Raises FormatError if it is not there or its lengths contradict each other."""
        status, raw_offset, raw_length, data_length, severity = take(_BLOCK, blob, at, "generic error status block")
        block = cls(
            block_status=status,
            raw_data_offset=raw_offset,
            raw_data_length=raw_length,
            data_length=data_length,
            severity=severity,
        )
        if data_length and data_length < _ENTRY.size:
            raise FormatError("generic error status block too short for an entry", offset=at)
        if raw_length and raw_offset < _BLOCK.size + data_length:
            raise FormatError("raw data of a generic error status block overlaps its entries", offset=at)
        return block

    @property
    def length(self) -> int:
        """All of the block: header, entries, raw data (Linux include/acpi/ghes.h, cper_estatus_len)."""
        if self.raw_data_length:
            return self.raw_data_offset + self.raw_data_length
        return _BLOCK.size + self.data_length

    @property
    def is_empty(self) -> bool:
        """Whether no error is recorded here (a severity of 3, "none", may still stand in it)."""
        return not self.block_status and not self.data_length and not self.raw_data_length


def detect(head: bytes, name: str) -> bool:
    """Whether a file called ``name`` that begins with ``head`` is BERT data.

    By its content if the first entry has a known section type; by its name (BERT) if the header is at least sound.
    """
    try:
        block = StatusBlock.unpack(head, 0)
    except FormatError:
        return False
    if block.block_status & ~_DEFINED_STATUS or block.severity >= len(SEVERITIES):
        return False
    if PurePath(name).name.upper().split(".")[0] == "BERT":
        return True
    kind = head[_BLOCK.size : _BLOCK.size + 16]
    return len(kind) == 16 and block.data_length > 0 and UUID(bytes_le=kind) in guids.KNOWN_SECTIONS


def read(blob: bytes, file: str, base_offset: int = 0) -> Iterator[Evidence | PstoreText]:
    """The evidence in every status block of a BERT region, in its order: one for each error section.

    A region without an error gives nothing. What cannot be read is Unrecognised; nothing is raised.
    """
    at = 0
    while any(blob[at : at + _BLOCK.size]):
        origin = Origin(file, offset=base_offset + at)
        try:
            block = StatusBlock.unpack(blob, at)
        except FormatError as error:
            yield Unrecognised(origin, blob[at:], str(error))
            return
        if not block.is_empty:
            yield from _entries(block, blob[at : at + block.length], origin)
        # A block is at least as long as its header, so this ends.
        at += block.length
    if any(blob[at:]):
        why = "bytes after the last generic error status block"
        yield Unrecognised(Origin(file, offset=base_offset + at), blob[at:], why)


def _entries(block: StatusBlock, region: bytes, start: Origin) -> Iterator[Evidence | PstoreText]:
    """The evidence in one block. ``region`` is as much of the block as there is."""
    head, entries = region[: _BLOCK.size], region[: _BLOCK.size + block.data_length]
    if block.raw_data_length:
        raw = head + region[block.raw_data_offset :]
        why = f"{block.raw_data_length} bytes of raw data in a generic error status block, in the maker's own format"
        yield Unrecognised(start, raw, why)
    elif not block.data_length:
        yield Unrecognised(start, head, "generic error status block without an entry")
    at = _BLOCK.size
    while at < _BLOCK.size + block.data_length:
        origin = Origin(start.file, offset=(start.offset or 0) + at)
        try:
            section, length = _entry(entries, at, block, origin)
        except FormatError as error:
            yield Unrecognised(origin, head + entries[at:], str(error))
            return
        yield from evidence(section)
        at += length


def _entry(entries: bytes, at: int, block: StatusBlock, origin: Origin) -> tuple[Section, int]:
    """The section in the generic error data entry at ``at``, and the entry's length.

    Revision 0x300 and later have a timestamp after the fields of 0x201. Raises FormatError if the entry does not end
    within the block.
    """
    what = "generic error data entry"
    kind, severity, revision, validation, flags, length, fru_id, text = take(_ENTRY, entries, at, what)
    header = _ENTRY.size
    time = None
    if revision >> 8 >= 3:
        stamp = part(entries, at + header, _TIMESTAMP_BYTES, what)
        header += _TIMESTAMP_BYTES
        time = FirmwareTime.unpack(stamp) if validation & _VALID_TIMESTAMP else None
    body = part(entries, at + header, length, "error section")
    claims: tuple[Claim, ...] = ()
    if block.severity != severity and block.severity < len(SEVERITIES):
        claims = (Claim(ClaimKind.FIRMWARE, f"severity of the whole event: {SEVERITIES[block.severity]}", origin),)
    section = Section(
        origin=origin,
        format=Format.GHES_BLOCK,
        raw=entries[: _BLOCK.size] + entries[at : at + header + length],
        type=UUID(bytes_le=kind),
        body=body,
        severity=severity,
        flags=flags,
        fru_id=UUID(bytes_le=fru_id) if validation & _VALID_FRU_ID else None,
        fru_text=fru_text(text) if validation & _VALID_FRU_TEXT else None,
        time=time,
        header_claims=claims,
    )
    return section, header + length
