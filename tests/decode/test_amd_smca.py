"""Scalable MCA banks: what real logs say, and what every bank type, code and register form leads to."""

from __future__ import annotations

import pytest

from ringfence.arch import mci_status, smca_registers
from ringfence.arch.cpuid import Processor, Vendor
from ringfence.arch.smca_banks import BANK_TYPES, BankType
from ringfence.decode.meaning import AddressKind, canonical
from ringfence.record.evidence import Location
from tests.decode.amd_logs import amd, logged, notes_of, read_bank

ZEN, ZEN_PLUS, ZEN2, ROME = amd(0x17, 0x01, 1), amd(0x17, 0x18, 1), amd(0x17, 0x71), amd(0x17, 0x31)
ZEN3, MILAN, ZEN4, ZEN5 = amd(0x19, 0x21), amd(0x19, 0x01, 1), amd(0x19, 0x61, 2), amd(0x1A, 0x44)
MI300A, DHYANA = amd(0x19, 0x90), amd(0x18, 0x01, 1, Vendor.HYGON)

UMC_IPID, LS_IPID, LS_V2_IPID = 0x0000_0096_0005_0F00, 0x0000_00B0_0000_0000, 0x0010_00B0_0000_0000
IF_IPID, EX_IPID, L3_IPID = 0x0001_00B0_0000_0000, 0x0005_00B0_0000_0000, 0x0007_00B0_4000_0000


def ipid_of(bank: BankType) -> int:
    return smca_registers.IPID.join({"McaType": bank.mca_type, "HardwareID": bank.hardware_id})


def status_with(**values: int) -> int:
    return mci_status.AMD_SMCA.join({"VAL": 1, "EN": 1} | values)


@pytest.mark.parametrize("bank", BANK_TYPES, ids=lambda bank: bank.symbol)
def test_every_type_and_code_is_named_or_given_by_its_number(bank: BankType) -> None:
    for code in range(64):
        reading = read_bank(logged(3, status_with(ErrorCodeExt=code, ErrorCode=0x0135), ipid=ipid_of(bank)), ZEN)
        assert reading.unit.startswith(bank.name)
        name = bank.errors.get(code)
        expected = f"extended error code {code}, which no public source names for {bank.symbol}"
        assert reading.error == (name or expected)
        assert f"extended error code {code}" in reading.details
        assert reading.assumptions == ()


@pytest.mark.parametrize(
    ("processor", "addr", "linear"),
    [
        # Linux forum, March 2021 (Zen); NixOS configuration, M. Huber (Zen 2); mesa bug (Zen 2, second processor).
        (ZEN, 0x1FFFF98EDC72E, 0xFFFFFFFF98EDC72E),
        (ZEN2, 0x7F033CBA0B1C, 0x7F033CBA0B1C),
        (ZEN2, 0x1FFFFC1196EB6, 0xFFFFFFFFC1196EB6),
    ],
)
def test_execution_watchdog_of_zen_logs_an_instruction_address(processor: Processor, addr: int, linear: int) -> None:
    record = logged(
        5,
        0xBEA0000000000108,
        addr=addr,
        misc=0xD012000100000000,
        synd=0x4D000000,
        ipid=EX_IPID,
        tsc=0,
        mcg_status=0,
    )
    reading = read_bank(record, processor)
    assert (reading.unit, reading.error) == ("Execution Unit", "watchdog timeout")
    assert (reading.address.kind, reading.address.names_a_page) == (AddressKind.LINEAR, False)
    assert canonical(addr) == linear
    assert "logged with priority: fatal" in reading.details
    assert not any("TCC" in detail for detail in reading.details)  # PCC=1: TCC says nothing (APM vol. 2 9.3.2.2)
    assert "the core hung" in notes_of(reading)
    assert "left over from before that moment" in notes_of(reading)
    assert reading.corrected_count is None


@pytest.mark.parametrize("addr", [0xFFFFFFAF906A82, 0x1424D5837])
def test_execution_watchdog_of_zen_3_logs_56_bits_and_its_lsb_in_status(addr: int) -> None:
    # NixOS configuration (March 2024) and a French journal (January 2024).
    record = logged(5, 0xBEA0000001000108, addr=addr, synd=0x4D000000, ipid=EX_IPID)
    reading = read_bank(record, ZEN3)
    assert reading.error == "watchdog timeout"
    assert reading.address.granularity_bytes == 2
    assert reading.address.value == addr & ~1
    assert canonical(addr) == (0xFFFFFFFFAF906A82 if addr >> 48 else addr)


def test_reset_notice_without_an_address_still_names_the_watchdog() -> None:
    # GPU cluster notes: "Bank 5: bea0000000000108 (IPID 0x500b000000000)".
    reading = read_bank(logged(5, 0xBEA0000000000108, ipid=EX_IPID, mcg_status=0), None)
    assert reading.error == "watchdog timeout"
    assert reading.address.value is None
    assert "does not carry MCA_ADDR" in reading.address.because


def test_deferred_address_violation_of_raven() -> None:
    # amdgpu bug mail, March 2022: "Coherent Slave Ext. Error Code: 1, Address Violation."
    record = logged(20, 0x9C2030000001085B, addr=0x7FFCFFFFFF00, ipid=0x2E00000000, synd=0x5B240204)
    reading = read_bank(record, ZEN_PLUS)
    assert reading.unit == "Coherent Station (Coherent Slave)"
    assert reading.error == "address violation"
    assert reading.address.kind is AddressKind.PHYSICAL
    assert not reading.address.names_a_page
    assert "logged with priority: deferred" in reading.details
    assert any(detail.startswith("deferred:") for detail in reading.details)
    assert reading.notes == ()


def test_poison_from_l2_names_the_page_it_came_from() -> None:
    # Arch wiki "Ryzen": an undervolted core. AddrLsb is 6 in MCA_STATUS[29:24].
    record = logged(1, 0xBC800800060C0859, addr=0x7EA8F5B00, misc=0xD012000000000000, ipid=IF_IPID)
    reading = read_bank(record, ZEN3)
    assert (reading.unit, reading.error) == ("Instruction Fetch Unit", "L2 cache response poison error")
    assert reading.address.kind is AddressKind.PHYSICAL
    assert reading.address.granularity_bytes == 64
    assert reading.address.names_a_page
    assert reading.assumptions == (
        "MCA_CONFIG is not in the evidence: AddrLsb is read from MCA_STATUS, as in family 19h and later",
    )


def test_poisoned_read_of_a_device_names_no_page_of_memory() -> None:
    # LKML, October 2023, FireWire on Ryzen: a read of the device's registers at fca000f0.
    record = logged(0, 0xBC00080001010135, addr=0xFCA000F0, misc=0xD012000000000000, ipid=LS_V2_IPID)
    reading = read_bank(record, ZEN3)
    assert reading.error == "data cache ECC error or L2 poison, read by a load"
    assert reading.address.kind is AddressKind.PHYSICAL
    assert not reading.address.names_a_page
    assert "devices and firmware" in reading.address.because


@pytest.mark.parametrize(
    ("processor", "bank", "status", "addr", "synd", "location"),
    [
        # "ECC notes" (Zen); EDAC said: csrow 0 channel 0 syndrome 0x4020.
        (ZEN, 15, 0xDC2040000000011B, 0x65AA27C0, 0x40200A401000, Location(channel=0, csrow=0, syndrome=0x4020)),
        # EDAC/amd64 patch mail, H. Venev (Zen 4); EDAC said csrow 3 and, cut to 16 bits, syndrome 0x1.
        (ZEN4, 21, 0xDC2040000400011B, 0x7FF7E93C0, 0x100010A801203, Location(channel=0, csrow=3, syndrome=0x10001)),
    ],
)
def test_dram_ecc_error_is_placed_by_ipid_and_syndrome_register(
    *, processor: Processor, bank: int, status: int, addr: int, synd: int, location: Location
) -> None:
    reading = read_bank(logged(bank, status, addr=addr, ipid=UMC_IPID, synd=synd), processor)
    assert (reading.unit, reading.error) == ("Unified Memory Controller, channel 0", "DRAM ECC error")
    assert reading.location == location
    assert reading.address.kind is AddressKind.NORMALISED
    assert not reading.address.names_a_page
    assert "overflow: at least one more error came and was not kept" in reading.details


def test_umc_channel_is_the_sixth_nibble_of_the_instance() -> None:
    for channel in range(12):
        reading = read_bank(logged(21, status_with(), ipid=0x96_0005_0F00 | channel << 20, socket=1), MILAN)
        assert reading.unit == f"Unified Memory Controller, channel {channel}"
        assert reading.location == Location(socket=1, channel=channel)


def test_dram_ecc_details_tell_chip_id_symbol_and_history() -> None:
    synd = smca_registers.SYND.join({"Syndrome": 0xABCD, "Length": 8, "ErrorPriority": 2, "ErrorInformation": 0xD235})
    reading = read_bank(logged(21, status_with(SyndV=1, CECC=1), ipid=UMC_IPID, synd=synd), MILAN)
    assert reading.details[:6] == (
        "logged with priority: corrected",
        "chip select 5",
        "chip id (rank multiply) 3",
        "symbol 18 (of a corrected error)",
        "the hardware's history had marked this symbol before",
        "the symbol is one that software manages as bad",
    )


def test_syndrome_register_without_syndv_says_nothing() -> None:
    reading = read_bank(logged(21, status_with(CECC=1), ipid=UMC_IPID, synd=0x100010A801203), MILAN)
    assert reading.location == Location(channel=0)
    assert not [detail for detail in reading.details if "syndrome" in detail]


@pytest.mark.parametrize(
    ("processor", "status", "ipid", "synd"),
    [
        # xmrig issue 1802 (3900X) and LKML May 2020 (EPYC 7502): link errors of the Data Fabric.
        (ZEN2, 0x982000000002080B, 0x1002E00000500, 0x5A020005),
        (ROME, 0xD82000000002080B, 0x1002E00001E01, 0x5A000005),
    ],
)
def test_link_errors_of_the_data_fabric(processor: Processor, status: int, ipid: int, synd: int) -> None:
    reading = read_bank(logged(27, status, ipid=ipid, synd=synd), processor)
    assert reading.unit == "Power, Interrupts, etc. (Data Fabric)"
    assert reading.error == "link error (GMI or xGMI)"
    assert reading.address.kind is AddressKind.NONE
    assert f"instance {ipid & 0xFFFFFFFF:#x}" in reading.details


def test_load_store_unit_of_zen_5_is_of_the_first_type() -> None:
    # corecycler's log of a 9950X: "Load Store Unit Ext. Error Code: 13".
    record = logged(0, 0xDC204000000D0175, addr=0x2A90B5060, ipid=LS_IPID, synd=0x21A17010A)
    reading = read_bank(record, ZEN5)
    assert (reading.unit, reading.error) == ("Load-Store Unit", "DC data error type 2")
    assert reading.address.kind is AddressKind.PHYSICAL
    assert not reading.address.names_a_page


def test_rasdaemon_text_without_ipid_is_read_with_the_guess_listed() -> None:
    # Arch wiki, ras-mc-ctl --errors of a 9950X (bank 0), and NixOS infra pull 523 (3900X, bank 17).
    record = logged(0, 0x9C204000000D0175, addr=0x185DD56627, misc=0xD01A000100000000)
    reading = read_bank(record, ZEN5)
    assert (reading.unit, reading.error) == ("Load-Store Unit", "DC data error type 2")
    assert any("bank 0 is taken for LS" in assumption for assumption in reading.assumptions)

    record = logged(17, 0x9C2040000000011B, addr=0x319DEB440, misc=0xD01B0FFF01000000)
    reading = read_bank(record, ZEN2)
    assert (reading.unit, reading.error) == ("Unified Memory Controller", "DRAM ECC error")
    assert reading.location == Location()
    assert any("bank 17 is taken for UMC" in assumption for assumption in reading.assumptions)
    assert reading.threshold_count == 4095
    assert "the threshold counter has overflowed: further errors are not counted" in reading.details


def test_scrubbed_dram_error_and_its_counter() -> None:
    # telegraf issue 19511: two records, counter at 2 and at 3.
    for count in (2, 3):
        misc = 0xD01A000001000000 | count << 32
        reading = read_bank(logged(17, 0x9C2041000000011B, addr=0x27AAD20C0, misc=misc, ipid=UMC_IPID), ZEN2)
        assert "found by a scrubber" in reading.details
        assert reading.threshold_count == count
        assert reading.corrected_count is None


def test_counter_that_is_not_there_or_not_valid_is_not_told() -> None:
    for misc in (0xCAFEBEEF, 0x8000_0001_0000_0000, 0x4000_0001_0000_0000):
        reading = read_bank(logged(17, status_with(MISCV=1), misc=misc, ipid=UMC_IPID), ZEN2)
        assert not [detail for detail in reading.details if "counter" in detail]
    reading = read_bank(logged(17, status_with(), misc=0xD01A000201000000, ipid=UMC_IPID), ZEN2)
    assert not [detail for detail in reading.details if "counter" in detail]


def test_a_counter_that_is_switched_off_raises_nothing() -> None:
    reading = read_bank(logged(5, status_with(MISCV=1), misc=0xD012000100000000, ipid=EX_IPID), ZEN)
    assert "the threshold counter is switched off" in reading.details
    assert not [detail for detail in reading.details if "raises" in detail]


def test_locked_counter_belongs_to_firmware() -> None:
    reading = read_bank(logged(17, status_with(MISCV=1), misc=0xE00C_0001_0000_0000, ipid=UMC_IPID), ZEN2)
    assert any("firmware owns it" in detail for detail in reading.details)
    assert "the threshold counter raises an SMI on overflow" in reading.details


def test_unknown_hardware_is_given_by_its_numbers() -> None:
    reading = read_bank(logged(31, 0xCA0158A452CC2420, ipid=0x8234C5C7B783BE99), ZEN4)
    assert reading.unit == "unknown SMCA unit (HardwareID 0x5c7, McaType 0x8234) in bank 31"
    assert reading.error == "error code 0x2420 is none that AMD defines"
    assert "reserved bits of MCA_STATUS are set: 48, 39, 30, 23, 22" in reading.details


def test_hygon_is_read_through_the_same_tables() -> None:
    reading = read_bank(logged(15, 0x9C2040000000011B, ipid=UMC_IPID | 1 << 20), DHYANA)
    assert (reading.unit, reading.error) == ("Unified Memory Controller, channel 1", "DRAM ECC error")


def test_smca_registers_prove_smca_without_a_processor() -> None:
    reading = read_bank(logged(1, 0xBC800800060C0859, addr=0x7EA8F5B00, ipid=IF_IPID), None)
    assert reading.error == "L2 cache response poison error"
    assert reading.address.granularity_bytes is None
    assert read_bank(logged(15, status_with()), None).unit == "unknown SMCA bank 15"
    assert read_bank(logged(None, status_with(), synd=0), None).unit == "unknown SMCA bank without a number"


def test_models_that_differ_are_an_assumption_without_a_processor() -> None:
    reading = read_bank(logged(20, status_with(ErrorCodeExt=9), ipid=0x2_002E_0000_0000), None)
    assert reading.error == "probe filter protocol error"
    assert reading.assumptions == (
        "the processor is not known, and models differ: extended error code 9 of CS_V2 may also be: "
        "SDP read response with an unexpected RETRY",
    )


LSB_IN_STATUS = smca_registers.LSB_IN_STATUS.mask


@pytest.mark.parametrize(
    ("processor", "config", "addr", "value", "granularity_bytes"),
    [
        # In MCA_ADDR[61:56] unless MCA_CONFIG says otherwise; bit 56 is an address bit only where it does.
        (None, 0, 0x0C01_2345_6789_ABCD, 0x0001_2345_6789_A000, 1 << 12),
        (None, LSB_IN_STATUS, 0x0C01_2345_6789_ABCD, 0x0001_2345_6789_ABC0, 1 << 6),
        (None, LSB_IN_STATUS, 0x0101_2345_6789_ABCD, 0x0101_2345_6789_ABC0, 1 << 6),
        (ZEN3, 0, 0x0C01_2345_6789_ABCD, 0x0001_2345_6789_A000, 1 << 12),
        (ZEN2, None, 0x0C01_2345_6789_ABCD, 0x0001_2345_6789_A000, 1 << 12),
        (ZEN2, None, 0x0001_2345_6789_ABCD, 0x0001_2345_6789_ABCD, None),  # Linux cuts the field off
        (ZEN4, None, 0x0001_2345_6789_ABCD, 0x0001_2345_6789_ABC0, 1 << 6),
        (None, None, 0x0C01_2345_6789_ABCD, 0x0001_2345_6789_ABCD, None),
    ],
)
def test_least_significant_bit_is_where_the_bank_says(
    processor: Processor | None, config: int | None, addr: int, value: int, granularity_bytes: int | None
) -> None:
    status = status_with(ADDRV=1, AddrLsb=6, ErrorCodeExt=2)
    reading = read_bank(logged(2, status, addr=addr, ipid=0x2_00B0_0000_0000, config=config), processor)
    assert (reading.address.value, reading.address.granularity_bytes) == (value, granularity_bytes)
    assert bool(reading.assumptions) == (processor is not None and config is None)


PADDRV_CONFIG = smca_registers.PADDRV_SUPPORTED.mask | LSB_IN_STATUS


@pytest.mark.parametrize(
    ("config", "bits", "kind", "names_a_page"),
    [
        (PADDRV_CONFIG, {"PhysAddrV": 1}, AddressKind.PHYSICAL, True),
        (PADDRV_CONFIG, {"PhysAddrV": 0, "Poison": 1, "UC": 1}, AddressKind.PHYSICAL, False),
        (PADDRV_CONFIG, {}, AddressKind.PHYSICAL, False),
        (None, {"PhysAddrV": 1}, AddressKind.PHYSICAL, False),  # not established: the bit was reserved before
        (None, {"Poison": 1, "UC": 1}, AddressKind.PHYSICAL, True),
        (None, {}, AddressKind.PHYSICAL, False),
    ],
)
def test_an_address_is_trusted_as_linux_trusts_it(
    config: int | None, bits: dict[str, int], kind: AddressKind, names_a_page: bool
) -> None:
    # Linux arch/x86/kernel/cpu/mce/amd.c, amd_mce_usable_address (2025): PhysAddrV where supported, else Poison.
    status = status_with(ADDRV=1, ErrorCodeExt=12, **bits)
    reading = read_bank(logged(0, status, addr=0x1234_5000, ipid=LS_IPID, config=config), ZEN5)
    assert (reading.address.kind, reading.address.names_a_page) == (kind, names_a_page)


def test_a_umc_address_is_never_trusted_without_physaddrv() -> None:
    # Linux's test of Poison would take it; its own comment says that UMC addresses are not usable.
    for bits in ({}, {"Poison": 1, "UC": 1}, {"Deferred": 1}):
        status = status_with(ADDRV=1, **bits)
        reading = read_bank(logged(21, status, addr=0x1234_5000, ipid=UMC_IPID), ZEN4)
        assert (reading.address.kind, reading.address.names_a_page) == (AddressKind.NORMALISED, False)
    status = status_with(ADDRV=1, PhysAddrV=1)
    reading = read_bank(logged(21, status, addr=0x1234_5000, ipid=UMC_IPID, config=PADDRV_CONFIG), ZEN5)
    assert (reading.address.kind, reading.address.names_a_page) == (AddressKind.PHYSICAL, True)


def test_tlb_errors_of_the_load_store_unit_log_a_virtual_address() -> None:
    for code in (16, 17):
        status = status_with(ADDRV=1, UC=1, Poison=1, ErrorCodeExt=code)
        reading = read_bank(logged(0, status, addr=0x7F00_1234_5000, ipid=LS_IPID), ZEN)
        assert (reading.address.kind, reading.address.names_a_page) == (AddressKind.LINEAR, False)


def test_a_kind_that_no_source_tells_is_unknown() -> None:
    reading = read_bank(logged(3, status_with(ADDRV=1), addr=0x1000, ipid=0x3_00B0_0000_0000), ZEN)
    assert reading.address.kind is AddressKind.UNKNOWN
    assert "no source that we could check" in reading.address.because


def test_mi300a_logs_row_bank_and_column_instead_of_an_address() -> None:
    # Linux drivers/ras/amd/atl/umc.c: MCA_ADDR[27:0] = {SID[1:0], PC, row[14:0], bank[3:0], column[4:0], 0}.
    addr = 2 << 26 | 1 << 25 | 0x1ABC << 10 | 0x9 << 6 | 0x15 << 1
    reading = read_bank(logged(21, status_with(ADDRV=1, CECC=1), addr=addr, ipid=0x8096_0005_0F00), MI300A)
    assert reading.unit == "Unified Memory Controller"
    assert reading.error == "DRAM on-die ECC error"
    assert reading.location == Location(node=2, row=0x1ABC, bank=0x9, column=0x15)
    assert reading.address.kind is AddressKind.NORMALISED


def test_gpu_memory_controllers_tell_phy_and_channel() -> None:
    # rasdaemon mce-amd-smca.c, find_hbm_channel: odd UMCs hold the upper four channels of their PHY.
    for umc, nibble, controller, channel in ((0, 3, 0, 3), (1, 3, 0, 7), (6, 0, 3, 0)):
        ipid = 0x0001_0096_0000_0000 | umc << 20 | nibble << 12
        reading = read_bank(logged(40, status_with(), ipid=ipid), ROME)
        assert reading.location == Location(controller=controller, channel=channel)


def test_core_id_is_told_where_it_is_valid() -> None:
    reading = read_bank(logged(7, status_with(ErrCoreIdVal=1, ErrCoreId=5), ipid=L3_IPID), ZEN3)
    assert reading.location == Location(core=5)
    assert "reported for core 5 of those that share the bank" in reading.details
    assert read_bank(logged(7, status_with(ErrCoreId=5), ipid=L3_IPID), ZEN3).location == Location()


def test_fru_text_is_read_where_the_configuration_says_that_it_is_there() -> None:
    first, second = (int.from_bytes(text, "little") for text in (b"P0_DIMM_", b"A0\0\0\0\0\0\0"))
    fru = smca_registers.FRU_TEXT_IN_MCA.mask
    record = logged(21, status_with(), ipid=UMC_IPID, config=fru, synd1=first, synd2=second)
    assert "FRU text 'P0_DIMM_A0'" in read_bank(record, ZEN5).details
    record = logged(21, status_with(), ipid=UMC_IPID, config=0, synd1=first, synd2=second)
    assert not [detail for detail in read_bank(record, ZEN5).details if "FRU" in detail]


def test_deferred_error_register_is_the_same_error_or_another() -> None:
    destat = 0x8C00_1000_0000_0000
    same = read_bank(logged(21, status_with(Deferred=1), ipid=UMC_IPID, destat=destat), ZEN)
    assert "MCA_DESTAT holds the same deferred error" in same.details
    other = read_bank(logged(21, status_with(CECC=1), ipid=UMC_IPID, destat=destat), ZEN)
    assert any("holds another, deferred error" in detail for detail in other.details)
    none = read_bank(logged(21, status_with(CECC=1), ipid=UMC_IPID, destat=0), ZEN)
    assert not [detail for detail in none.details if "DESTAT" in detail]


def test_tcc_says_that_the_interrupted_task_may_be_corrupt_where_pcc_is_clear() -> None:
    # Arch wiki, Ryzen: consumed poison, Zen 3.
    reading = read_bank(logged(1, 0xBC800800060C0859, ipid=0x100B000000000), ZEN3)
    assert "the context of the interrupted task may be corrupt (TCC)" in reading.details
