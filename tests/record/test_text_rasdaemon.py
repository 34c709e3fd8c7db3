"""rasdaemon's log and ras-mc-ctl's tables: vectors from public reports (named at each), forms from its sources."""

from __future__ import annotations

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.diagnosis.finding import diagnose
from ringfence.record.evidence import ClaimedSeverity, Format, Location, Record, Registers, Unrecognised
from ringfence.record.text import rasdaemon
from tests.record.texts import evidence, record, records, said

ZEN5 = (
    "1 2025-06-23 08:24:48 -0400 error: Corrected error, no action required., CPU 2, bank Load Store Unit (bank=0), "
    "mcg mcgstatus=0, mci CECC, mca DC data error type 2. Ext Err Code: 13, mcgcap=0x00000107, "
    "status=0x9c204000000d0175, addr=0x185dd56627, misc=0xd01a000100000000, walltime=0x68594791, cpu=0x0000000a, "
    "cpuid=0x00b40f40, apicid=0x00000004, microcode=0x0b404032"
)
"""The Arch wiki's example of a Ryzen 9 9950X, with another CPU number than its vendor's."""

ZEN2 = (
    "1 2024-12-19 03:52:38 +0000 error: Corrected error, no action required., CPU 2, bank Unified Memory Controller "
    "(bank=17), mcg mcgstatus=0, mci CECC, memory_channel=0,csrow=1, mcgcap=0x0000011c, status=0x9c2040000000011b, "
    "addr=0x319deb440, misc=0xd01b0fff01000000, walltime=0x67639886, cpuid=0x00870f10, bank=0x00000011"
)
"""github.com/NixOS/infra pull request 523."""

ICELAKE_WRAPPED = """\
112 2023-05-31 10:06:19 -0400 error: MEMORY CONTROLLER RD_CHANNEL0_ERR
Transaction: Memory read error MemCtrl:  Corrected read error bank: 0x1
bankgroup: 0x1 row: 0x3bc90 column: 0x328 failed device: 0xd rank: 0x5
subrank: 0x0 ecc mode:  SDDC, mcg mcgstatus=0, mci Corrected_error,
n_errors=1 memory_channel=0, mcgcap=0x0f000c1c, status=0x8c00004200800090,
addr=0x1efa4c7cc40, misc=0xd03451de4819486, tsc=0x1ddbf37a52d71,
walltime=0x6477545b, cpu=0x00000020, cpuid=0x000606a6, apicid=0x00000080,
socketid=0x00000001, bank=0x0000000d
"""
"""github.com/andikleen/mcelog issue 116, as a mail program wrapped it."""


def test_cpu_2_is_the_vendor_and_not_the_cpu() -> None:
    one = record(ZEN5)
    assert (one.format, one.vendor, one.cpu, one.bank) == (Format.RASDAEMON, Vendor.AMD, 10, 0)
    assert one.registers == Registers(
        status=0x9C204000000D0175, addr=0x185DD56627, misc=0xD01A000100000000, mcg_cap=0x107, mcg_status=0
    )
    assert (one.cpuid, one.apicid, one.microcode, one.time) == (0xB40F40, 4, 0xB404032, 0x68594791)


def test_what_is_zero_and_left_out_is_assumed_and_said() -> None:
    one = record(ZEN2)
    assert (one.cpu, one.bank) == (0, 17)
    assert one.assumptions == ("CPU 0: ras-mc-ctl leaves out zeros",)
    intel = record(  # SONiC's design document for MCE and PCIe errors, injected on a PowerEdge R640
        "1 2024-05-16 10:21:24 -0700 error: No Error, mcg mcgstatus=0, mci Corrected_error Error_enabled, "
        "mcgcap=0x0f000814,  status=0x9400000000000000, addr=0x0000abcd, walltime=0x66464093, cpuid=0x00050654, "
        "bank=0x00000001"
    )
    assert (intel.vendor, intel.cpu, intel.bank) == (Vendor.INTEL, 0, 1)
    assert intel.assumptions[0] == "vendor Intel: ras-mc-ctl leaves out vendor number 0"


def test_the_place_that_rasdaemon_worked_out_is_kept() -> None:
    memory = record(ZEN2).memory
    assert memory is not None
    assert memory.location == Location(channel=0, csrow=1)
    assert memory.severity is None


def test_a_wrapped_line_is_one_record() -> None:
    one = record(ICELAKE_WRAPPED)
    assert one.registers == Registers(
        status=0x8C00004200800090,
        addr=0x1EFA4C7CC40,
        misc=0xD03451DE4819486,
        tsc=0x1DDBF37A52D71,
        mcg_cap=0xF000C1C,
        mcg_status=0,
    )
    assert (one.cpu, one.socket, one.apicid, one.bank, one.cpuid) == (0x20, 1, 0x80, 13, 0x606A6)
    assert one.memory is not None
    assert one.memory.location == Location(
        channel=0, rank=5, bank_group=1, bank=1, row=0x3BC90, column=0x328, device=0xD
    )


def test_wrapped_or_not_gives_the_same() -> None:
    wrapped, whole = record(ICELAKE_WRAPPED), record(" ".join(ICELAKE_WRAPPED.split("\n")))
    assert wrapped.registers == whole.registers
    assert wrapped.memory == whole.memory
    assert (wrapped.cpu, wrapped.bank, wrapped.time) == (whole.cpu, whole.bank, whole.time)


def test_events_of_one_table_are_told_apart() -> None:
    found = records(f"MCE events:\n{ZEN5}\n{ZEN2}\n{ICELAKE_WRAPPED}{ZEN2}\n\nNo SIGNAL event.\n")
    assert [one.cpu for one in found] == [10, 0, 0x20, 0]


def test_the_daemons_line_has_hexadecimal_without_0x_and_a_decimal_mcgstatus() -> None:
    one = record(  # ras-mce-handler.c, report_mce_event
        "Jun 23 08:24:48 host rasdaemon[812]:            <...>-2345  [000]     0.001234: mce_record:           "
        "[ERROR] 2024-01-01 10:00:00 +0000 bank=11, status= 9c2040000000011b, DRAM ECC error, mci=CECC, "
        "cpu_type= AMD Scalable MCA, cpu= 13, socketid= 1, misc= d01b0fff01000000, addr= 319deb440, "
        "synd= 4d000000, ipid= 9600150f00, mcgstatus=12, mcgcap= 11c, apicid= 1c, ppin= 2b, microcode= 8701034"
    )
    assert one.registers == Registers(
        status=0x9C2040000000011B,
        addr=0x319DEB440,
        misc=0xD01B0FFF01000000,
        synd=0x4D000000,
        ipid=0x9600150F00,
        mcg_status=12,
        mcg_cap=0x11C,
        ppin=0x2B,
    )
    assert (one.bank, one.cpu, one.socket, one.apicid, one.vendor) == (0x11, 13, 1, 0x1C, Vendor.AMD)
    assert one.time == 1704103200.0


@pytest.mark.parametrize(
    ("name", "bank"), [("Unified Memory Controller (bank=17)", 17), ("bank=11", 0x11), ("northbridge (bank=4)", 4)]
)
def test_the_bank_is_read_from_its_name_or_number(name: str, bank: int) -> None:
    line = f"x-1 [000] 0.1: mce_record: 2024-01-01 10:00:00 +0000 {name}, status= 9c2040000000011b, cpu= 3"
    assert record(line).bank == bank


def test_a_memory_event_of_the_daemon_keeps_its_label_and_count() -> None:
    one = record(
        "           <...>-2345  [000]     0.001234: mc_event:             2024-01-01 10:00:00 +0000 2 Corrected "
        "errors: memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (mc: 0 location: 1:0 address: 0x12345000 grain: 7 "
        "syndrome: 0x0000abcd  area:DRAM err_code:0001:0090 socket:1 ha:0 channel_mask:2 rank:3)"
    )
    assert (one.count, one.time) == (2, 1704103200.0)
    assert one.memory is not None
    assert (one.memory.severity, one.memory.error) == (ClaimedSeverity.CORRECTED, "memory read error")
    assert one.memory.location == Location(
        label="CPU_SrcID#0_Ha#0_Chan#1_DIMM#0", controller=0, socket=1, rank=3, syndrome=0xABCD
    )
    assert (one.memory.physical_address, one.memory.page_frame) == (0x12345000, 0x12345)
    assert one.memory.grain_bytes is None  # the tracepoint's grain is an exponent, and off by two in older kernels


def test_the_tables_memory_event_has_a_decimal_address() -> None:
    one = record(
        "1 2024-01-01 10:00:00 +0000 3 Uncorrected error(s): memory read error at CPU_SrcID#0_MC#0_Chan#1_DIMM#0 "
        "location: 0:1:0:-1, addr 305418240, grain 7, syndrome 0  err_code:0x0101:0x0091 socket:0 rank:1"
    )
    assert one.memory is not None
    assert (one.count, one.memory.severity, one.memory.physical_address) == (
        3,
        ClaimedSeverity.RECOVERABLE,
        0x12345000,
    )


def test_a_summary_stands_for_its_count() -> None:
    one = record(
        "Memory controller events summary:\n"
        "\tCorrected on DIMM Label(s): 'CPU_SrcID#0_MC#0_Chan#1_DIMM#0' location: 0:1:0:-1 errors: 12\n\n"
        "No PCIe AER errors.\n\nNo MCE errors.\n"
    )
    assert one.count == 12
    assert one.memory is not None
    assert one.memory.location.label == "CPU_SrcID#0_MC#0_Chan#1_DIMM#0"
    assert one.assumptions[0].startswith("a summary")


@pytest.mark.parametrize(
    "line",
    [
        "3 2024-01-01 10:00:00 +0000 error: type=single-bit ECC, severity=corrected, address=0x12345000, "
        "fru_id=00, fru_text='DIMM 3', node=1, card=0, module=2, rank=1, bank=3, row=77, column=8",
        "x-9 [001] 0.5: extlog_mem_event: 2024-01-01 10:00:00 +0000 [ERROR] 3 corrected error: single-bit ECC physical "
        "addr: 0x12345000 mask: 0xffffffffffffffc0 {node:1 rank:1 bank:3 row:77 column:8} DIMM 3",
    ],
)
def test_a_firmware_event_is_a_memory_report(line: str) -> None:
    one = record(line)
    assert one.memory is not None
    assert (one.memory.severity, one.memory.error) == (ClaimedSeverity.CORRECTED, "single-bit ECC")
    assert one.memory.physical_address == 0x12345000
    place = one.memory.location
    assert (place.node, place.rank, place.bank, place.row, place.column) == (1, 1, 3, 77, 8)


@pytest.mark.parametrize(
    "line",
    [
        "3 2024-01-01 10:00:00 +0000 error: pfn=0x12345, page_type=dirty LRU page, action_result=Recovered",
        "x-9 [001] 0.5: memory_failure_event: [ALERT] 2024-01-01 10:00:00 +0000 pfn=0x12345 page_type=dirty LRU page "
        "action_result=Recovered",
    ],
)
def test_a_memory_failure_names_its_frame(line: str) -> None:
    one = record(line)
    assert one.memory is not None
    assert (one.memory.page_frame, one.memory.physical_address) == (0x12345, 0x12345000)
    assert one.memory.error == "memory failure: dirty LRU page: Recovered"


@pytest.mark.parametrize(
    "line",
    [
        "No Memory errors.", "No MCE errors.", "MCE events:", "Memory controller events summary:",
        "3 2024-01-01 10:00:00 +0000 error: dev=8:0, sector=1, nr_sector=8, error='I/O error'",
        "3 2024-01-01 10:00:00 +0000 error: memdev=mem0, host=0000:00:01.0",
        "rasdaemon: mce_record store: 0x55d0b8", "status=0x9c2040000000011b", "foo, status= zz",
    ],
)  # fmt: skip
def test_lines_without_a_machine_check_are_no_evidence(line: str) -> None:
    assert evidence(line) == []


def test_a_number_too_wide_for_its_field_is_not_taken() -> None:
    fragment = rasdaemon.GRAMMAR.read(ZEN2.replace("bank=0x00000011", "bank=0x00000fff"), False)
    assert fragment is not None
    assert fragment.values["bank"] == 17  # the name's
    assert "status" in fragment.registers


def test_the_words_of_rasdaemon_are_its_claim() -> None:
    assert said(record(ZEN5)) == [
        "error: Corrected error, no action required., CPU 2, bank Load Store Unit (bank=0), mcg mcgstatus=0, mci CECC, "
        "mca DC data error type 2. Ext Err Code: 13"
    ]


def test_a_wrapped_line_leaves_out_the_same_as_a_whole_one() -> None:
    one = record(ICELAKE_WRAPPED)
    assert (one.vendor, one.assumptions) == (Vendor.INTEL, ("vendor Intel: ras-mc-ctl leaves out vendor number 0",))
    first = record(ICELAKE_WRAPPED.replace(" cpu=0x00000020,", ""))
    assert (first.cpu, first.assumptions[1]) == (0, "CPU 0: ras-mc-ctl leaves out zeros")
    cut = record(ICELAKE_WRAPPED.partition("walltime")[0])
    assert (cut.vendor, cut.cpu, cut.assumptions) == (None, None, ())


@pytest.mark.parametrize("behind", ["required.,", "CPU 2,", "(bank=0),", "mcgstatus=0,", "mcgcap=0x00000107,"])
def test_a_vendor_that_is_printed_counts_wherever_the_line_is_wrapped(behind: str) -> None:
    one = record(ZEN5.replace(f"{behind} ", f"{behind}\n"))
    assert (one.vendor, one.cpu, one.bank, one.assumptions) == (Vendor.AMD, 10, 0, ())


SUMMARY = (
    "Memory controller events summary:\n"
    "\tCorrected on DIMM Label(s): 'DIMM_A1' location: 0:1:0:-1 errors: 12\n\n"
    "PCIe AER events summary:\n\t2 Corrected errors: Receiver Error\n\n"
    "Extlog records summary:\n\t4 single-bit ECC corrected errors\n\t1 unknown unknown-severity errors\n"
    "Devlink records summary:\n\t0000:01:00.0 has 3 errors\n"
    "Memory failure events summary:\n\tRecovered errors: 3\n\n"
    "MCE records summary:\n"
    "\t7 Corrected error, no action required. errors\n"
    "\t2 Uncorrected, software containable error. errors\n"
    "\t5 MEMORY CONTROLLER RD_CHANNEL0_ERR Transaction: Memory read error errors\n"
)
"""Rendered from the formats of util/ras-mc-ctl.in, summary()."""


def test_every_total_of_the_summary_is_read_or_shown() -> None:
    found = evidence(SUMMARY)
    read = [
        (one.count, one.memory.severity, one.memory.error)
        for one in found
        if isinstance(one, Record) and one.memory is not None
    ]
    assert read == [
        (12, ClaimedSeverity.CORRECTED, None),
        (4, ClaimedSeverity.CORRECTED, "single-bit ECC"),
        (3, ClaimedSeverity.RECOVERABLE, "memory failure: Recovered"),
        (7, ClaimedSeverity.CORRECTED, "Corrected error, no action required"),
        (2, ClaimedSeverity.RECOVERABLE, "Uncorrected, software containable error"),
    ]
    unread = [item for item in found if isinstance(item, Unrecognised)]
    assert [item.raw.decode().strip() for item in unread] == [
        "1 unknown unknown-severity errors",
        "5 MEMORY CONTROLLER RD_CHANNEL0_ERR Transaction: Memory read error errors",
    ]
    assert all("a summary: the count is of stored events" in item.why for item in unread)


def test_a_total_of_uncorrected_errors_says_what_rasdaemons_words_hide() -> None:
    one = records("MCE records summary:\n\t2 Uncorrected, software containable error. errors\n")[0]
    assert any("some may have been fatal" in assumption for assumption in one.assumptions)


def test_a_total_of_records_is_not_said_to_be_of_memory() -> None:
    by_words = {diagnose(one).reading.unit for one in evidence(SUMMARY) if isinstance(one, Record)}
    assert by_words == {"hardware, as rasdaemon counts its records", "memory, as the source reports it"}


def test_a_total_without_a_heading_is_no_evidence() -> None:
    assert evidence("\t7 Corrected error, no action required. errors\n") == []
