"""Lines are joined to the records they belong to: forwards, backwards, interleaved, truncated, never invented."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.record.evidence import ClaimKind, Delivery, Evidence, Format, Record, Unrecognised
from ringfence.record.text.assemble import BURST_MAX_FRAGMENTS, GIVEN_AWAY, INTERLEAVED, TAKEN_FROM_FEWER
from ringfence.record.text.lines import RawLine
from ringfence.record.text.reader import read
from tests.record.texts import record


def evidence(text: str) -> list[Evidence]:
    return list(read((RawLine(n, line.encode()) for n, line in enumerate(text.split("\n"), 1)), "log"))


def records(text: str) -> list[Record]:
    found = evidence(text)
    assert all(isinstance(item, Record) for item in found), found
    return [item for item in found if isinstance(item, Record)]


def lines_of(number: int, *, prefix: str = "mce: [Hardware Error]: ") -> list[str]:
    """A record as Linux prints it, its values told apart by ``number``."""
    return [
        f"{prefix}CPU {number}: Machine Check: 0 Bank 7: {0x8C00004000010090 + (number << 38):016x}",
        f"{prefix}TSC 0 ADDR {0x1000 * (number + 1):x} MISC 86 ",
        f"{prefix}PROCESSOR 0:50657 TIME {1_600_000_000 + number} SOCKET 0 APIC {number:x} microcode 5000021",
    ]


def is_whole(record: Record) -> bool:
    number = record.cpu
    assert number is not None
    return (record.registers.status, record.registers.addr, record.time, record.apicid) == (
        0x8C00004000010090 + (number << 38),
        0x1000 * (number + 1),
        1_600_000_000.0 + number,
        number,
    )


def test_a_record_of_three_lines_is_one_record() -> None:
    (record,) = records("\n".join(lines_of(3)))
    assert is_whole(record)
    assert (record.cpuid, record.microcode, record.bank) == (0x50657, 0x5000021, 7)
    assert (record.delivery, record.origin.line, record.assumptions) == (Delivery.POLLED, 1, ())
    assert record.raw == "\n".join(lines_of(3)).encode()


def test_noise_between_the_lines_does_not_part_them() -> None:
    head, fields, processor = lines_of(3)
    (record,) = records("\n".join([head, "fbcon: Taking over console", fields, "usb 1-1: new device", processor]))
    assert is_whole(record)


def test_a_log_printed_newest_first_is_read_all_the_same() -> None:
    text = "\n".join([line for n in range(5) for line in lines_of(n)][::-1])
    found = records(text)
    assert all(is_whole(record) for record in found)
    assert [record.cpu for record in found] == [4, 3, 2, 1, 0]


NEWEST_FIRST = {
    "an EDAC line that names the record": "\n".join(
        [
            *lines_of(3, prefix="EDAC skx MC2: "),
            "EDAC MC2: 1 CE memory read error on CPU_SrcID#1_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x4 offset:0x0 "
            "grain:32 syndrome:0x0 -  err_code:0001:0090 socket:1 imc:0 rank:0 bg:0 ba:0 row:0 col:0)",
        ]
    ),
    "what the handler says, and the panic": "\n".join(
        [
            "mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 7: be00000000010090",
            *lines_of(3)[1:],
            "mce: [Hardware Error]: Machine check: Processor context corrupt",
            "Kernel panic - not syncing: Fatal machine check",
        ]
    ),
    "what became of the page": "\n".join(
        [*lines_of(3), "Memory failure: 0x4: recovery action for LRU page: Recovered"]
    ),
    "two banks of one old kernel's exception": "CPU 0: Machine Check Exception: 0000000000000004\n"
    "Bank 3: b200000000070f0f\nBank 4: b600000000000185 at 0000000012345640\n"
    "Kernel panic - not syncing: CPU context corrupt",
    "what mcelog prints": "\n".join(
        [
            "Hardware event. This is not a software error.",
            "MCE 0",
            "CPU 3 BANK 7 ",
            "MISC 86 ADDR 4000 ",
            "TIME 1600000003 Sun Sep 13 12:26:43 2020",
            "MCG status:",
            "MCi status:",
            "Corrected error",
            "MCA: MEMORY CONTROLLER RD_CHANNEL0_ERR",
            "STATUS 8c00004000010090 MCGSTATUS 0",
            "MCGCAP f000c14 APICID 6 SOCKETID 0 ",
            "CPUID Vendor Intel Family 6 Model 85 Step 7",
        ]
    ),
}
"""In the order in which Linux (mce/core.c, skx_base.c, memory-failure.c, 2.6's i386 mce/p4.c) and mcelog print them."""


def _said(record: Record) -> object:
    """All but where it stands and in which order."""
    claims = sorted((claim.kind, claim.text) for claim in record.claims)
    return (
        record.registers,
        record.bank,
        record.cpu,
        record.cpuid,
        record.time,
        record.delivery,
        record.memory,
        claims,
    )


@pytest.mark.parametrize("text", NEWEST_FIRST.values(), ids=list(NEWEST_FIRST))
def test_newest_first_every_line_that_speaks_of_a_record_finds_it(text: str) -> None:
    forwards = records(text)
    backwards = records("\n".join(reversed(text.split("\n"))))
    assert [_said(record) for record in reversed(backwards)] == [_said(record) for record in forwards]


def test_interleaved_records_are_joined_in_order_and_say_so() -> None:
    one, two = lines_of(1), lines_of(2)
    found = records("\n".join([one[0], two[0], one[1], two[1], one[2], two[2]]))
    assert [is_whole(record) for record in found] == [True, True]
    assert all(INTERLEAVED in record.assumptions for record in found[:1])


def test_one_set_of_lines_behind_two_heads_goes_to_the_second_and_both_say_that_it_is_not_certain() -> None:
    one, two = lines_of(1), lines_of(2)
    first, second = records("\n".join([one[0], two[0], *two[1:]]))
    assert (first.registers.addr, first.assumptions) == (None, (GIVEN_AWAY,))
    assert is_whole(second)
    assert second.assumptions == (TAKEN_FROM_FEWER,)


def test_printk_caller_ids_make_the_joining_certain() -> None:
    one, two = (
        lines_of(1, prefix="[    T1] mce: [Hardware Error]: "),
        lines_of(2, prefix="[    T2] mce: [Hardware Error]: "),
    )
    found = records("\n".join([one[0], two[0], two[1], one[1], two[2], one[2]]))
    assert [is_whole(record) for record in found] == [True, True]
    assert all(not record.assumptions for record in found)


def test_a_truncated_record_does_not_take_the_next_ones_lines() -> None:
    one, two = lines_of(1), lines_of(2)
    first, second = records("\n".join([*one[:2], *two]))
    assert first.registers.addr == 0x2000
    assert first.time is None
    assert is_whole(second)


def test_lines_whose_head_is_lost_are_shown_as_unreadable() -> None:
    one, two = lines_of(1), lines_of(2)
    lost, kept = evidence("\n".join([*one[1:], *two]))
    assert isinstance(lost, Unrecognised)
    assert lost.raw == "\n".join(one[1:]).encode()
    assert isinstance(kept, Record)
    assert is_whole(kept)


ANNOUNCED = "Hardware event. This is not a software error.\nMCE 0"
MCELOG = f"{ANNOUNCED}\nCPU 3 BANK 7 TSC 11\nADDR 2000\nSTATUS 8c00004000010090 MCGSTATUS 0"


def test_old_kernels_print_the_cpu_once_and_each_bank_by_itself() -> None:
    # Form of Linux 2.4/2.6 i386 (arch/i386/kernel/cpu/mcheck/k7.c); values: OpenVZ wiki, "Machine check exception".
    (record,) = records(
        "Jul  9 12:19:41 vz01 kernel: CPU 0: Machine Check Exception: 0000000000000004\n"
        "Jul  9 12:19:41 vz01 kernel: Bank 4: b604a00100000813 at 000000007e4f2f68\n"
        "Jul  9 12:19:41 vz01 kernel: Kernel panic: CPU context corrupt"
    )
    assert (record.cpu, record.bank, record.registers.mcg_status) == (0, 4, 4)
    assert record.registers.addr == 0x7E4F2F68
    assert record.claims[-1].kind is ClaimKind.PANIC


@pytest.mark.parametrize("text", [ANNOUNCED, ANNOUNCED.split("\n", maxsplit=1)[0], f"{MCELOG}\n{ANNOUNCED}"])
def test_an_announced_record_that_does_not_follow_is_shown_as_lost(text: str) -> None:
    lost = [item for item in evidence(text) if isinstance(item, Unrecognised)]
    assert [item.raw.decode() for item in lost] == [text.removeprefix(f"{MCELOG}\n")]
    assert "no record follows" in lost[0].why


def test_the_banks_of_an_old_kernels_exception_all_have_its_cpu_and_status_in_a_text_without_prefixes() -> None:
    found = records(
        "CPU 2: Machine Check Exception: 0000000000000004\nBank 3: b200000000070f0f\nBank 4: b200000000070f0f"
    )
    assert [(each.cpu, each.bank, each.registers.mcg_status) for each in found] == [(2, 3, 4), (2, 4, 4)]


def test_an_announced_record_that_follows_is_whole() -> None:
    assert len(records("\n".join([MCELOG] * 3))) == 3


def test_a_decoded_amd_record_takes_the_severity_before_and_edac_within() -> None:
    # Values: "EDAC/amd64: Add support for family 19h, models 60h-7fh" (H. Venev, linux-edac).
    (record,) = records(
        "mce: [Hardware Error]: Machine check events logged\n"
        "[Hardware Error]: Corrected error, no action required.\n"
        "[Hardware Error]: CPU:0 (19:61:2) MC21_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: 0xdc2040000400011b\n"
        "[Hardware Error]: Error Addr: 0x00000007ff7e93c0\n"
        "[Hardware Error]: IPID: 0x0000009600050f00, Syndrome: 0x000100010a801203\n"
        "[Hardware Error]: Unified Memory Controller Ext. Error Code: 0, DRAM ECC error.\n"
        "EDAC MC0: 1 CE Cannot decode normalized address on mc#0csrow#3channel#0 "
        "(csrow:3 channel:0 page:0x0 offset:0x0 grain:64 syndrome:0x1)\n"
        "[Hardware Error]: cache level: L3/GEN, tx: GEN, mem-tx: RD"
    )
    assert (record.format, record.cpuid, record.bank, record.origin.line) == (Format.AMD_DECODED, 0xA60F12, 21, 3)
    assert (record.registers.ipid, record.registers.synd) == (0x9600050F00, 0x100010A801203)
    assert record.memory is not None
    assert (record.memory.location.csrow, record.memory.physical_address) == (3, None)


def test_a_decoded_amd_record_keeps_its_ipid_behind_a_line_for_the_ppin() -> None:
    (one,) = records(
        "[Hardware Error]: Corrected error, no action required.\n"
        "[Hardware Error]: CPU:2 (19:11:1) MC17_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: 0xdc2040000000011b\n"
        "[Hardware Error]: Error Addr: 0x0000000123456780\n"
        "[Hardware Error]: PPIN: 0x02b8a1b2c3d4e5f6\n"
        "[Hardware Error]: IPID: 0x0000109600250f00, Syndrome: 0x000000ff0a800501\n"
        "[Hardware Error]: Unified Memory Controller Ext. Error Code: 0\n"
        "[Hardware Error]: cache level: L3/GEN, tx: GEN, mem-tx: RD"
    )  # Linux drivers/edac/mce_amd.c, amd_decode_mce
    assert (one.registers.ppin, one.registers.ipid, one.registers.synd, one.registers.addr) == (
        0x02B8A1B2C3D4E5F6,
        0x109600250F00,
        0xFF0A800501,
        0x123456780,
    )
    assert one.raw.count(b"\n") == 6


SKX_COMMON = """\
EDAC skx MC2: HANDLING MCE MEMORY ERROR
EDAC skx MC2: CPU 3: Machine Check Event: 0x0 Bank 7: 0x8c00004000010090
EDAC skx MC2: TSC 0x1a2b3c4d5e6f7
EDAC skx MC2: ADDR 0x1234567040
EDAC skx MC2: MISC 0x86
EDAC skx MC2: PROCESSOR 0:0x50657 TIME 1700000000 SOCKET 1 APIC 0x1a
EDAC MC2: 1 CE memory read error on CPU_SrcID#1_MC#0_Chan#0_DIMM#1 (channel:0 slot:1 page:0x1234567 offset:0x40 \
grain:32 syndrome:0x0 -  err_code:0x0001:0x0090 ProcessorSocketId:0x1 MemoryControllerId:0x0 PhysicalRankId:0x4 \
Row:0x5a1 Column:0x3f8 Bank:0x2 BankGroup:0x3)
"""
"""Linux drivers/edac/skx_common.c since 5.0, skx_mce_check_error and skx_mce_output_error."""


def test_edacs_own_print_with_0x_before_its_numbers_is_a_record_and_its_place_is_read() -> None:
    (one,) = records(SKX_COMMON)
    assert (one.cpu, one.bank, one.cpuid, one.socket, one.apicid) == (3, 7, 0x50657, 1, 0x1A)
    assert (one.registers.status, one.registers.addr, one.registers.misc) == (0x8C00004000010090, 0x1234567040, 0x86)
    assert one.memory is not None
    place = one.memory.location
    assert (place.socket, place.controller, place.channel, place.slot, place.rank) == (1, 0, 0, 1, 4)
    assert (place.bank_group, place.bank, place.row, place.column) == (3, 2, 0x5A1, 0x3F8)


@pytest.mark.parametrize("step", [1, -1])
def test_what_is_said_of_a_report_printed_twice_belongs_to_the_one_that_is_shown(step: int) -> None:
    text = (
        "mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 7: 8c00004000010090\n"
        "mce: [Hardware Error]: TSC 1a2b3c4d5e6f7 ADDR 1234567040 MISC 86 PPIN 8c1b2d3e4f50617\n"
        f"mce: [Hardware Error]: PROCESSOR 0:50657 TIME 1700000000 SOCKET 1 APIC 1a microcode 5000021\n{SKX_COMMON}"
    )
    first, second = records("\n".join(text.split("\n")[::step]))
    assert first.memory is not None
    assert first.memory.location.label == "CPU_SrcID#1_MC#0_Chan#0_DIMM#1"
    assert second.memory is None


def test_edac_joins_the_record_whose_error_code_and_address_it_names() -> None:
    # Values: skx_edac on Cascade Lake, 2023.
    (record,) = records(
        "EDAC skx MC2: HANDLING MCE MEMORY ERROR\n"
        "EDAC skx MC2: CPU 10: Machine Check Event: 0 Bank 7: 9c00004001010090\n"
        "EDAC skx MC2: TSC 21f39e41532e626\n"
        "EDAC skx MC2: ADDR 175321bec0\n"
        "EDAC skx MC2: MISC 200001c080801086\n"
        "EDAC skx MC2: PROCESSOR 0:50657 TIME 1681297434 SOCKET 1 APIC 20\n"
        "EDAC MC2: 1 CE memory read error on CPU_SrcID#1_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x175321b "
        "offset:0xec0 grain:32 syndrome:0x0 -  err_code:0101:0090 socket:1 imc:0 rank:0 bg:1 ba:2 row:d4d1 col:3f8)"
    )
    assert record.memory is not None
    assert record.memory.physical_address == 0x175321BEC0
    assert (record.memory.location.row, record.memory.location.column) == (0xD4D1, 0x3F8)


def test_edac_of_another_address_stands_alone() -> None:
    text = "\n".join([*lines_of(1), "EDAC MC0: 4 CE error on DIMM0 (channel:2 slot:0 page:0x999 offset:0x40 grain:8)"])
    machine_check, alone = records(text)
    assert machine_check.memory is None
    assert (alone.format, alone.count) == (Format.EDAC, 4)


def _beside(status: int, edac: str, *, vendor: int = 0) -> list[Record]:
    return records(
        f"mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 1: {status:016x}\n"
        "mce: [Hardware Error]: TSC 0 ADDR 1234567040 MISC 86\n"
        f"mce: [Hardware Error]: PROCESSOR {vendor}:50657 TIME 1600000000 SOCKET 0 APIC 0 microcode 1\n"
        f"EDAC MC0: {edac} memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x1234567 "
        "offset:0x40 grain:32)"
    )


CORRECTED, SRAR, DEFERRED = 0x8C00004000010090, 0xBD80000000100134, 0x8C00100000000000


@pytest.mark.parametrize(
    ("status", "vendor", "kind", "joins"),
    [
        (CORRECTED, 0, "CE", True),
        (CORRECTED, 0, "UE", False),
        (CORRECTED, 0, "Fatal", False),
        (SRAR, 0, "CE", False),
        (SRAR, 0, "UE", True),
        (SRAR, 0, "Fatal", True),
        (SRAR, 0, "Deferred", False),
        (DEFERRED, 2, "CE", False),
        (DEFERRED, 2, "UE", True),
        (DEFERRED, 2, "Deferred", True),
        (DEFERRED, 2, "Fatal", False),
        (DEFERRED, 0, "CE", True),  # on Intel bit 44 counts corrected errors
        (DEFERRED, 0, "UE", False),
    ],
)
def test_edac_joins_a_record_of_its_own_kind_only(status: int, vendor: int, kind: str, joins: bool) -> None:
    assert len(_beside(status, f"1 {kind}", vendor=vendor)) == (1 if joins else 2)


def test_edacs_count_is_never_the_count_of_a_banks_record() -> None:
    uncorrected, corrected = _beside(SRAR, "500 CE")
    assert (uncorrected.count, uncorrected.memory) == (1, None)
    assert (corrected.format, corrected.count) == (Format.EDAC, 500)
    (joined,) = _beside(CORRECTED, "500 CE")
    assert joined.count == 1
    assert joined.claims[-1].text.startswith("EDAC MC0: 500 CE")


def test_edac_of_another_line_of_the_same_page_stands_alone() -> None:
    edac = "EDAC MC0: 1 CE error on DIMM0 (channel:2 slot:0 page:0x2 offset:{} grain:8{})"
    text = "\n".join(lines_of(1))
    code = " -  err_code:0001:0090"
    assert len(records(f"{text}\n{edac.format('0x20', '')}")) == 1
    assert len(records(f"{text}\n{edac.format('0x40', '')}")) == 2
    assert len(records(f"{text}\n{edac.format('0x40', code)}")) == 2


def test_what_the_kernel_did_with_the_page_joins_the_record_of_that_page() -> None:
    text = "\n".join(
        [
            *lines_of(1),
            "Memory failure: 0x2: recovery action for dirty LRU page: Recovered",
            "Memory failure: 0x77: recovery action for free buddy page: Recovered",
        ]
    )
    joined, alone = records(text)
    assert joined.registers.addr == 0x2000
    assert joined.claims[-1].text.endswith("dirty LRU page: Recovered")
    assert (alone.format, alone.memory is not None and alone.memory.page_frame) == (Format.MEMORY_FAILURE, 0x77)


def test_a_recovered_load_of_which_the_kernel_prints_no_record_is_one_event_with_its_page() -> None:
    (one,) = records(
        "mce: Uncorrected hardware memory error in user-access at 3a4b5c040\n"
        "Memory failure: 0x3a4b5c: Sending SIGBUS to qemu-kvm:2222 due to hardware memory corruption\n"
        "Memory failure: 0x3a4b5c: recovery action for dirty LRU page: Recovered\n"
        "MCE: Killing CPU 0/KVM:2225 due to hardware memory corruption fault at 7f0012345000"
    )  # Linux mce/core.c, kill_me_maybe; mm/memory-failure.c; arch/x86/mm/fault.c, do_sigbus
    assert one.memory is not None
    assert (one.memory.page_frame, one.memory.physical_address) == (0x3A4B5C, 0x3A4B5C040)
    assert len(one.claims) == 4
    (kernels,) = records("mce: Kernel accessed poison in user space at 3a4b5c040")  # kill_me_never
    assert kernels.memory is not None
    assert kernels.memory.page_frame == 0x3A4B5C


def test_a_storm_is_cut_between_records_only() -> None:
    count = BURST_MAX_FRAGMENTS
    found = records("\n".join(line for n in range(count) for line in lines_of(n)))
    assert len(found) == count
    assert all(is_whole(record) for record in found)


def _interleaving(streams: list[list[str]], choose: random.Random) -> Iterable[str]:
    streams = [list(stream) for stream in streams]
    while streams:
        stream = choose.choice(streams)
        yield stream.pop(0)
        if not stream:
            streams.remove(stream)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 6),
    st.randoms(use_true_random=False),
    st.lists(st.integers(0, 17), max_size=6),
    st.booleans(),
)
def test_whatever_happens_to_the_lines_each_ends_up_in_exactly_one_place(
    count: int, choose: random.Random, lost: list[int], backwards: bool
) -> None:
    lines = list(_interleaving([lines_of(n) for n in range(count)], choose))
    kept = [line for n, line in enumerate(lines) if n not in lost]
    if backwards:
        kept.reverse()
    found = evidence("\n".join(kept))
    shown = sorted(line for item in found for line in item.raw.decode().split("\n"))
    assert shown == sorted(kept)
    heads = {line.split(" Bank ")[1] for line in kept if "Bank" in line}
    assert {f"7: {item.registers.status:016x}" for item in found if isinstance(item, Record)} == heads


INJECTED = """\
mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 1: b000000000000000
mce: [Hardware Error]: TSC 78418fb4a83f
mce: [Hardware Error]: PROCESSOR 0:406f1 TIME 1605312952 SOCKET 0 APIC 0 microcode 1
mce: [Hardware Error]: Machine check: MCIP not set in MCA handler
Kernel panic - not syncing: Fatal machine check
"""
"""linux-edac, November 2020: mce-inject in a KVM guest."""


def test_a_record_that_the_handler_panicked_over_came_by_exception_though_mcip_is_clear() -> None:
    one = record(INJECTED)
    assert (one.delivery, one.registers.mcg_status, one.assumptions) == (Delivery.MACHINE_CHECK, 0, ())
    assert record(INJECTED.replace("MCIP not set in MCA handler", "Overflowed uncorrected")).delivery is Delivery.POLLED
    old = record(INJECTED.replace("Check: 0", "Check Exception: 0").partition("mce: [Hardware Error]: Machine")[0])
    assert old.delivery is Delivery.POLLED
    assert "polled, not #MC" in old.assumptions[0]
