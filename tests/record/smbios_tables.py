"""SMBIOS tables built by hand from the layouts of DSP0134 3.7: 6.1 (structure header, strings), 7.18 (type 17)."""

from __future__ import annotations

import struct

END_OF_TABLE = struct.pack("<BBH", 127, 4, 0xFEFF) + b"\0\0"


def structure(kind: int, handle: int, formatted: bytes, *strings: bytes) -> bytes:
    """A structure; ``formatted`` is its formatted area behind the header."""
    ends = b"".join(text + b"\0" for text in strings) + b"\0" if strings else b"\0\0"
    return struct.pack("<BBH", kind, 4 + len(formatted), handle) + formatted + ends


def memory_device(
    handle: int,
    device: bytes = b"",
    bank: bytes = b"",
    *,
    size: int = 0x4000,
    extended_size: int = 0,
    module: tuple[bytes, bytes, bytes] = (b"Samsung", b"12345678", b"M393A2K40CB2-CTD"),
    length: int = 0x22,
) -> bytes:
    """A type 17 structure, cut to ``length`` bytes: 12h to the locators, 15h in SMBIOS 2.1, 1Bh in 2.3, 22h in 2.7."""
    strings = [text for text in (device, bank, *module) if text]
    number = {text: at for at, text in reversed(list(enumerate(strings, 1)))}
    manufacturer, serial, part = (number.get(text, 0) for text in module)
    formatted = struct.pack(
        "<HHHHHBBBBBHHBBBBBIH",
        0x1000, 0xFFFE, 72, 64, size, 9, 0, number.get(device, 0), number.get(bank, 0), 0x1A, 0x2080, 2666,
        manufacturer, serial, 0, part, 2, extended_size, 2666,
    )  # fmt: skip
    return structure(17, handle, formatted[: length - 4], *strings)


def array(handle: int = 0x1000) -> bytes:
    """A Physical Memory Array (7.17)."""
    return structure(16, handle, struct.pack("<BBBIHHQ", 3, 3, 6, 0x80000000, 0xFFFE, 8, 0))


BOARD = (
    structure(0, 0, bytes(20), b"Maker", b"1.0")
    + array()
    + memory_device(0x1100, b"P1-DIMMA1", b"P0_Node0_Channel0_Dimm0")
    + memory_device(0x1101, b"P1-DIMMA2", b"P0_Node0_Channel0_Dimm1", size=0, module=(b"NO DIMM", b"", b""))
    + END_OF_TABLE
)
"""A board with two sockets, of which the second is empty."""


def _checked(entry: bytes, at: int) -> bytes:
    """The entry point with the checksum byte at ``at`` that makes its sum 0."""
    return entry[:at] + bytes([-sum(entry) & 0xFF]) + entry[at + 1 :]


def dump_64(table: bytes, address: int = 32) -> bytes:
    """A file as ``dmidecode --dump-bin`` writes it: the SMBIOS 3 entry point (5.2.2), at byte 32 the table."""
    entry = struct.pack("<5sBBBBBBxIQ", b"_SM3_", 0, 24, 3, 7, 0, 1, 0x10000, address)
    return _checked(entry, 5).ljust(32, b"\0") + table


def dump_32(table: bytes, address: int = 32) -> bytes:
    """The same with the entry point of SMBIOS 2 (5.2.1)."""
    inner = _checked(struct.pack("<5sBHIHB", b"_DMI_", 0, len(table), address, 4, 0x28), 5)
    outer = struct.pack("<4sBBBBHB5x", b"_SM_", 0, 31, 2, 8, 64, 0)
    return _checked(outer + inner, 4).ljust(32, b"\0") + table
