"""Reading an SMBIOS table: what a board calls its memory sockets. The tables are built from DSP0134 3.7's layouts."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.errors import FormatError
from ringfence.record.binary.smbios import MAX_TABLE_BYTES, MemoryDevice, read
from tests.record.smbios_tables import BOARD, END_OF_TABLE, array, dump_32, dump_64, memory_device, structure

POPULATED = MemoryDevice(
    handle=0x1100,
    array_handle=0x1000,
    device_locator="P1-DIMMA1",
    bank_locator="P0_Node0_Channel0_Dimm0",
    manufacturer="Samsung",
    serial_number="12345678",
    part_number="M393A2K40CB2-CTD",
    size_bytes=16 << 30,
)
EMPTY = MemoryDevice(
    handle=0x1101,
    array_handle=0x1000,
    device_locator="P1-DIMMA2",
    bank_locator="P0_Node0_Channel0_Dimm1",
    manufacturer="NO DIMM",
    size_bytes=0,
)


def test_sockets_come_in_the_tables_order_and_an_empty_one_is_told_from_a_full_one() -> None:
    assert read(BOARD) == (POPULATED, EMPTY)
    assert [device.is_empty for device in read(BOARD)] == [False, True]


def test_a_structure_as_qemu_builds_it_is_read() -> None:
    # By hand from QEMU hw/smbios/smbios.c, smbios_build_type_17_table, for -m 2G.
    qemu = bytes.fromhex(
        "1128001100 10feffffffffff 0008 09 00 01 00 07 0200 0000 02 00 00 00 00 00000000 0000 0000 0000 0000"
    )
    table = qemu + b"DIMM 0\0QEMU\0\0" + END_OF_TABLE
    assert len(qemu) == qemu[1] == 0x28
    assert read(table) == (
        MemoryDevice(
            handle=0x1100, array_handle=0x1000, device_locator="DIMM 0", manufacturer="QEMU", size_bytes=2 << 30
        ),
    )


@pytest.mark.parametrize(
    ("size", "extended", "size_bytes"),
    [
        (0, 0, 0),  # nothing installed
        (0xFFFF, 0, None),  # unknown
        (0x0001, 0, 1 << 20),  # MiB
        (0x7FFE, 0, 0x7FFE << 20),
        (0x8040, 0, 64 << 10),  # bit 15: KiB
        (0xFFFE, 0, 0x7FFE << 10),
        (0x7FFF, 0x8000, 32 << 30),  # in the Extended Size
        (0x7FFF, 0x8002_0000, 128 << 30),  # whose bit 31 is reserved
    ],
)
def test_the_size_is_read_in_each_of_its_units(size: int, extended: int, size_bytes: int | None) -> None:
    (device,) = read(memory_device(1, b"A", size=size, extended_size=extended) + END_OF_TABLE)
    assert device.size_bytes == size_bytes


@pytest.mark.parametrize("length", range(0x12, 0x23))
def test_a_field_beyond_the_structures_length_is_not_read(length: int) -> None:
    (device,) = read(memory_device(1, b"A", b"B", size=0x7FFF, extended_size=0x10000, length=length) + END_OF_TABLE)
    assert (device.device_locator, device.bank_locator) == ("A", "B")
    assert (device.serial_number is None) == (length < 0x1B)
    assert device.size_bytes == (64 << 30 if length >= 0x20 else None)


def test_a_memory_device_without_its_locators_is_refused() -> None:
    with pytest.raises(FormatError, match="memory device of 17 bytes"):
        read(memory_device(1, b"A", length=0x11) + END_OF_TABLE)


def test_a_string_that_is_not_there_or_blank_is_none() -> None:
    formatted = struct.pack("<HHHHHBBBB", 0, 0, 0, 0, 1, 0, 0, 9, 1)
    (device,) = read(structure(17, 5, formatted, b"   "))
    assert (device.device_locator, device.bank_locator) == (None, None)


def test_what_is_no_text_in_a_string_is_shown_escaped() -> None:
    (device,) = read(memory_device(1, b"DIMM \xff"))
    assert device.device_locator == "DIMM \\xff"


def test_what_stands_behind_the_end_of_the_table_is_not_read() -> None:
    assert read(BOARD + b"\x11\xff rubbish") == (POPULATED, EMPTY)


def test_an_old_table_may_end_without_an_end() -> None:
    assert read(BOARD.removesuffix(END_OF_TABLE)) == (POPULATED, EMPTY)


@pytest.mark.parametrize("dump", [dump_64, dump_32])
def test_a_dump_that_begins_with_its_entry_point_is_the_same_table(dump: Callable[[bytes], bytes]) -> None:
    assert read(dump(BOARD)) == (POPULATED, EMPTY)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (b"", "without a structure"),
        (b"\x11\x28\x00", "without a structure"),
        (b"\x11\x03\x00\x00\x00\x00", "with 3 bytes"),
        (b"\x11\x00\x00\x00" * 1000, "with 0 bytes"),
        (b"\x11\xff\x00\x00\x00\x00", "is cut"),
        (memory_device(1, b"A")[:-1], "have no end"),
        (array()[:-2] + b"\0A\0\0", "empty string"),
        (b"\x7f\x40\x00\x00\x00\x00", "is cut"),
        (bytes(MAX_TABLE_BYTES + 1), "has no 16777217 bytes"),
        (dump_64(BOARD)[:20], "entry point needs 24 bytes"),
        (dump_64(BOARD, address=0x7A5F_0000), "its table is at 0x7a5f0000"),
        (dump_64(BOARD).replace(b"_SM3_\0", b"_SM3_\1").replace(b"\x18\x03\x07", b"\x18\x03\x08"), "checksum"),
        (dump_32(BOARD).replace(b"_DMI_", b"_DMJ_"), "intermediate anchor"),
        (dump_32(BOARD)[:-1], "structure table needs"),
        (dump_32(BOARD).replace(b"\x28", b"\x29", 1), "checksum"),
    ],
)
def test_a_broken_table_is_refused_with_its_reason(table: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        read(table)


def test_nothing_of_a_table_is_given_when_a_later_structure_is_broken() -> None:
    with pytest.raises(FormatError):
        read(BOARD.removesuffix(END_OF_TABLE) + b"\x11\x02\x00\x00")


# --- properties ------------------------------------------------------------------------------------------------------


def devices_or_none(table: bytes) -> tuple[MemoryDevice, ...] | None:
    """What is read; None for a FormatError. Anything else that is raised fails the test."""
    try:
        return read(table)
    except FormatError:
        return None


FORMS = (BOARD, dump_64(BOARD), dump_32(BOARD))


@pytest.mark.parametrize("blob", FORMS)
def test_every_prefix_is_refused_or_gives_the_devices_that_it_holds_whole(blob: bytes) -> None:
    whole = read(blob)
    for end in range(len(blob)):
        found = devices_or_none(blob[:end])
        assert found is None or found == whole[: len(found)]


@pytest.mark.parametrize("blob", FORMS)
def test_no_flipped_bit_raises_anything_but_a_format_error(blob: bytes) -> None:
    for bit in range(len(blob) * 8):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        devices_or_none(bytes(changed))


@given(st.sampled_from((b"", b"_SM3_", b"_SM_", b"_DMI_", BOARD[:-6])), st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_format_error(head: bytes, rest: bytes) -> None:
    devices_or_none(head + rest)


_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
_DEVICES = st.lists(st.tuples(st.integers(0, 0xFFFF), _TEXT, _TEXT, st.integers(0, 0x7FFE)), max_size=8)


@given(_DEVICES)
def test_what_a_table_is_built_of_is_read_from_it(built: list[tuple[int, str, str, int]]) -> None:
    table = b"".join(
        memory_device(handle, device.encode(), bank.encode(), size=size, module=(b"", b"", b""))
        for handle, device, bank, size in built
    )
    assert read(table + END_OF_TABLE) == tuple(
        MemoryDevice(
            handle=handle,
            array_handle=0x1000,
            device_locator=device or None,
            bank_locator=bank or None,
            size_bytes=size << 20,
        )
        for handle, device, bank, size in built
    )
