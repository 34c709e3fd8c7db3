"""The memory devices of an SMBIOS structure table: what the sockets of a board are called, and what sits in them.

Sources: DMTF DSP0134 (SMBIOS Reference Specification 3.7) 5.2 (entry points), 6.1 (structures and their strings), 7.18
(Memory Device, type 17). Linux gives the table as /sys/firmware/dmi/tables/DMI, the entry point beside it
(drivers/firmware/dmi_scan.c); ``dmidecode --dump-bin`` writes a file of the entry point and, at byte 32, the table.

A table is read whole or not at all. After the first structure that contradicts itself nothing says where the next one
begins, and a wrong name sends somebody to pull the wrong DIMM: then no name is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from ringfence.errors import FormatError
from ringfence.record.binary.layout import part, take

TABLE_FILE: Final = "/sys/firmware/dmi/tables/DMI"
"""Where Linux shows the table of the machine that it runs on, to root only; a guest's is what its hypervisor made."""
MAX_TABLE_BYTES: Final = 16 << 20
"""More is no table: real ones have kilobytes, the 32-bit entry point allows 64 KiB (DSP0134 5.2.1)."""

_HEADER = Struct("<BBH")
_DEVICE = Struct("<BBHHHHHHBBBB")
_MODULE = Struct("<BBxB")
_EXTENDED_SIZE = Struct("<I")

_MEMORY_DEVICE: Final = 17
_END_OF_TABLE: Final = 127
_MODULE_OFFSET: Final = 0x17
_EXTENDED_SIZE_OFFSET: Final = 0x1C

_SIZE_UNKNOWN: Final = 0xFFFF
_SIZE_EXTENDED: Final = 0x7FFF
_SIZE_IN_KIB: Final = 0x8000
_EXTENDED_SIZE_MASK: Final = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDevice:
    """A memory socket, or memory soldered to the board: SMBIOS type 17 (DSP0134 7.18).

    ``handle`` is the structure's own, ``array_handle`` that of its Physical Memory Array (type 16). ``device_locator``
    and ``bank_locator`` are the board maker's words, as a rule what is printed beside the socket. ``size_bytes`` is 0
    for a socket with nothing in it. None is "the table does not say".
    """

    handle: int
    array_handle: int
    device_locator: str | None = None
    bank_locator: str | None = None
    manufacturer: str | None = None
    serial_number: str | None = None
    part_number: str | None = None
    size_bytes: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the socket holds no module."""
        return self.size_bytes == 0


@dataclass(frozen=True, slots=True)
class _Structure:
    """One structure of the table: its formatted area, header included, and its strings, the first being number 1."""

    type: int
    offset: int
    formatted: bytes
    strings: tuple[bytes, ...]

    def string(self, number: int) -> str | None:
        """The string of a number. None for number 0, for one that is not there (some firmware), and for a blank."""
        if not 0 < number <= len(self.strings):
            return None
        # ASCII as a rule, UTF-8 in new tables; what is neither is shown escaped.
        return self.strings[number - 1].decode("utf-8", "backslashreplace").strip() or None


def read(table: bytes) -> tuple[MemoryDevice, ...]:
    """The memory devices of a structure table, empty sockets included, in the table's order.

    ``table`` is the bare table or a file that begins with its entry point (``_SM3_``, ``_SM_``, ``_DMI_``). Raises
    FormatError, and gives nothing, if a structure is not wholly inside the table or is too short for its type, if an
    entry point's checksum is wrong, if it is larger than ``MAX_TABLE_BYTES``, or if it holds no structure at all.
    """
    if len(table) > MAX_TABLE_BYTES:
        raise FormatError(f"an SMBIOS table has no {len(table)} bytes", offset=MAX_TABLE_BYTES)
    body, base = _body(table)
    structures = tuple(_structures(body, base))
    if not structures:
        raise FormatError("an SMBIOS table without a structure", offset=base)
    return tuple(_device(structure) for structure in structures if structure.type == _MEMORY_DEVICE)


# --- entry points ----------------------------------------------------------------------------------------------------

_SM3 = Struct("<5sBBBBBBxIQ")
_DMI = Struct("<5sBHIHB")
_SM_DMI_OFFSET: Final = 16


def _body(blob: bytes) -> tuple[bytes, int]:
    """The structure table itself, and the byte at which it begins in the blob."""
    if blob.startswith(b"_SM3_"):
        values = take(_SM3, blob, 0, "SMBIOS 3 entry point")
        length, most, address = values[2], values[-2], values[-1]
        _check(blob, 0, max(length, _SM3.size))
        # DSP0134 5.2.2: the entry point gives the most that the table can have; type 127 ends it.
        return blob[_inside(address, blob) :][:most], address
    if blob.startswith((b"_SM_", b"_DMI_")):
        at = _SM_DMI_OFFSET if blob.startswith(b"_SM_") else 0
        _, _, length, address, _, _ = take(_DMI, blob, at, "SMBIOS entry point")
        if blob[at : at + 5] != b"_DMI_":
            raise FormatError("an SMBIOS entry point without its intermediate anchor", offset=at)
        # The checksum of _SM_ itself is not looked at: dmidecode rewrites the address, and corrects that of _DMI_.
        _check(blob, at, _DMI.size)
        return part(blob, _inside(address, blob), length, "SMBIOS structure table"), address
    return blob, 0


def _check(blob: bytes, at: int, length: int) -> None:
    """All bytes of an entry point add up to 0 (modulo 256). Raises FormatError."""
    if sum(part(blob, at, length, "SMBIOS entry point")) & 0xFF:
        raise FormatError("the checksum of an SMBIOS entry point is wrong", offset=at)


def _inside(address: int, blob: bytes) -> int:
    """The table's place in the file: a real entry point gives a physical address, which is no place in a file."""
    if address >= len(blob):
        raise FormatError(f"an SMBIOS entry point alone: its table is at {address:#x}, outside", offset=len(blob))
    return address


# --- structures ------------------------------------------------------------------------------------------------------


def _structures(body: bytes, base: int) -> Iterator[_Structure]:
    """The structures up to the end of table (type 127), or, in old tables without one, to the end of the bytes.

    Every step goes forward by six bytes at least, so a walk ends.
    """
    at = 0
    while at + _HEADER.size <= len(body):
        kind, length, _ = take(_HEADER, body, at, "SMBIOS structure header")
        if length < _HEADER.size:
            raise FormatError(f"an SMBIOS structure of type {kind} with {length} bytes", offset=base + at)
        if at + length > len(body):
            raise FormatError(f"an SMBIOS structure of type {kind} that is cut", offset=base + at)
        if kind == _END_OF_TABLE:
            yield _Structure(kind, base + at, body[at : at + length], ())
            return
        strings = at + length
        # DSP0134 6.1.3: each string ends with a NUL, the set with one more; without strings there are two NULs.
        end = body.find(b"\0\0", strings)
        if end < 0:
            raise FormatError(f"the strings of an SMBIOS structure of type {kind} have no end", offset=base + strings)
        held = body[strings:end]
        if held.startswith(b"\0"):
            raise FormatError(f"an empty string in an SMBIOS structure of type {kind}", offset=base + strings)
        yield _Structure(kind, base + at, body[at : at + length], tuple(held.split(b"\0")) if held else ())
        at = end + 2


def _device(structure: _Structure) -> MemoryDevice:
    """A Memory Device. Raises FormatError if it ends before its locators, which SMBIOS 2.1 already had."""
    formatted = structure.formatted
    if len(formatted) < _DEVICE.size:
        raise FormatError(f"an SMBIOS memory device of {len(formatted)} bytes", offset=structure.offset)
    _, _, handle, array, _, _, _, size, _, _, device, bank = take(_DEVICE, formatted, 0, "SMBIOS memory device")
    manufacturer = serial = part_number = 0
    if len(formatted) >= _MODULE_OFFSET + _MODULE.size:
        manufacturer, serial, part_number = take(_MODULE, formatted, _MODULE_OFFSET, "SMBIOS memory device")
    return MemoryDevice(
        handle=handle,
        array_handle=array,
        device_locator=structure.string(device),
        bank_locator=structure.string(bank),
        manufacturer=structure.string(manufacturer),
        serial_number=structure.string(serial),
        part_number=structure.string(part_number),
        size_bytes=_size_bytes(size, formatted),
    )


def _size_bytes(size: int, formatted: bytes) -> int | None:
    """DSP0134 7.18.4 and 7.18.5: in KiB or MiB by bit 15; from 32 GiB - 1 MiB on, in MiB, in the Extended Size."""
    if size == _SIZE_UNKNOWN:
        return None
    if size == _SIZE_EXTENDED:
        if len(formatted) < _EXTENDED_SIZE_OFFSET + _EXTENDED_SIZE.size:
            return None
        (extended,) = take(_EXTENDED_SIZE, formatted, _EXTENDED_SIZE_OFFSET, "SMBIOS memory device")
        return (int(extended) & _EXTENDED_SIZE_MASK) << 20
    return (size & ~_SIZE_IN_KIB) << 10 if size & _SIZE_IN_KIB else size << 20
