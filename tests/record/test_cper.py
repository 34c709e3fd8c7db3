"""Reading and writing firmware's error records: CPER, and the status blocks of BERT."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.record.binary import bcd_time, cper, cper_memory, cper_processor, ghes, guids, struct_mce
from ringfence.record.binary.bcd_time import FirmwareTime
from ringfence.record.binary.cper_memory import ERROR_TYPES, MemorySection
from ringfence.record.binary.cper_processor import MachineCheckMsr, machine_check_msr
from ringfence.record.binary.pstore import PstoreText
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    Location,
    MemoryReport,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

# Two of libcper's generated examples (openbmc/libcper, examples/memory.cperhex and ia32x64.cperhex); what they say is
# in the .json files beside them there. Their flags name them as simulated.
LIBCPER_MEMORY = bytes.fromhex(
    "435045520000ffffffff0100020000000300000018010000190001001701"
    "329900000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000"
    "000000000000fb065a720000000004000000000000000000000000000000"
    "0000000000000000c800000050000000a97203000b0000001411bca5646f"
    "de4eb8633e83ed7c83b17d6e474cb944ab3e6f241438848ed43c00000000"
    "2b712460347047782753364077597c356770210055552700000000000010"
    "6b00000000002a7ed950091e2d63a68e2594f5e041977598e5d9314780cd"
    "54fb6e612b6bbe058d10e43955af54ba8694bcde1531b84482c0606fbab4"
    "9eb500c0ce568d137c52"
)
LIBCPER_IA32_X64 = bytes.fromhex(
    "435045520000ffffffff010001000000030000009c030000050009000509"
    "250500000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000"
    "00000000000074f8953a0000000004000000000000000000000000000000"
    "0000000000000000c8000000d40200004d4f0300e1000000b0a03edc44a1"
    "9747b95b53fa242b6e1d6efdb04be9ef5d3e5619b5a9bd70fe3202000000"
    "7455456f6663392e403847465c402d766e32740006040000000000000874"
    "8c182bc0f366e28ab9b54b411b721de479a7b15adbfbb58063ce91d242bb"
    "c92a4e3a420e42b20000000000000000000000000000000035b506fc1f5e"
    "62459f250a3b9adb63c31500000000000000ff00df3f00000000215b2a70"
    "3616a207f45fb9764c5a6e80fe31b1c37686b17d501889844eb0daa80000"
    "40009f8c6ac4ad9d210da7894ee90331e9544ea4e3dab8452dd6a29bbbbf"
    "b91ea32fea3c12ad6c86609e294a7714e588660b1d3991ebb972cf218779"
    "8bcf8ffa698925bdc5088b3dde83d02e25d60000a000a25e9bd1f1d04253"
    "fb0a266ba8121d62e1f7e2b2d7b9d3b91a95ecf62a68b12f5c45ab78c9ca"
    "ca75b6c0d0b20683d41baccbd3e98356b49f76e1468c0215cedabd0cdf2e"
    "4a3cc0e7bef28de3f92a45ea6632e7367696df10dc4506af5efddfc42304"
    "cf03fc8a138c49e6537fe0c1af95596a5946fb7a3c347329eda0ff2237be"
    "18b505cc5958c4ba3dcae26688c567b4b81994622c13b5698cbb36429122"
    "7a02159d7e6c70caedb3e3b28600010040005aacefbef807e7fe6816932f"
    "df9b69957070170eecb53d8c26fca4563adb357c67594ede376c508f2f18"
    "c92423fd3a716ad80374871e75f5be679b16f1a8e7ba529f9a9933433ad6"
    "fe121cd10300f400176385f459b9dc6f5df1e12ceac3bf200d26d3d62081"
    "e062b439041a97ec725f27842a8df0d746c41ac3fb66c4dcdd7ffdfef669"
    "e3348fb886caab118ad2bdecb6fedce407366422262b3ba5776442d51eda"
    "ba5adf0b696a2531d562c9697a218071162aa496db509b66f23fb240bb81"
    "62119fe7bf19d34cfc4975898dc3f663c83d1fb55d154b7c558c90be6b0f"
    "3a53b22ad52b58f0fe850000000057cc86281a9894b81d51dc1ae17cdced"
    "867ffa9c7643e977d01e7bf4aa192f868f794f66cf9f9b0302f2e6e39147"
    "3758d89886d4cabf63813f323837173f7fb33658adb36c82a4555aca3469"
    "3adf9784edf04c41307db1599b0cb2e6b4393703fba167c1"
)

# What Xen 4.20.3 writes to ERST at a fatal error (seen on a Nehalem model: `mce -b 0 2 0xbe00000000800400 0x4 0 0`),
# packed by hand from xen/include/xen/cper.h and xen/arch/x86/cpu/mcheck/mce-apei.c.
XEN_MCE = struct.pack(
    "<7QBBHIBBBBIIIQ", 0xBE00000000800400, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0x106A3, 0, 2, 0, 0, 0, 0, 0, 0
)  # fmt: skip
XEN_ERST = (
    struct.pack(
        "<4sHIHIIIQ16s16s16s16sQIQ12x",
        b"CPER", 0x100, 0xFFFFFFFF, 1, 1, 0, 288, 0, bytes(16), bytes(16),
        struct.pack("<IHH8B", 0x75A574E3, 0x5052, 0x4B29, 0x8A, 0x8E, 0xBE, 0x2C, 0x64, 0x90, 0xB8, 0x9D),
        struct.pack("<IHH8B", 0xE8F56FFE, 0x919C, 0x4CC5, 0xBA, 0x88, 0x65, 0xAB, 0xE1, 0x49, 0x13, 0xBB),
        7, 2, 0,
    )
    + struct.pack(
        "<IIHBBI16s16sI20s",
        200, 88, 0x100, 0, 0, 1,
        struct.pack("<IHH8B", 0xFE08FFBE, 0x95E4, 0x4BE7, 0xBC, 0x73, 0x40, 0x96, 0x04, 0x4A, 0x38, 0xFC),
        bytes(16), 1, b"",
    )
    + XEN_MCE
)  # fmt: skip

# The first bytes of a BERT region of an i7-12700H (intel/Intel-Linux-Processor-Microcode-Data-Files issue 67): Linux
# has already cleared the block status; the section is an opaque crash log.
ALDER_LAKE_BERT_HEAD = bytes.fromhex(
    "000000000000000000000000d00c0000"
    + "01000000962a2181ed09964994718d72"
    + "9c8e69ed0100000000030000200a0000"
    + "00" * 48
    + "02020000"
)

Everything = list[Evidence | PstoreText]


def read(blob: bytes) -> Everything:
    return list(cper.read(blob, "erst"))


def only_record(blob: bytes) -> Record:
    (record,) = read(blob)
    assert isinstance(record, Record)
    return record


def texts(record: Record) -> list[str]:
    return [claim.text for claim in record.claims]


def wrap(kind: UUID, body: bytes, *, severity: int = 0, flags: int = 1, timestamp: bytes | None = None) -> bytes:
    """A CPER record around one section."""
    head = cper.Header(sections=1, severity=severity, length=200 + len(body), timestamp=timestamp)
    section = cper.Descriptor(offset=200, length=len(body), type=kind, severity=severity, flags=flags)
    return head.pack() + section.pack() + body


# --- records with a struct mce ---------------------------------------------------------------------------------------


def test_what_xen_writes_when_it_dies_is_read_with_all_of_its_registers() -> None:
    assert cper.detect(XEN_ERST)
    origin = Origin("erst", offset=0)
    assert only_record(XEN_ERST) == Record(
        origin=origin,
        format=Format.CPER,
        raw=XEN_ERST,
        registers=Registers(status=0xBE00000000800400, addr=0, misc=0, mcg_status=4),
        bank=2,
        socket=0,
        apicid=0,
        vendor=Vendor.INTEL,
        cpuid=0x106A3,
        delivery=Delivery.MACHINE_CHECK,
        claims=(
            Claim(ClaimKind.FIRMWARE, "record flag: error of a previous boot", origin),
            Claim(ClaimKind.FIRMWARE, "notification: machine check exception (MCE)", origin),
            Claim(ClaimKind.HYPERVISOR, "core 0", origin),
        ),
        assumptions=("cpuvendor 1 is read as Intel (family 6): Xen 4.12 to 4.21 wrote it so",),
    )


def test_what_is_written_for_a_machine_check_is_what_the_kernel_and_xen_write() -> None:
    written = cper.write(replace(only_record(XEN_ERST), cpu=0), record_id=7, mce_length=88)
    fixed = bytearray(XEN_ERST)
    fixed[200 + 56] = 0  # cpuvendor by Linux's number, as Xen writes it again from 4.22
    fixed[200 + 67] = 1  # finished, which Xen leaves out
    assert written == bytes(fixed)


def test_erst_storage_with_records_at_fixed_distances_is_read_to_the_last_one() -> None:
    # Layout of QEMU's acpi-erst file: hw/acpi/erst.c, ERSTStorageHeader; the record map follows it.
    header = struct.pack("<8sIIHHI", b"ERSTSTOR", 0x2000, 0x2000, 0x100, 0, 2) + struct.pack("<2Q", 7, 8)
    storage = header.ljust(0x2000, b"\0") + b"".join(XEN_ERST.ljust(0x2000, b"\xff") for _ in range(2))
    assert cper.detect(storage)
    assert [item.origin.offset for item in read(storage)] == [0x2000, 0x4000]
    assert all(isinstance(item, Record) for item in read(storage))


def test_bytes_between_records_are_shown() -> None:
    first, junk, second = read(XEN_ERST + b"what is this" + XEN_ERST)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert junk == Unrecognised(Origin("erst", offset=288), b"what is this", "bytes outside of a CPER record")


def test_a_struct_mce_of_an_impossible_length_is_shown_not_guessed() -> None:
    (evidence,) = read(wrap(guids.LINUX_MCE, bytes(90)))
    assert isinstance(evidence, Unrecognised)
    assert "never 90 bytes" in evidence.why


# --- memory sections -------------------------------------------------------------------------------------------------


def test_libcpers_memory_example_says_what_its_json_says() -> None:
    record = only_record(LIBCPER_MEMORY)
    assert record.memory == MemoryReport(
        severity=ClaimedSeverity.RECOVERABLE,
        error="unknown",
        location=Location(card=55781, bank=52608, row=24942, label="+q$`4pGx'S6@wY|5gp!"),
        physical_address_mask=10899239918570409638,
        module_handle=21116,
    )
    assert record.delivery is Delivery.FIRMWARE
    assert texts(record) == [
        "record flag: simulated",
        "section flags 0xb (primary, containment warning, error threshold exceeded)",
        "FRU id 4c476e7d-44b9-3eab-6f24-1438848ed43c",
        "bit position 1470",
        "chip id 6",
        f"responder id {4951761760294835334:#x}",
        f"SMBIOS card handle {5005:#x}",
        f"SMBIOS module handle {21116:#x}",
        "error status 0x6b1000: error on the bus, address signals, control signals, detected by the responder, "
        "first error, further errors not logged",
    ]
    assert record.claims[0].kind is ClaimKind.INJECTION
    assert record.stamp == "9932-01-17 01:00:19"


def test_a_recoverable_error_flagged_as_latent_is_a_deferred_one() -> None:
    body = cper_memory.pack(MemorySection(physical_address=0x1000))
    record = only_record(wrap(guids.PLATFORM_MEMORY, body, flags=0x21))
    assert record.memory is not None
    assert record.memory.severity is ClaimedSeverity.DEFERRED


def test_a_reserved_severity_is_kept_as_a_claim() -> None:
    record = only_record(wrap(guids.PLATFORM_MEMORY, bytes(80), severity=9))
    assert record.memory is not None
    assert record.memory.severity is None
    assert Claim(ClaimKind.SEVERITY, "severity 9", record.origin) in record.claims


@pytest.mark.parametrize(
    ("offset", "width", "bit", "field"),
    [
        (8, 8, 0, "error_status"), (16, 8, 1, "physical_address"), (24, 8, 2, "physical_address_mask"),
        (32, 2, 3, "node"), (34, 2, 4, "card"), (36, 2, 5, "module"), (38, 2, 6, "bank"), (40, 2, 7, "device"),
        (42, 2, 8, "row"), (44, 2, 9, "column"), (46, 2, 10, "bit_position"), (48, 8, 11, "requestor"),
        (56, 8, 12, "responder"), (64, 8, 13, "target"), (72, 1, 14, "error_type"), (74, 2, 15, "rank"),
        (76, 2, 16, "card_handle"), (78, 2, 17, "module_handle"),
    ],
)  # fmt: skip
def test_each_field_of_the_memory_section_stands_where_uefi_puts_it(
    offset: int, width: int, bit: int, field: str
) -> None:
    # UEFI 2.10 table N.17; offsets as in edk2 MdePkg/Include/Guid/Cper.h.
    body = bytearray(80)
    body[0:8] = struct.pack("<Q", 1 << bit)
    body[offset : offset + width] = b"\xff" * width
    section, assumptions = cper_memory.unpack(bytes(body))
    assert section == MemorySection(**{field: (1 << 8 * width) - 1})
    assert cper_memory.pack(section) == bytes(body)
    assert assumptions == ()


@pytest.mark.parametrize(
    ("offset", "width", "bit", "field"),
    [
        (8, 8, 0, "error_status"), (16, 8, 1, "physical_address"), (24, 8, 2, "physical_address_mask"),
        (32, 2, 3, "node"), (34, 2, 4, "card"), (36, 2, 5, "module"), (38, 2, 6, "bank"), (40, 4, 7, "device"),
        (44, 4, 8, "row"), (48, 4, 9, "column"), (52, 4, 10, "rank"), (56, 4, 11, "bit_position"),
        (60, 1, 12, "chip_id"), (61, 1, 13, "error_type"), (62, 1, 14, "status"), (64, 8, 15, "requestor"),
        (72, 8, 16, "responder"), (80, 8, 17, "target"), (88, 4, 18, "card_handle"), (92, 4, 19, "module_handle"),
    ],
)  # fmt: skip
def test_each_field_of_the_second_memory_section_stands_where_uefi_puts_it(
    offset: int, width: int, bit: int, field: str
) -> None:
    # UEFI 2.10 table N.18; offsets as in edk2 MdePkg/Include/Guid/Cper.h.
    body = bytearray(96)
    body[0:8] = struct.pack("<Q", 1 << bit)
    body[offset : offset + width] = b"\xff" * width
    section = cper_memory.unpack_2(bytes(body))
    assert section == MemorySection(**{field: (1 << 8 * width) - 1})
    assert cper_memory.pack_2(section) == bytes(body)


def test_rows_above_16_bits_and_split_banks_are_put_together() -> None:
    body = bytearray(80)
    body[0:8] = struct.pack("<Q", 1 << 8 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21)
    body[38:40] = struct.pack("<H", 3 << 8 | 2)
    body[42:44] = struct.pack("<H", 0xDAD3)
    body[73] = 5 << 5 | 2
    section, _ = cper_memory.unpack(bytes(body))
    assert section == MemorySection(bank_group=3, bank=2, row=0x2DAD3, chip_id=5)


def test_validation_bits_beyond_the_section_of_uefi_2_1_are_not_believed() -> None:
    body = struct.pack("<4Q8H3QB", 1 << 3 | 1 << 15, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert len(body) == 73
    record = only_record(wrap(guids.PLATFORM_MEMORY, body))
    assert record.memory is not None
    assert record.memory.location == Location(node=9)
    assert "not believed" in record.assumptions[-1]


u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 2**64 - 1)


def maybe(strategy: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | strategy


first_form = st.builds(
    MemorySection, error_status=maybe(u64), physical_address=maybe(u64), physical_address_mask=maybe(u64),
    node=maybe(u16), card=maybe(u16), module=maybe(u16), bank_group=maybe(st.integers(0, 255)),
    bank=maybe(st.integers(0, 255)), device=maybe(u16), row=maybe(st.integers(0, 0x3FFFF)), column=maybe(u16),
    bit_position=maybe(u16), requestor=maybe(u64), responder=maybe(u64), target=maybe(u64),
    error_type=maybe(st.integers(0, 255)), rank=maybe(u16), card_handle=maybe(u16), module_handle=maybe(u16),
    chip_id=maybe(st.integers(0, 7)),
)  # fmt: skip
second_form = st.builds(
    MemorySection, error_status=maybe(u64), physical_address=maybe(u64), physical_address_mask=maybe(u64),
    node=maybe(u16), card=maybe(u16), module=maybe(u16), bank_group=maybe(st.integers(0, 255)),
    bank=maybe(st.integers(0, 255)), device=maybe(u32), row=maybe(u32), column=maybe(u32), bit_position=maybe(u32),
    requestor=maybe(u64), responder=maybe(u64), target=maybe(u64), error_type=maybe(st.integers(0, 255)),
    rank=maybe(u32), card_handle=maybe(u32), module_handle=maybe(u32), chip_id=maybe(st.integers(0, 255)),
    status=maybe(st.integers(0, 255)),
)  # fmt: skip


@given(first_form)
def test_unpacking_a_packed_memory_section_gives_it_again(section: MemorySection) -> None:
    assert cper_memory.unpack(cper_memory.pack(section)) == (section, ())


@given(second_form)
def test_unpacking_a_packed_second_memory_section_gives_it_again(section: MemorySection) -> None:
    assert cper_memory.unpack_2(cper_memory.pack_2(section)) == section


@st.composite
def memory_records(draw: st.DrawFn) -> Record:
    """Records of memory errors, whose every value has a place in a memory section."""
    label = draw(st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
    report = MemoryReport(
        severity=draw(st.sampled_from(ClaimedSeverity)),
        error=draw(st.none() | st.sampled_from(ERROR_TYPES)),
        physical_address=draw(maybe(u64)),
        physical_address_mask=draw(maybe(u64)),
        location=Location(
            node=draw(maybe(u16)), card=draw(maybe(u16)), module=draw(maybe(u16)), rank=draw(maybe(u32)),
            bank_group=draw(maybe(st.integers(0, 255))), bank=draw(maybe(st.integers(0, 255))), row=draw(maybe(u32)),
            column=draw(maybe(u32)), device=draw(maybe(u32)), label=label,
        ),
    )  # fmt: skip
    time = draw(st.none() | st.integers(0, 4102444799).map(float))
    return Record(
        origin=Origin("erst", offset=0),
        format=Format.CPER,
        raw=b"",
        memory=report,
        time=time,
        delivery=Delivery.FIRMWARE,
    )


@given(memory_records())
def test_reading_a_written_memory_record_gives_it_again(record: Record) -> None:
    blob = cper.write(record)
    # A time comes back with the text that it was written as, and with the assumption that it is UTC.
    got = only_record(blob)
    assert replace(got, raw=b"", claims=(), stamp=None, assumptions=()) == record
    assert got.raw == blob
    assert (got.stamp is None) == (record.time is None) == (got.assumptions == ())


@given(st.integers(0, 0x3FFFFFFF), st.sampled_from([88, 112, 128]))
def test_reading_a_written_machine_check_gives_its_registers_again(address: int, length: int) -> None:
    registers = Registers(status=0xBD80000000100134, addr=address, misc=0x86, mcg_status=7, mcg_cap=0xF000C14)
    record = replace(only_record(XEN_ERST), registers=registers, cpu=300, time=1667244167.0)
    got = only_record(cper.write(record, mce_length=length))
    assert replace(got, raw=record.raw, assumptions=record.assumptions, claims=record.claims) == record
    assert got.claims == record.claims[:2]


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (MemoryReport(), "severity"),
        (MemoryReport(severity=ClaimedSeverity.FATAL, error="bad luck"), "error type"),
        (MemoryReport(severity=ClaimedSeverity.FATAL, page_frame=1), "page_frame"),
        (MemoryReport(severity=ClaimedSeverity.FATAL, location=Location(channel=1)), "channel"),
        (MemoryReport(severity=ClaimedSeverity.FATAL, location=Location(label="x" * 21)), "20 bytes"),
        (MemoryReport(severity=ClaimedSeverity.FATAL, location=Location(bank_group=1, bank=256)), "8 bits"),
        (None, "neither"),
    ],
)
def test_what_no_section_can_carry_is_refused_not_dropped(report: MemoryReport | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        cper.write(Record(origin=Origin("-"), format=Format.TYPED, raw=b"", memory=report))


# --- processor sections ----------------------------------------------------------------------------------------------


def test_libcpers_processor_example_says_what_its_json_says() -> None:
    # The MSRs that it dumps are not machine-check registers: there is nothing to decode but its words. Its timestamp,
    # in the year 525, is none.
    (evidence,) = read(LIBCPER_IA32_X64)
    assert evidence == Unrecognised(
        Origin("erst", offset=0),
        LIBCPER_IA32_X64,
        "corrected processor error without machine-check registers: "
        "TLB check 0x3fdf00ff: transaction type 3, eviction, level 7, processor context corrupt, uncorrected, "
        "precise IP, restartable IP, overflow; "
        f"requestor id {9254433568748822516:#x}; "
        "unclassified data, 64 bytes; "
        "unclassified data, 160 bytes; "
        f"MSR registers, 64 bytes from MSR {3203378266:#x}; "
        "64-bit mode execution context, 244 bytes; "
        f"CPUID {8222237338122160866 & 0xFFFFFFFF:#x}; IP {12167231194572331088:#x}; "
        "record flag: simulated; "
        "section flags 0xe1 (primary, latent error, propagated, overflow); "
        "FRU id 4bb0fd6e-efe9-3e5d-5619-b5a9bd70fe32; "
        "FRU text tUEofc9.@8GF\\@-vn2t",
    )


def amd_section(*values: int, msr: int = 0xC0002051, eax: int = 0x00A20F12) -> bytes:
    """A section as AMD's firmware writes it to BERT: a cache check and a dump from MCA_STATUS of a bank on."""
    check = 1 << 3 | 1 << 4 | 1 << 25 | 1 << 26
    return (
        struct.pack("<QQ", 1 | 2 | 1 << 2 | 1 << 8, 5)
        + struct.pack("<QQQQ16x", eax, 0, 0, 0)
        + guids.CACHE_CHECK.bytes_le
        + struct.pack("<6Q", 1, check, 0, 0, 0, 0)
        + struct.pack("<HHIQ", 1, 8 * len(values), msr, 0)
        + struct.pack(f"<{len(values)}Q", *values)
    )


# Bank 5 of CPU 5, an execution-unit watchdog found in BERT after a data fabric sync flood (notes of a GPU cluster's
# operators: "CPU 5: Machine Check: 0 Bank 5: bea0000000000108", IPID 0x500b000000000).
WATCHDOG = (0xBEA0000000000108, 0x7FFFAABBCCDD, 0xD01A0FFE00000000, 0x5, 0x000500B000000000, 0x4D000000)


def test_a_dump_of_smca_registers_makes_a_record_of_its_bank() -> None:
    record = only_record(wrap(guids.PROCESSOR_IA32_X64, amd_section(*WATCHDOG), severity=1))
    assert record.registers == Registers(
        status=0xBEA0000000000108,
        addr=0x7FFFAABBCCDD,
        misc=0xD01A0FFE00000000,
        config=0x5,
        ipid=0x000500B000000000,
        synd=0x4D000000,
    )
    assert (record.bank, record.apicid, record.cpuid, record.vendor) == (5, 5, 0x00A20F12, Vendor.AMD)
    assert record.assumptions == ("vendor AMD: the section dumps SMCA registers and names no vendor",)
    assert texts(record) == [
        "fatal",
        "cache check 0x6000018: processor context corrupt, uncorrected",
        "MSR registers, 48 bytes from MSR 0xc0002051",
    ]


def test_a_long_smca_dump_gives_the_deferred_registers_and_both_further_syndromes() -> None:
    # Linux takes MCA_SYND1 and MCA_SYND2 from elements 13 and 14 of a dump that starts at MCA_STATUS.
    body = amd_section(*WATCHDOG, 0, 0x11, 0x22, 1, 2, 3, 4, 0x33, 0x44)
    registers = only_record(wrap(guids.PROCESSOR_IA32_X64, body)).registers
    assert (registers.destat, registers.deaddr, registers.synd1, registers.synd2) == (0x11, 0x22, 0x33, 0x44)


def test_hygon_is_told_by_its_family() -> None:
    body = amd_section(*WATCHDOG, eax=0x00900F02)
    assert only_record(wrap(guids.PROCESSOR_IA32_X64, body)).vendor is Vendor.HYGON


def test_a_dump_of_many_legacy_banks_makes_a_record_of_each_that_holds_an_error() -> None:
    banks = [(0, 0, 0, 0), (0, 1 << 63 | 0x135, 0x1000, 0x86), (0, 0, 0, 0), (0, 1 << 63 | 0x90, 0x2000, 0x8C)]
    body = amd_section(*[value for bank in banks for value in bank], msr=0x400)
    records = read(wrap(guids.PROCESSOR_IA32_X64, body))
    assert [(r.bank, r.registers.status, r.registers.addr) for r in records if isinstance(r, Record)] == [
        (1, 1 << 63 | 0x135, 0x1000),
        (3, 1 << 63 | 0x90, 0x2000),
    ]


def test_a_section_without_a_valid_bank_is_shown_in_its_words() -> None:
    (evidence,) = read(wrap(guids.PROCESSOR_IA32_X64, amd_section(*[0] * 16, msr=0x400)))
    assert isinstance(evidence, Unrecognised)
    assert "cache check" in evidence.why
    assert "APIC id 0x5" in evidence.why


def test_a_dump_of_one_bank_without_a_valid_error_is_a_record_of_that_bank() -> None:
    record = only_record(wrap(guids.PROCESSOR_IA32_X64, amd_section(0, 0, 0, 0, 0x1000, 0)))
    assert (record.bank, record.registers.status, record.registers.ipid) == (5, 0, 0x1000)


@pytest.mark.parametrize(
    ("msr", "bank", "register"),
    [
        (0x179, None, MachineCheckMsr.MCG_CAP),
        (0x17A, None, MachineCheckMsr.MCG_STATUS),
        (0x285, 5, MachineCheckMsr.CTL2),
        (0x401, 0, MachineCheckMsr.STATUS),
        (0x416, 5, MachineCheckMsr.ADDR),
        (0x41F, 7, MachineCheckMsr.MISC),
        (0xC0002001, 0, MachineCheckMsr.STATUS),
        (0xC0002158, 21, MachineCheckMsr.DESTAT),
        (0xC000215F, 21, MachineCheckMsr.SYND2),
    ],
)
def test_msrs_are_told_by_their_number(msr: int, bank: int | None, register: MachineCheckMsr) -> None:
    assert machine_check_msr(msr) == (bank, register)


@pytest.mark.parametrize("msr", [0x10, 0x178, 0x17B, 0x2A0, 0x400, 0x480, 0xC0002000, 0xC0002007, 0xC0003001])
def test_other_msrs_are_not_taken_for_machine_check_registers(msr: int) -> None:
    assert machine_check_msr(msr) is None


def test_a_bus_check_and_a_microarchitectural_check_are_put_in_words() -> None:
    bus = 0x7FF | 2 << 16 | 1 << 18 | 1 << 22 | 1 << 30 | 1 << 32 | 2 << 33
    assert cper_processor.check_text(guids.BUS_CHECK, bus) == (
        f"bus check {bus:#x}: generic transaction, generic read, level 1, processor responded, time out, I/O"
    )
    ms = 0x3F | 2 << 16 | 1 << 19 | 1 << 20
    assert cper_processor.check_text(guids.MS_CHECK, ms) == (
        f"MS check {ms:#x}: microcode ROM parity error, processor context corrupt, uncorrected"
    )


def test_a_generic_processor_section_says_who_and_what() -> None:
    # The valid fields of openbmc/libcper's examples/generic.cperhex, with plausible values.
    body = struct.pack(
        "<Q6B2xQ128s5Q", 0x1FFF, 0, 2, 0b1001, 1, 0b1000, 2, 0x306F2, b"Intel(R) Xeon(R)", 12, 0x5000, 0, 0, 0xFFFF8000
    )
    (evidence,) = read(wrap(guids.PROCESSOR_GENERIC, body, severity=2))
    assert isinstance(evidence, Unrecognised)
    assert evidence.why == (
        "corrected processor error without machine-check registers: IA32/X64; instruction set 2; "
        "cache error, micro-architectural error; data read; corrected; level 2; brand Intel(R) Xeon(R); "
        "target address 0x5000; requestor id 0x0; responder id 0x0; APIC id 0xc; CPUID 0x306f2; IP 0xffff8000"
    )


# --- other sections --------------------------------------------------------------------------------------------------


def test_a_crash_log_of_firmware_is_shown_for_what_it_is() -> None:
    crash_log = UUID("8f87f311-c998-4d9e-a0c4-6065518c4f6d")
    body = struct.pack("<BB6xQ", 2, 2, 0) + crash_log.bytes_le + bytes(40)
    (evidence,) = read(wrap(guids.FIRMWARE_RECORD, body, severity=1))
    assert isinstance(evidence, Unrecognised)
    assert evidence.why == (
        "fatal firmware error record in the maker's own format: SOC firmware error record type 2, revision 2, "
        f"72 bytes; record identifier {crash_log}"
    )


def test_a_pci_express_section_is_named_with_its_device_and_is_no_record() -> None:
    device = struct.pack("<HH3sBBHBBHB", 0x8086, 0x2F02, b"\0\4\6", 0, 3, 0, 0, 1, 0, 0)
    body = struct.pack("<QI4sHHI", 8, 4, b"\0\1\0\0", 0, 0, 0) + device
    (evidence,) = read(wrap(guids.PCI_EXPRESS, body.ljust(208, b"\0"), severity=2))
    assert isinstance(evidence, Unrecognised)
    assert evidence.why == "not a machine check: PCI Express error of 0000:00:03.0 [8086:2f02], corrected"


@pytest.mark.parametrize("kind", sorted(guids.OTHER_SECTIONS, key=str))
def test_sections_that_are_no_machine_check_are_named(kind: UUID) -> None:
    (evidence,) = read(wrap(kind, bytes(16)))
    assert isinstance(evidence, Unrecognised)
    assert evidence.why.startswith(f"not a machine check: {guids.OTHER_SECTIONS[kind]}")


def test_a_section_of_an_unknown_type_is_shown_with_its_guid() -> None:
    kind = UUID("12345678-1234-1234-1234-123456789abc")
    blob = wrap(kind, b"opaque")
    (evidence,) = read(blob)
    assert evidence == Unrecognised(Origin("erst", offset=0), blob, f"recoverable error section of unknown type {kind}")


def test_a_part_of_the_kernel_log_is_handed_on_as_text_with_the_time_of_the_dump() -> None:
    log = b"Panic#1 Part2\n<2>[   13.7] mce: [Hardware Error]: CPU 2: Machine Check Exception: 6 Bank 4\n"
    seconds = struct.pack("<Q", 1667244167)
    for kind, body in ((guids.LINUX_DMESG, log), (guids.LINUX_DMESG_Z, zlib.compress(log))):
        (text,) = read(wrap(kind, body, timestamp=seconds))
        assert text == PstoreText(
            origin=Origin("erst", offset=0),
            text=log.partition(b"\n")[2],
            reason="Panic",
            count=1,
            part=2,
            time=1667244167.0,
        )


def test_several_sections_are_as_many_records_each_with_its_own_bytes() -> None:
    bodies = [cper_memory.pack(MemorySection(node=1)), cper_memory.pack(MemorySection(node=2))]
    start = 128 + 2 * 72
    head = cper.Header(sections=2, severity=2, length=start + 160).pack()
    descriptors = [
        cper.Descriptor(offset=start + 80 * index, length=80, type=guids.PLATFORM_MEMORY, severity=2).pack()
        for index in (0, 1)
    ]
    records = [r for r in read(head + b"".join(descriptors) + b"".join(bodies)) if isinstance(r, Record)]
    assert [r.memory.location.node for r in records if r.memory] == [1, 2]
    assert [r.raw for r in records] == [
        head + descriptor + body for descriptor, body in zip(descriptors, bodies, strict=True)
    ]


# --- timestamps ------------------------------------------------------------------------------------------------------


def test_a_timestamp_is_bcd_with_a_flag_for_precision() -> None:
    raw = bytes([0x56, 0x34, 0x12, 0x01, 0x31, 0x10, 0x22, 0x20])
    assert FirmwareTime.unpack(raw) == FirmwareTime("2022-10-31 12:34:56", 1667219696.0, precise=True)


@pytest.mark.parametrize(
    "raw", ["0000000000000000", "5a34120031102220", "5634120031132220", "5634120032102220", "5634120031105019"]
)
def test_what_is_no_time_is_none(raw: str) -> None:
    assert FirmwareTime.unpack(bytes.fromhex(raw)) is None


@given(st.integers(0, 253402300799))
def test_reading_a_written_timestamp_gives_the_second_again(second: int) -> None:
    time = FirmwareTime.unpack(bcd_time.pack(second))
    assert time is not None
    assert (time.epoch_s, time.precise) == (second, False)


@pytest.mark.parametrize("second", [-1.0, 1e12, 1e30, float("nan")])
def test_a_time_that_no_timestamp_can_hold_is_refused(second: float) -> None:
    with pytest.raises(ValueError):
        bcd_time.pack(second)


def test_a_record_with_a_timestamp_says_that_it_was_taken_as_utc() -> None:
    stamp = bytes([0x56, 0x34, 0x12, 0x01, 0x31, 0x10, 0x22, 0x20])
    record = only_record(wrap(guids.PLATFORM_MEMORY, bytes(80), timestamp=stamp))
    assert (record.stamp, record.time) == ("2022-10-31 12:34:56", 1667219696.0)
    assert record.assumptions == ("the firmware's timestamp is local time: it is taken as UTC",)
    assert "timestamp is precise: it is the time of the error" in texts(record)


# --- BERT ------------------------------------------------------------------------------------------------------------


def entry(kind: UUID, body: bytes, *, severity: int = 1, revision: int = 0x300, stamp: bytes | None = None) -> bytes:
    """A generic error data entry (ACPI 6.5 table 18.12)."""
    head = struct.pack(
        "<16sIHBBI16s20s", kind.bytes_le, severity, revision, 2 | 4 * (stamp is not None), 0, len(body), bytes(16),
        b"CPU0",
    )  # fmt: skip
    return head + (stamp or bytes(8) if revision >= 0x300 else b"") + body


def block(*entries: bytes, status: int = 0x12, severity: int = 1) -> bytes:
    """A generic error status block (ACPI 6.5 table 18.11)."""
    data = b"".join(entries)
    return struct.pack("<5I", status, 0, 0, len(data), severity) + data


def read_bert(blob: bytes) -> Everything:
    return list(ghes.read(blob, "BERT"))


def test_a_bert_region_gives_a_record_for_every_entry_of_every_block() -> None:
    memory = cper_memory.pack(MemorySection(physical_address=0x1234000, error_type=3))
    region = (
        block(entry(guids.PROCESSOR_IA32_X64, amd_section(*WATCHDOG)), entry(guids.PLATFORM_MEMORY, memory, severity=0))
        + block(entry(guids.PLATFORM_MEMORY, memory, severity=2, revision=0x201), severity=2)
        + bytes(4096)
    )
    assert ghes.detect(region, "data.bin")
    assert not cper.detect(region)
    processor, first, second = read_bert(region)
    assert isinstance(processor, Record)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (processor.format, processor.registers.status) == (Format.GHES_BLOCK, 0xBEA0000000000108)
    assert first.memory == MemoryReport(
        severity=ClaimedSeverity.RECOVERABLE,
        error="multi-bit ECC",
        location=Location(label="CPU0"),
        physical_address=0x1234000,
    )
    assert texts(first)[0] == "severity of the whole event: fatal"
    assert second.memory is not None
    assert second.memory.severity is ClaimedSeverity.CORRECTED
    assert [item.origin.offset for item in (processor, first, second)] == [20, 20 + 72 + 192, 20 + 72 + 192 + 152 + 20]


def test_a_block_whose_status_linux_has_cleared_is_still_read() -> None:
    region = block(entry(guids.PLATFORM_MEMORY, bytes(80)), status=0)
    (record,) = read_bert(region)
    assert isinstance(record, Record)
    assert ghes.detect(ALDER_LAKE_BERT_HEAD, "saved.bin")


def test_a_region_cut_off_in_a_real_crash_log_is_shown() -> None:
    (evidence,) = read_bert(ALDER_LAKE_BERT_HEAD)
    assert isinstance(evidence, Unrecognised)
    assert evidence.raw == ALDER_LAKE_BERT_HEAD
    assert "2592 bytes" in evidence.why


def test_an_entry_of_acpi_6_1_has_a_timestamp() -> None:
    stamp = bytes([0x56, 0x34, 0x12, 0x00, 0x31, 0x10, 0x22, 0x20])
    (record,) = read_bert(block(entry(guids.PLATFORM_MEMORY, bytes(80), stamp=stamp)))
    assert isinstance(record, Record)
    assert record.stamp == "2022-10-31 12:34:56"


@pytest.mark.parametrize("region", [b"", bytes(20), bytes(4096), struct.pack("<5I", 0, 0, 0, 0, 3) + bytes(100)])
def test_a_bert_region_without_an_error_gives_nothing(region: bytes) -> None:
    assert read_bert(region) == []


def test_raw_data_of_a_block_is_shown_beside_its_entries() -> None:
    data = entry(guids.PLATFORM_MEMORY, bytes(80))
    region = struct.pack("<5I", 1, 20 + len(data), 4, len(data), 1) + data + b"raw!"
    raw, record = read_bert(region)
    assert isinstance(raw, Unrecognised)
    assert raw.raw == region[:20] + b"raw!"
    assert isinstance(record, Record)


def test_the_bert_table_itself_is_not_taken_for_its_data() -> None:
    # An ACPI table header: signature, length, revision, checksum, OEM ids; then region length and address.
    table = b"BERT" + struct.pack("<IBB6s8sI4sI", 48, 1, 0, b"ALASKA", b"A M I   ", 1, b"INTL", 1) + bytes(12)
    assert not ghes.detect(table, "BERT")


# --- hostile input ---------------------------------------------------------------------------------------------------

WHOLE = {
    "struct mce": XEN_ERST,
    "memory": LIBCPER_MEMORY,
    "processor": LIBCPER_IA32_X64,
    "two records": XEN_ERST + LIBCPER_MEMORY,
    "smca": wrap(guids.PROCESSOR_IA32_X64, amd_section(*WATCHDOG), severity=1),
    "log": wrap(guids.LINUX_DMESG_Z, zlib.compress(b"Oops#1 Part1\nhello\n")),
}
REGION = block(entry(guids.PROCESSOR_IA32_X64, amd_section(*WATCHDOG))) + block(entry(guids.PLATFORM_MEMORY, bytes(80)))


def same_or_unrecognised(whole: Everything, cut: Iterable[Evidence | PstoreText]) -> bool:
    return all(isinstance(item, Unrecognised) or item in whole for item in cut)


@pytest.mark.parametrize("name", WHOLE)
def test_every_prefix_is_read_the_same_or_unrecognised(name: str) -> None:
    whole = read(WHOLE[name])
    for cut in range(1, len(WHOLE[name])):
        part = read(WHOLE[name][:cut])
        assert part
        assert same_or_unrecognised(whole, part)


def test_every_prefix_of_a_bert_region_is_read_the_same_or_unrecognised() -> None:
    whole = read_bert(REGION)
    for cut in range(1, len(REGION)):
        part = read_bert(REGION[:cut])
        assert part
        assert same_or_unrecognised(whole, part)


@pytest.mark.parametrize("blob", [*WHOLE.values(), REGION], ids=[*WHOLE, "BERT"])
@given(data=st.data())
def test_flipped_bits_never_raise(blob: bytes, data: st.DataObject) -> None:
    flipped = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(blob) * 8 - 1))
        flipped[at // 8] ^= 1 << at % 8
    read(bytes(flipped))
    read_bert(bytes(flipped))
    cper.detect(bytes(flipped))
    ghes.detect(bytes(flipped), "BERT")


@given(st.binary(max_size=500))
def test_arbitrary_bytes_never_raise(blob: bytes) -> None:
    for content in (blob, XEN_ERST[:10] + blob, XEN_ERST[:200] + blob):
        read(content)
        read_bert(content)
        ghes.detect(content, "x")


def test_a_small_file_cannot_grow_into_a_large_one() -> None:
    # A thousand descriptors that all name the same megabyte.
    count, size = 1000, 1 << 20
    start = 128 + 72 * count
    head = cper.Header(sections=count, severity=2, length=start + size).pack()
    descriptor = cper.Descriptor(offset=start, length=size, type=guids.PLATFORM_MEMORY, severity=2).pack()
    (evidence,) = read(head + descriptor * count + bytes(size))
    assert isinstance(evidence, Unrecognised)
    assert "overlap" in evidence.why


def test_headers_that_promise_more_than_the_file_do_not_hide_what_follows() -> None:
    liar = cper.Header(sections=1, severity=2, length=1 << 31).pack()
    liar += cper.Descriptor(offset=1 << 30, length=1 << 20, type=guids.PLATFORM_MEMORY, severity=2).pack()
    evidence = read(liar * 50 + XEN_ERST)
    assert [type(item) for item in evidence] == [Unrecognised] * 50 + [Record]
    assert sum(len(item.raw) for item in evidence if not isinstance(item, PstoreText)) <= len(liar) * 50 + len(XEN_ERST)


def test_a_section_that_holds_a_struct_mce_of_any_length_is_read() -> None:
    for length in struct_mce.LENGTHS:
        record = only_record(wrap(guids.LINUX_MCE, StructMce(status=1 << 63, bank=3).pack(length)))
        assert (record.bank, record.registers.status) == (3, 1 << 63)
