"""Reading and writing Linux's ``struct mce``."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.errors import FormatError
from ringfence.record.binary import cpuvendor, struct_mce
from ringfence.record.binary.struct_mce import LENGTHS, StructMce
from ringfence.record.evidence import (
    Claim,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

# An injected panic on family 19h (mail of B. Petkov to LKML, 2022, "panic stack dump"): the values of its printk.
# Packed here by hand from Linux arch/x86/include/uapi/asm/mce.h, not with the code under test.
PETKOV = struct.pack(
    "<7Q4BI4BIIIQQQQIIQ",
    0xFE000010000B0C0F, 0xCAFEBEEF, 0xE1101ADD1E550012, 6, 0xFFFFFFFF8103BBCB, 0xC83826D14, 1667244167,
    2, 0, 0, 0, 0xA00F11,
    0x10, 4, 2, 1,
    2, 0, 2,
    0x11C, 0, 0, 0, 0x1000065, 0, 0,
)  # fmt: skip

# A record as Linux's Xen driver gives it through /dev/mcelog, 112 bytes ("<7QBBHIBBBBIIIQQQQ"): a corrected error that
# QEMU injected as 0x9c00004000010090 into a Nehalem model under Xen 4.20, which writes Intel as 1.
FROM_XEN = struct.pack(
    "<7QBBHIBBBBIIIQQQQ",
    0x9C00004000010090, 0x86, 0x12345000, 0, 0, 0, 1763800000,
    1, 0, 0, 0x106A3,
    0, 4, 0, 1,
    0, 0, 0,
    0x100010A, 0, 0, 0,
)  # fmt: skip


def read(blob: bytes, base_offset: int = 0) -> list[Evidence]:
    return list(struct_mce.read(blob, "mcelog.bin", base_offset))


def only_record(blob: bytes) -> Record:
    (record,) = read(blob)
    assert isinstance(record, Record)
    return record


def test_a_fatal_record_of_a_current_kernel_is_read_to_the_last_field() -> None:
    assert only_record(PETKOV) == Record(
        origin=Origin("mcelog.bin", offset=0),
        format=Format.STRUCT_MCE,
        raw=PETKOV,
        registers=Registers(
            status=0xFE000010000B0C0F,
            misc=0xCAFEBEEF,
            addr=0xE1101ADD1E550012,
            mcg_status=6,
            mcg_cap=0x11C,
            tsc=0xC83826D14,
            ip=0xFFFFFFFF8103BBCB,
            cs=0x10,
        ),
        bank=4,
        cpu=2,
        socket=0,
        apicid=2,
        vendor=Vendor.AMD,
        cpuid=0xA00F11,
        microcode=0x1000065,
        time=1667244167.0,
        delivery=Delivery.MACHINE_CHECK,
    )


def test_a_record_that_xen_vendored_differently_is_intel_with_the_assumption_said() -> None:
    record = only_record(FROM_XEN)
    assert record.vendor is Vendor.INTEL
    assert record.assumptions == ("cpuvendor 1 is read as Intel (family 6): Xen 4.12 to 4.21 wrote it so",)
    assert record.delivery is Delivery.POLLED
    assert record.registers.mcg_cap == 0x100010A


@pytest.mark.parametrize(
    ("number", "cpuid", "vendor"),
    [
        (0, 0x106A3, Vendor.INTEL),
        (2, 0xA00F11, Vendor.AMD),
        (9, 0x900F01, Vendor.HYGON),
        (10, 0x206B0, Vendor.ZHAOXIN),
        (5, 0x6F2, Vendor.CENTAUR),
        (1, 0x800F12, Vendor.AMD),
        (1, 0x306F2, Vendor.INTEL),
        (1, 0xF4A, None),  # family Fh: a Pentium 4 or a K8
        (1, None, None),
        (16, 0x900F01, Vendor.HYGON),
        (8, 0x206B0, Vendor.ZHAOXIN),
        (255, 0x306F2, None),
        (7, 0x306F2, None),  # Transmeta
    ],
)
def test_vendor_numbers_of_linux_and_of_every_xen_are_told(
    number: int, cpuid: int | None, vendor: Vendor | None
) -> None:
    assert cpuvendor.identify(number, cpuid)[0] is vendor


@given(st.integers(0, 255), st.integers(0, 0xFFFFFFFF))
def test_a_number_that_is_not_linuxs_is_never_read_without_saying_so(number: int, cpuid: int) -> None:
    vendor, assumption = cpuvendor.identify(number, cpuid)
    assert (assumption is None) == (vendor is None or number in LINUX_VENDORS)


@pytest.mark.parametrize("length", sorted(LENGTHS))
def test_each_length_has_the_fields_of_its_age_and_none_of_a_later_one(length: int) -> None:
    fields = {
        "socketid": (1, 88), "apicid": (2, 88), "mcgcap": (3, 88), "synd": (4, 104), "ipid": (5, 104),
        "ppin": (6, 112), "microcode": (7, 116),
    }  # fmt: skip
    blob = PETKOV[:72] + struct.pack("<IIQQQQIIQ", 1, 2, 3, 4, 5, 6, 7, 0, 0)
    mce = StructMce.unpack(blob[:length])
    for name, (value, needed) in fields.items():
        assert getattr(mce, name) == (value if length >= needed else getattr(StructMce(), name)), name


@pytest.mark.parametrize("length", sorted(LENGTHS))
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_record_length_of_a_bare_dump_is_found(length: int, count: int) -> None:
    dump = b"".join((PETKOV + bytes(8))[:length] for _ in range(count))
    assert struct_mce.record_length(dump) == length
    assert struct_mce.detect(dump, len(dump))


def test_a_dump_cut_in_its_third_record_gives_two_and_shows_the_rest() -> None:
    evidence = read((FROM_XEN * 3)[:-10], base_offset=1000)
    first, second, rest = evidence
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (first.origin.offset, second.origin.offset) == (1000, 1112)
    assert rest == Unrecognised(
        Origin("mcelog.bin", offset=1224), FROM_XEN[:-10], "bytes after the last whole struct mce"
    )


def test_the_kernels_log_buffer_is_read_up_to_its_next_index() -> None:
    header = struct.pack("<12s4I4x", b"MACHINECHECK", 32, 2, 0, 112)
    buffer = header + FROM_XEN * 2 + bytes(112 * 30)
    assert struct_mce.detect(buffer, len(buffer))
    assert [record.origin.offset for record in read(buffer)] == [32, 144]


def test_a_log_buffer_with_an_impossible_record_length_is_shown_not_read() -> None:
    (evidence,) = read(struct.pack("<12s4I4x", b"MACHINECHECK", 32, 2, 0, 113) + FROM_XEN)
    assert isinstance(evidence, Unrecognised)


def test_the_72_byte_record_says_nothing_of_vendor_socket_or_apic() -> None:
    old = struct.pack("<8Q4BI", 0xBE00000000800400, 0, 0, 4, 0, 99, 0, 0, 0, 5, 3, 1, 0)
    record = only_record(old)
    assert (record.vendor, record.socket, record.apicid, record.cpuid) == (None, None, None, None)
    assert (record.cpu, record.bank, record.registers.tsc) == (3, 5, 99)


def test_what_xens_panic_path_leaves_empty_is_not_made_up() -> None:
    # xen/arch/x86/cpu/mcheck/mce.c, x86_mcinfo_apei_save: no extcpu, no time, no mcgcap; cpu is the core number.
    mce = StructMce(
        status=0xBE00000000800400, mcgstatus=4, bank=2, cpu=3, cpuid=0x106A3, socketid=1, apicid=6, cpuvendor=0
    )
    record = only_record(mce.pack(88))
    assert (record.time, record.registers.tsc, record.registers.mcg_cap) == (None, None, None)
    assert record.cpu is None
    assert record.claims == (Claim(ClaimKind.HYPERVISOR, "core 3", record.origin),)


def test_addr_and_misc_of_zero_count_only_with_their_valid_bits() -> None:
    valid = only_record(StructMce(status=0x8C00000000000080, cpuid=0x106A3).pack())
    assert (valid.registers.addr, valid.registers.misc) == (0, 0)
    absent = only_record(StructMce(status=0x8000000000000080, cpuid=0x106A3).pack())
    assert (absent.registers.addr, absent.registers.misc) == (None, None)


@pytest.mark.parametrize(
    ("mcgstatus", "bank", "delivery"),
    [
        (0, 3, Delivery.POLLED),
        (5, 3, Delivery.MACHINE_CHECK),
        (0xD, 3, Delivery.LOCAL_MACHINE_CHECK),
        (0, struct_mce.APEI_BANK, Delivery.FIRMWARE),
    ],
)
def test_delivery_follows_from_mcg_status_and_the_made_up_bank(mcgstatus: int, bank: int, delivery: Delivery) -> None:
    blob = StructMce(status=1 << 63, mcgstatus=mcgstatus, bank=bank, cpuid=0x106A3).pack()
    assert only_record(blob).delivery is delivery


def test_an_injected_record_says_so() -> None:
    record = only_record(StructMce(status=1 << 63, inject_flags=4, severity=5, cpuid=0x106A3, mcgcap=9).pack())
    assert record.claims == (
        Claim(ClaimKind.INJECTION, "inject_flags 0x4", record.origin),
        Claim(ClaimKind.SEVERITY, "severity 5", record.origin),
    )


u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 2)
some_u64 = st.integers(1, 2**64 - 1)
maybe = st.none() | some_u64


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Records whose every value has a place in the 128-byte form."""
    status = draw(u64) | 1 << 63
    bank = draw(st.integers(0, 31))
    mcg_status = draw(st.integers(0, 15))
    has_context = draw(st.booleans())
    return Record(
        origin=Origin("mcelog.bin", offset=0),
        format=Format.STRUCT_MCE,
        raw=b"",
        registers=Registers(
            status=status,
            addr=draw(u64 if status >> 58 & 1 else maybe),
            misc=draw(u64 if status >> 59 & 1 else maybe),
            synd=draw(some_u64),
            ipid=draw(some_u64),
            mcg_status=mcg_status,
            mcg_cap=draw(some_u64),
            tsc=draw(maybe),
            ppin=draw(maybe),
            ip=draw(u64) if has_context else None,
            cs=draw(st.integers(1, 255)) if has_context else None,
        ),
        bank=bank,
        cpu=draw(st.none() | u32),
        socket=draw(st.none() | u32),
        apicid=draw(st.none() | u32),
        vendor=draw(st.sampled_from([*Vendor, None])),
        cpuid=draw(st.none() | st.integers(1, 0x0FFF3FFF).map(lambda value: value & 0x0FFF3FFF | 0x600)),
        microcode=draw(st.none() | st.integers(1, 2**32 - 1)),
        time=draw(st.none() | st.integers(946684800, 4102444799).map(float)),
        delivery=(
            Delivery.POLLED
            if not mcg_status & 4
            else Delivery.LOCAL_MACHINE_CHECK
            if mcg_status & 8
            else Delivery.MACHINE_CHECK
        ),
    )


@given(records())
def test_reading_what_was_written_gives_the_record_again(record: Record) -> None:
    blob = struct_mce.write(record)
    expected = replace(record, raw=blob)
    if record.vendor is Vendor.INTEL and record.cpuid is None:
        expected = replace(expected, vendor=None)  # Intel's number is zero, and zero is "not available"
    assert only_record(blob) == expected


@given(records(), st.sampled_from([88, 104, 112, 116, 120, 124]))
def test_a_shorter_form_is_written_only_if_nothing_is_lost(record: Record, length: int) -> None:
    try:
        blob = struct_mce.write(record, length)
    except ValueError:
        assert any(struct_mce.write(record)[length:])
    else:
        assert replace(only_record(blob), raw=b"") == replace(only_record(struct_mce.write(record)), raw=b"")


def test_a_record_without_status_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="MCi_STATUS"):
        struct_mce.write(Record(origin=Origin("-"), format=Format.TYPED, raw=b""))


def test_unpacking_an_impossible_length_names_it() -> None:
    with pytest.raises(FormatError, match="89 bytes"):
        StructMce.unpack(bytes(89))


@pytest.mark.parametrize("whole", [PETKOV, PETKOV * 3, FROM_XEN * 2])
def test_every_prefix_is_read_the_same_or_unrecognised(whole: bytes) -> None:
    full = [record for record in read(whole) if isinstance(record, Record)]
    for cut in range(len(whole)):
        for index, evidence in enumerate(read(whole[:cut])):
            if isinstance(evidence, Record):
                assert evidence.registers.status == full[index].registers.status
                assert evidence.registers.addr == full[index].registers.addr
                assert evidence.bank == full[index].bank


@given(st.data())
def test_flipped_bits_never_raise_and_never_lose_bytes(data: st.DataObject) -> None:
    blob = bytearray(PETKOV * 2)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(blob) * 8 - 1))
        blob[at // 8] ^= 1 << at % 8
    assert b"".join(evidence.raw for evidence in read(bytes(blob))) == bytes(blob)


@given(st.binary(max_size=600))
def test_arbitrary_bytes_never_raise(blob: bytes) -> None:
    assert all(isinstance(evidence, Record | Unrecognised) for evidence in read(blob))
    struct_mce.detect(blob, len(blob))


@given(st.text(alphabet=st.characters(min_codepoint=9, max_codepoint=126), min_size=72))
def test_plain_text_is_never_taken_for_a_dump(text: str) -> None:
    blob = text.encode()
    assert not struct_mce.detect(blob, len(blob))
