"""Memory error sections of firmware error records: the platform memory section, its second form, and Linux's digest.

Sources: UEFI 2.10 N.2.5 (Memory Error Section), N.2.6 (Memory Error Section 2), N.2.13 (Error Status); Linux
include/linux/cper.h (``cper_mem_err_compact``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntFlag
from struct import Struct
from typing import Final

from ringfence.record.binary.layout import give, take
from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Location, MemoryReport

Claims = tuple[tuple[ClaimKind, str], ...]

ERROR_TYPES: Final = (
    "unknown",
    "no error",
    "single-bit ECC",
    "multi-bit ECC",
    "single-symbol ChipKill ECC",
    "multi-symbol ChipKill ECC",
    "master abort",
    "target abort",
    "parity error",
    "watchdog timeout",
    "invalid address",
    "mirror broken",
    "memory sparing",
    "scrub corrected error",
    "scrub uncorrected error",
    "physical memory map-out event",
)
"""Memory Error Type, by its number (UEFI N.2.5)."""

_STATUS_TYPES: Final = {
    1: "internal error of the component",
    4: "storage error in memory (DRAM)",
    5: "storage error in a TLB",
    6: "storage error in a cache",
    7: "error in a functional unit",
    8: "failed self test",
    9: "queue overflow or underflow",
    16: "error on the bus",
    17: "virtual address not found on the I/O TLB",
    18: "improper access",
    19: "access to an unmapped address",
    20: "loss of lockstep",
    21: "response without a request",
    22: "bus parity error",
    23: "protocol error",
    24: "path error",
    25: "bus timeout",
    26: "poisoned data was read",
}
_STATUS_FLAGS: Final = (
    (16, "address signals"),
    (17, "control signals"),
    (18, "data signals"),
    (19, "detected by the responder"),
    (20, "detected by the requestor"),
    (21, "first error"),
    (22, "further errors not logged"),
)

_SECTION = Struct("<4Q8H3QBBHHH")
_SECTION_OLD = Struct("<4Q8H3QB")
_SECTION_2 = Struct("<4Q4H5IBBBx3QII")
_COMPACT = Struct("<Q8H3Q3HB")
_COMPACT_OLD = Struct("<Q8H3Q3H")


class Valid(IntFlag):
    """Validation bits of the Memory Error Section (UEFI N.2.5)."""

    ERROR_STATUS = 1 << 0
    PHYSICAL_ADDRESS = 1 << 1
    PHYSICAL_ADDRESS_MASK = 1 << 2
    NODE = 1 << 3
    CARD = 1 << 4
    MODULE = 1 << 5
    BANK = 1 << 6
    DEVICE = 1 << 7
    ROW = 1 << 8
    COLUMN = 1 << 9
    BIT_POSITION = 1 << 10
    REQUESTOR = 1 << 11
    RESPONDER = 1 << 12
    TARGET = 1 << 13
    ERROR_TYPE = 1 << 14
    RANK = 1 << 15
    CARD_HANDLE = 1 << 16
    MODULE_HANDLE = 1 << 17
    ROW_EXTENSION = 1 << 18
    BANK_GROUP = 1 << 19
    BANK_ADDRESS = 1 << 20
    CHIP_ID = 1 << 21


class Valid2(IntFlag):
    """Validation bits of the Memory Error Section 2 (UEFI N.2.6)."""

    ERROR_STATUS = 1 << 0
    PHYSICAL_ADDRESS = 1 << 1
    PHYSICAL_ADDRESS_MASK = 1 << 2
    NODE = 1 << 3
    CARD = 1 << 4
    MODULE = 1 << 5
    BANK = 1 << 6
    DEVICE = 1 << 7
    ROW = 1 << 8
    COLUMN = 1 << 9
    RANK = 1 << 10
    BIT_POSITION = 1 << 11
    CHIP_ID = 1 << 12
    ERROR_TYPE = 1 << 13
    STATUS = 1 << 14
    REQUESTOR = 1 << 15
    RESPONDER = 1 << 16
    TARGET = 1 << 17
    CARD_HANDLE = 1 << 18
    MODULE_HANDLE = 1 << 19
    BANK_GROUP = 1 << 20
    BANK_ADDRESS = 1 << 21


_TO_CHIP_ID_SHIFT = 5
_ROW_EXTENSION_MASK = 3
_BEYOND_OLD_SECTION = ~(Valid.RANK - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySection:
    """What either form of the section says: a field that is not flagged as valid is None.

    ``bank`` is the bank address alone where the section gives group and address apart. ``corrected`` is the Status
    byte of the second form (0 corrected, 1 uncorrected). Handles are those of SMBIOS types 16 and 17.
    """

    error_status: int | None = None
    physical_address: int | None = None
    physical_address_mask: int | None = None
    node: int | None = None
    card: int | None = None
    module: int | None = None
    bank_group: int | None = None
    bank: int | None = None
    device: int | None = None
    row: int | None = None
    column: int | None = None
    bit_position: int | None = None
    requestor: int | None = None
    responder: int | None = None
    target: int | None = None
    error_type: int | None = None
    rank: int | None = None
    card_handle: int | None = None
    module_handle: int | None = None
    chip_id: int | None = None
    status: int | None = None

    def report(self, severity: ClaimedSeverity | None, label: str | None) -> MemoryReport:
        """The memory error that the section describes."""
        error = self.error_type
        return MemoryReport(
            severity=severity,
            error=None if error is None else _name_of(error),
            location=Location(
                node=self.node,
                card=self.card,
                module=self.module,
                rank=self.rank,
                bank_group=self.bank_group,
                bank=self.bank,
                row=self.row,
                column=self.column,
                device=self.device,
                label=label,
            ),
            physical_address=self.physical_address,
            physical_address_mask=self.physical_address_mask,
            module_handle=self.module_handle,
        )

    def claims(self) -> Claims:
        """What the section says beyond a MemoryReport's fields."""
        numbers = (
            ("bit position", self.bit_position, "d"),
            ("chip id", self.chip_id, "d"),
            ("requestor id", self.requestor, "#x"),
            ("responder id", self.responder, "#x"),
            ("target id", self.target, "#x"),
            ("SMBIOS card handle", self.card_handle, "#x"),
            ("SMBIOS module handle", self.module_handle, "#x"),
        )
        texts = [f"{name} {value:{form}}" for name, value, form in numbers if value is not None]
        if self.status is not None:
            texts.append({0: "status corrected", 1: "status uncorrected"}.get(self.status, f"status {self.status}"))
        if self.error_status is not None:
            texts.append(error_status_text(self.error_status))
        return tuple((ClaimKind.FIRMWARE, text) for text in texts)


def of_report(report: MemoryReport) -> MemorySection:
    """The section that says what ``report`` says, its severity and label (which the descriptor carries) left out.

    Raises ValueError for anything that a memory section has no field for.
    """
    location = report.location
    taken = {"node", "card", "module", "rank", "bank_group", "bank", "row", "column", "device", "label"}
    homeless = [
        item.name for item in fields(location) if item.name not in taken and getattr(location, item.name) is not None
    ]
    homeless += [name for name in ("grain_bytes", "page_frame") if getattr(report, name) is not None]
    if homeless:
        raise ValueError(f"a memory error section has no field for {', '.join(homeless)}")
    if report.error is not None and report.error not in ERROR_TYPES:
        raise ValueError(f"a memory error section has no error type {report.error!r}")
    return MemorySection(
        physical_address=report.physical_address,
        physical_address_mask=report.physical_address_mask,
        node=location.node,
        card=location.card,
        module=location.module,
        bank_group=location.bank_group,
        bank=location.bank,
        device=location.device,
        row=location.row,
        column=location.column,
        rank=location.rank,
        error_type=None if report.error is None else ERROR_TYPES.index(report.error),
        module_handle=report.module_handle,
    )


def _name_of(error_type: int) -> str:
    return ERROR_TYPES[error_type] if error_type < len(ERROR_TYPES) else f"error type {error_type}"


def error_status_text(error_status: int) -> str:
    """The Error Status field in words (UEFI N.2.13): the kind of error, the part of the transaction, who saw it."""
    kind = error_status >> 8 & 0xFF
    words = [_STATUS_TYPES.get(kind, f"type {kind}")]
    words += [name for bit, name in _STATUS_FLAGS if error_status >> bit & 1]
    return f"error status {error_status:#x}: {', '.join(words)}"


def unpack(body: bytes) -> tuple[MemorySection, tuple[str, ...]]:
    """A Memory Error Section, and what had to be assumed. Raises FormatError below the 73 bytes of UEFI 2.1."""
    if len(body) >= _SECTION.size:
        values = take(_SECTION, body, 0, "memory error section")
        return _of_first_form(*values), ()
    old = take(_SECTION_OLD, body, 0, "memory error section")
    validation = old[0]
    section = _of_first_form(validation & ~_BEYOND_OLD_SECTION, *old[1:], 0, 0, 0, 0)
    if validation & _BEYOND_OLD_SECTION:
        return section, ("validation bits of fields beyond the section's 73 bytes are not believed",)
    return section, ()


def unpack_compact(body: bytes) -> MemorySection:
    """Linux's digest of a memory error section, as the trace event ras:extlog_mem_event carries it.

    The last byte was added in 5.15 or so; without it the row extension and the chip id are not there.
    Raises FormatError if it is shorter than both forms.
    """
    if len(body) >= _COMPACT.size:
        validation, *rest = take(_COMPACT, body, 0, "cper_mem_err_compact")
    else:
        validation, *rest = (*take(_COMPACT_OLD, body, 0, "cper_mem_err_compact"), 0)
        validation &= ~(Valid.ROW_EXTENSION | Valid.CHIP_ID)
    *numbers, rank, card_handle, module_handle, extended = rest
    left_out = Valid.ERROR_STATUS | Valid.PHYSICAL_ADDRESS | Valid.PHYSICAL_ADDRESS_MASK | Valid.ERROR_TYPE
    return _of_first_form(
        validation & ~left_out, 0, 0, 0, *numbers, 0, extended, rank, card_handle, module_handle
    )  # fmt: skip


def _of_first_form(validation: int, *values: int) -> MemorySection:
    (
        error_status, address, mask, node, card, module, bank, device, row, column, bit_position, requestor, responder,
        target, error_type, extended, rank, card_handle, module_handle,
    ) = values  # fmt: skip

    def valid(bit: Valid, value: int) -> int | None:
        return value if validation & bit else None

    has_row = validation & (Valid.ROW | Valid.ROW_EXTENSION)
    extension = extended & _ROW_EXTENSION_MASK if validation & Valid.ROW_EXTENSION else 0
    is_split = validation & (Valid.BANK_GROUP | Valid.BANK_ADDRESS)
    return MemorySection(
        error_status=valid(Valid.ERROR_STATUS, error_status),
        physical_address=valid(Valid.PHYSICAL_ADDRESS, address),
        physical_address_mask=valid(Valid.PHYSICAL_ADDRESS_MASK, mask),
        node=valid(Valid.NODE, node),
        card=valid(Valid.CARD, card),
        module=valid(Valid.MODULE, module),
        bank_group=valid(Valid.BANK_GROUP, bank >> 8),
        bank=valid(Valid.BANK_ADDRESS, bank & 0xFF) if is_split else valid(Valid.BANK, bank),
        device=valid(Valid.DEVICE, device),
        row=extension << 16 | row if has_row else None,
        column=valid(Valid.COLUMN, column),
        bit_position=valid(Valid.BIT_POSITION, bit_position),
        requestor=valid(Valid.REQUESTOR, requestor),
        responder=valid(Valid.RESPONDER, responder),
        target=valid(Valid.TARGET, target),
        error_type=valid(Valid.ERROR_TYPE, error_type),
        rank=valid(Valid.RANK, rank),
        card_handle=valid(Valid.CARD_HANDLE, card_handle),
        module_handle=valid(Valid.MODULE_HANDLE, module_handle),
        chip_id=valid(Valid.CHIP_ID, extended >> _TO_CHIP_ID_SHIFT),
    )


def pack(section: MemorySection) -> bytes:
    """The section in the first form, 80 bytes.

    Raises ValueError if a number needs the wider fields of the second form, or the Status byte that only it has.
    """
    if section.status is not None:
        raise ValueError("only the second form of the memory error section has a Status byte")
    row = section.row or 0
    has_extension = row > 0xFFFF
    validation = _validation(section, Valid)
    if section.bank_group is None and section.bank is not None:
        validation = validation & ~Valid.BANK_ADDRESS | Valid.BANK
    if has_extension:
        validation |= Valid.ROW_EXTENSION
    if row >> 18 or (section.chip_id or 0) >> 3:
        raise ValueError("row or chip id does not fit the first form of the memory error section")
    extended = (section.chip_id or 0) << _TO_CHIP_ID_SHIFT | row >> 16
    return give(
        _SECTION, "a memory error section", validation, section.error_status or 0, section.physical_address or 0,
        section.physical_address_mask or 0, section.node or 0, section.card or 0, section.module or 0, _bank(section),
        section.device or 0, row & 0xFFFF, section.column or 0, section.bit_position or 0, section.requestor or 0,
        section.responder or 0, section.target or 0, section.error_type or 0, extended, section.rank or 0,
        section.card_handle or 0, section.module_handle or 0,
    )  # fmt: skip


def unpack_2(body: bytes) -> MemorySection:
    """A Memory Error Section 2. Raises FormatError below its 96 bytes."""
    (
        validation, error_status, address, mask, node, card, module, bank, device, row, column, rank, bit_position,
        chip_id, error_type, status, requestor, responder, target, card_handle, module_handle,
    ) = take(_SECTION_2, body, 0, "memory error section 2")  # fmt: skip

    def valid(bit: Valid2, value: int) -> int | None:
        return value if validation & bit else None

    is_split = validation & (Valid2.BANK_GROUP | Valid2.BANK_ADDRESS)
    return MemorySection(
        error_status=valid(Valid2.ERROR_STATUS, error_status),
        physical_address=valid(Valid2.PHYSICAL_ADDRESS, address),
        physical_address_mask=valid(Valid2.PHYSICAL_ADDRESS_MASK, mask),
        node=valid(Valid2.NODE, node),
        card=valid(Valid2.CARD, card),
        module=valid(Valid2.MODULE, module),
        bank_group=valid(Valid2.BANK_GROUP, bank >> 8),
        bank=valid(Valid2.BANK_ADDRESS, bank & 0xFF) if is_split else valid(Valid2.BANK, bank),
        device=valid(Valid2.DEVICE, device),
        row=valid(Valid2.ROW, row),
        column=valid(Valid2.COLUMN, column),
        bit_position=valid(Valid2.BIT_POSITION, bit_position),
        requestor=valid(Valid2.REQUESTOR, requestor),
        responder=valid(Valid2.RESPONDER, responder),
        target=valid(Valid2.TARGET, target),
        error_type=valid(Valid2.ERROR_TYPE, error_type),
        rank=valid(Valid2.RANK, rank),
        card_handle=valid(Valid2.CARD_HANDLE, card_handle),
        module_handle=valid(Valid2.MODULE_HANDLE, module_handle),
        chip_id=valid(Valid2.CHIP_ID, chip_id),
        status=valid(Valid2.STATUS, status),
    )


def pack_2(section: MemorySection) -> bytes:
    """The section in the second form, 96 bytes. Raises ValueError if a number does not fit even that."""
    validation = _validation(section, Valid2)
    if section.bank_group is None and section.bank is not None:
        validation = validation & ~Valid2.BANK_ADDRESS | Valid2.BANK
    return give(
        _SECTION_2, "a memory error section 2", validation, section.error_status or 0, section.physical_address or 0,
        section.physical_address_mask or 0, section.node or 0, section.card or 0, section.module or 0, _bank(section),
        section.device or 0, section.row or 0, section.column or 0, section.rank or 0, section.bit_position or 0,
        section.chip_id or 0, section.error_type or 0, section.status or 0, section.requestor or 0,
        section.responder or 0, section.target or 0, section.card_handle or 0, section.module_handle or 0,
    )  # fmt: skip


def _validation(section: MemorySection, bits: type[Valid] | type[Valid2]) -> int:
    """The validation bits of the fields that are set, a bank as a bank address."""
    names = {"bank": "BANK_ADDRESS"}
    result = 0
    for item in fields(section):
        if getattr(section, item.name) is not None:
            result |= bits[names.get(item.name, item.name.upper())]
    return result


def _bank(section: MemorySection) -> int:
    if section.bank_group is None:
        return section.bank or 0
    if (section.bank or 0) > 0xFF:
        raise ValueError("beside a bank group, a bank address has 8 bits")
    return section.bank_group << 8 | (section.bank or 0)
