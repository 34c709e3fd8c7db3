"""Reading and writing Xen's ``mc_info``.

Sizes and offsets asserted here were measured from xen/include/public/arch-x86/xen-mca.h with a compiler (x86_64).
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.errors import FormatError
from ringfence.record.binary import xen_mc_info
from ringfence.record.binary.xen_mc_info import (
    McFlag,
    McInfo,
    McInfoBank,
    McInfoEntry,
    McInfoExtended,
    McInfoGlobal,
    McInfoOpaque,
    McInfoRecovery,
)
from ringfence.record.evidence import (
    Claim,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    HypervisorReport,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

U16, U32, U64 = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def read(blob: bytes) -> list[Evidence]:
    return list(xen_mc_info.read(blob, "mca.bin"))


def only_record(info: McInfo) -> Record:
    (record,) = read(info.pack())
    assert isinstance(record, Record)
    return record


# An SRAO error on a free page of a Nehalem under Xen 4.20.3, injected by QEMU as
# `mce -b 0 5 0xbd000000000000c0 0x5 ADDR 0x8c`; Xen took the page offline (status 0x2002).
SRAO = McInfo(
    entries=(
        McInfoGlobal(domid=0, vcpuid=1, apicid=0, flags=McFlag.MCE | McFlag.RECOVERABLE, gstatus=5),
        McInfoBank(bank=5, status=0xBD000000000000C0, addr=0x12345000, misc=0x8C),
        McInfoRecovery.page_offline(bank=5, mfn=0x12345, status=0x2002),
    )
)


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        (McInfoGlobal(), 32),
        (McInfoBank(bank=0), 48),
        (McInfoExtended(), 520),
        (McInfoRecovery(bank=0), 24),
    ],
)
def test_entries_have_the_sizes_of_the_public_header(entry: McInfoEntry, size: int) -> None:
    packed = entry.pack()
    assert len(packed) == size
    assert struct.unpack_from("<H", packed, 2) == (size,)


@pytest.mark.parametrize(
    ("entry", "offset", "width"),
    [
        (McInfoGlobal(domid=U16, vcpuid=0), 4, 2),
        (McInfoGlobal(domid=0, vcpuid=U16), 6, 2),
        (McInfoGlobal(domid=0, vcpuid=0, socketid=U32), 8, 4),
        (McInfoGlobal(domid=0, vcpuid=0, coreid=U16), 12, 2),
        (McInfoGlobal(domid=0, vcpuid=0, core_threadid=U16), 14, 2),
        (McInfoGlobal(domid=0, vcpuid=0, apicid=U32), 16, 4),
        (McInfoGlobal(domid=0, vcpuid=0, flags=U32), 20, 4),
        (McInfoGlobal(domid=0, vcpuid=0, gstatus=U64), 24, 8),
        (McInfoBank(bank=U16, domid=0), 4, 2),
        (McInfoBank(bank=0, domid=U16), 6, 2),
        (McInfoBank(bank=0, domid=0, status=U64), 8, 8),
        (McInfoBank(bank=0, domid=0, addr=U64), 16, 8),
        (McInfoBank(bank=0, domid=0, misc=U64), 24, 8),
        (McInfoBank(bank=0, domid=0, ctrl2=U64), 32, 8),
        (McInfoBank(bank=0, domid=0, tsc=U64), 40, 8),
        (McInfoExtended(msrs=((U64, 0),)), 8, 8),
        (McInfoExtended(msrs=((0, U64),)), 16, 8),
        (McInfoExtended(msrs=((0, 0),) * 31 + ((0, U64),)), 512, 8),
        (McInfoRecovery(bank=U16, action_types=0), 4, 2),
        (McInfoRecovery(bank=0, action_flags=0xFF, action_types=0), 6, 1),
        (McInfoRecovery(bank=0, action_types=0xFF), 7, 1),
        (McInfoRecovery(bank=0, action_types=0, action_info=b"\xff" * 8 + bytes(8)), 8, 8),
    ],
)
def test_each_field_stands_at_the_offset_of_the_public_header(entry: McInfoEntry, offset: int, width: int) -> None:
    content = bytearray(entry.pack())
    content[0:4] = bytes(4)  # type and size
    if isinstance(entry, McInfoExtended):
        content[4:8] = bytes(4)  # the count
    assert bytes(content) == bytes(offset) + b"\xff" * width + bytes(len(content) - offset - width)


def test_the_unions_of_a_recovery_entry_have_the_offsets_of_the_public_header() -> None:
    page = McInfoRecovery.page_offline(bank=1, mfn=U64, status=0).pack()
    assert page[8:16] == b"\xff" * 8
    assert not any(page[16:])
    cpu = McInfoRecovery.cpu_offline(bank=1, socketid=U32, coreid=0x1111, core_threadid=0x2222).pack()
    assert cpu[8:] == b"\xff" * 4 + b"\x11\x11" + b"\x22\x22" + bytes(8)


def test_an_mc_info_is_768_bytes_with_its_count_and_flags_first() -> None:
    blob = McInfo(entries=(McInfoGlobal(), McInfoBank(bank=3)), incomplete=True).pack()
    assert len(blob) == 768
    assert struct.unpack_from("<IIHH", blob) == (2, 1, 0, 32)


def test_an_error_on_a_free_page_is_read_with_what_xen_did_about_it() -> None:
    blob = SRAO.pack()
    origin = Origin("mca.bin", offset=0)
    assert only_record(SRAO) == Record(
        origin=origin,
        format=Format.XEN_MC_INFO,
        raw=blob,
        registers=Registers(status=0xBD000000000000C0, addr=0x12345000, misc=0x8C, mcg_status=5),
        bank=5,
        socket=0,
        apicid=0,
        delivery=Delivery.MACHINE_CHECK,
        hypervisor=HypervisorReport(
            domain=0,
            vcpu=1,
            global_flags=0x44,
            action_flags=0,
            action_types=1,
            machine_frame=0x12345,
            page_status=0x2002,
        ),
        claims=(Claim(ClaimKind.HYPERVISOR, "core 0 thread 0", origin),),
        assumptions=("MCi_ADDR lies in the machine frame of the recovery entry: taken as host-physical",),
    )


def test_an_address_that_xen_overwrote_is_called_guest_physical_and_the_frame_is_the_recoverys() -> None:
    record = only_record(
        McInfo(
            entries=(
                McInfoGlobal(domid=7, vcpuid=0, flags=McFlag.MCE, gstatus=5),
                McInfoBank(bank=5, domid=7, status=0xBD000000000000C0, addr=0x1000, misc=0x8C),
                McInfoRecovery.page_offline(bank=5, mfn=0x12345, status=0x2001 | 7 << 16),
            )
        )
    )
    assert record.hypervisor is not None
    assert record.hypervisor.machine_frame == 0x12345
    assert record.assumptions[0].startswith("MCi_ADDR is guest-physical")


def test_the_domain_that_ran_and_the_domain_that_owns_the_page_are_kept_apart() -> None:
    record = only_record(
        McInfo(
            entries=(
                McInfoGlobal(domid=3, vcpuid=2, flags=McFlag.CMCI),
                McInfoBank(bank=5, domid=9, status=0x9C00004000010090, addr=0x2000, misc=0x86, ctrl2=1, tsc=77),
            )
        )
    )
    assert record.hypervisor is not None
    assert (record.hypervisor.domain, record.hypervisor.owner) == (3, 9)
    assert (record.registers.ctl2, record.registers.tsc) == (1, 77)


def test_invalid_domain_and_vcpu_numbers_are_none() -> None:
    record = only_record(McInfo(entries=(McInfoGlobal(), McInfoBank(bank=5, status=1 << 63))))
    assert record.hypervisor == HypervisorReport(global_flags=0)


@pytest.mark.parametrize(
    ("flags", "gstatus", "delivery"),
    [
        (McFlag.MCE, 5, Delivery.MACHINE_CHECK),
        (McFlag.MCE, 0xD, Delivery.LOCAL_MACHINE_CHECK),
        (McFlag.CMCI | McFlag.CORRECTABLE, 0, Delivery.CMCI),
        (McFlag.POLLED | McFlag.CORRECTABLE, 0, Delivery.POLLED),
        (McFlag.CORRECTABLE, 0, Delivery.UNKNOWN),
    ],
)
def test_delivery_is_what_mc_flags_say(flags: int, gstatus: int, delivery: Delivery) -> None:
    info = McInfo(entries=(McInfoGlobal(flags=flags, gstatus=gstatus), McInfoBank(bank=0, status=1 << 63)))
    assert only_record(info).delivery is delivery


def test_each_bank_is_a_record_with_its_own_recovery_and_all_extended_msrs() -> None:
    info = McInfo(
        entries=(
            McInfoGlobal(flags=McFlag.MCE),
            McInfoBank(bank=1, status=0xA000000000000000),
            McInfoBank(bank=5, status=0xBD000000000000C0, addr=0x3000),
            McInfoExtended(msrs=((0x180, 1), (0x189, 2))),
            McInfoRecovery.page_offline(bank=5, mfn=3, status=2),
        )
    )
    first, second = (record for record in read(info.pack()) if isinstance(record, Record))
    assert first.hypervisor is not None
    assert second.hypervisor is not None
    assert (first.bank, first.hypervisor.machine_frame) == (1, None)
    assert (second.bank, second.hypervisor.machine_frame) == (5, 3)
    assert first.hypervisor.extended == second.hypervisor.extended == ((0x180, 1), (0x189, 2))


def test_several_mc_info_in_a_file_are_read_each_at_its_offset() -> None:
    blob = SRAO.pack() * 3
    assert xen_mc_info.detect(blob, len(blob))
    assert [evidence.origin.offset for evidence in read(blob)] == [0, 768, 1536]


def test_an_incomplete_mc_info_says_that_entries_are_missing() -> None:
    info = McInfo(entries=(McInfoGlobal(), McInfoBank(bank=5, status=1 << 63)), incomplete=True, missing=2)
    assert only_record(info).assumptions == (
        "Xen marks this mc_info as incomplete: it left entries out for lack of room",
        "mc_info announces 2 more entries than it has",
    )


def test_an_entry_of_an_unknown_type_is_shown_beside_the_record() -> None:
    odd = struct.pack("<HHI", 9, 8, 0xDEADBEEF)
    info = McInfo(entries=(McInfoGlobal(), McInfoOpaque(content=odd), McInfoBank(bank=5, status=1 << 63)))
    record, unrecognised = read(info.pack())
    assert isinstance(record, Record)
    assert unrecognised == Unrecognised(Origin("mca.bin", offset=0), odd, "mc_info entry of type 9 with 8 bytes")


def test_an_mc_info_without_a_bank_is_unrecognised_not_a_record() -> None:
    (evidence,) = read(McInfo(entries=(McInfoGlobal(),)).pack())
    assert isinstance(evidence, Unrecognised)


def test_an_mc_info_without_a_global_entry_says_what_is_not_known() -> None:
    record = only_record(McInfo(entries=(McInfoBank(bank=5, status=1 << 63),)))
    assert (record.delivery, record.registers.mcg_status, record.apicid) == (Delivery.UNKNOWN, None, None)
    assert "no global entry" in record.assumptions[0]


def test_more_entries_than_fit_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="760"):
        McInfo(entries=(McInfoExtended(), McInfoExtended())).pack()
    with pytest.raises(ValueError, match="32 MSRs"):
        McInfoExtended(msrs=((0, 0),) * 33).pack()
    with pytest.raises(ValueError, match="does not fit"):
        McInfoBank(bank=0x10000).pack()


def test_an_entry_that_leaves_the_structure_is_a_format_error_with_its_offset() -> None:
    blob = bytearray(SRAO.pack())
    blob[8 + 32 + 2 : 8 + 32 + 4] = struct.pack("<H", 0xFFFF)
    with pytest.raises(FormatError) as caught:
        McInfo.unpack(bytes(blob))
    assert caught.value.offset == 40


u16, u32, u64 = st.integers(0, U16), st.integers(0, U32), st.integers(0, U64)
globals_ = st.builds(
    McInfoGlobal, domid=u16, vcpuid=u16, socketid=u32, coreid=u16, core_threadid=u16, apicid=u32, flags=u32, gstatus=u64
)
banks = st.builds(McInfoBank, bank=u16, domid=u16, status=u64, addr=u64, misc=u64, ctrl2=u64, tsc=u64)
recoveries = st.builds(
    McInfoRecovery,
    bank=u16,
    action_flags=st.integers(0, 255),
    action_types=st.integers(0, 255),
    action_info=st.binary(min_size=16, max_size=16),
)
extended = st.builds(McInfoExtended, msrs=st.lists(st.tuples(u64, u64), max_size=32).map(tuple))
infos = st.builds(
    McInfo,
    entries=st.tuples(globals_, extended) | st.lists(globals_ | banks | recoveries, max_size=15).map(tuple),
    incomplete=st.booleans(),
)


@given(infos)
def test_unpacking_what_was_packed_gives_the_same_entries(info: McInfo) -> None:
    assert McInfo.unpack(info.pack()) == info


@pytest.mark.parametrize("whole", [SRAO.pack(), SRAO.pack() * 2])
def test_every_prefix_is_read_the_same_or_unrecognised(whole: bytes) -> None:
    full = read(whole)
    for cut in range(len(whole)):
        for index, evidence in enumerate(read(whole[:cut])):
            assert evidence == full[index] or isinstance(evidence, Unrecognised)


@given(st.data())
def test_flipped_bits_never_raise(data: st.DataObject) -> None:
    blob = bytearray(SRAO.pack())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, 120 * 8 - 1))
        blob[at // 8] ^= 1 << at % 8
    assert read(bytes(blob))


@given(st.binary(max_size=900))
def test_arbitrary_bytes_never_raise(blob: bytes) -> None:
    assert all(isinstance(evidence, Record | Unrecognised) for evidence in read(blob))
    xen_mc_info.detect(blob, len(blob))
