"""Banks and their MSRs: who may write what, counts, thresholds, and the interrupts that they raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch import mcg, mci_ctl2, mci_misc, msrs, smca_registers
from ringfence.arch.mci_status import (
    ADDRV,
    CORRECTED_COUNT,
    DEFERRED,
    EN,
    OVER,
    PCC,
    THRESHOLD_STATUS,
    UC,
    VAL,
    S,
)
from ringfence.hypervisor.model.banks import WORD, Bank, Detected, GeneralProtection, Rules, Scheme, Signal, Slot
from ringfence.hypervisor.model.overwrite import GREEN, YELLOW
from ringfence.hypervisor.model.platforms import CASCADE_LAKE, FAMILY_10H, MILAN, NEHALEM, PLATFORMS
from ringfence.hypervisor.model.register_file import RegisterFile
from ringfence.hypervisor.model.templates import Platform

INTEL = Rules(scheme=Scheme.INTEL, ser_p=True, tes_p=True, cmci_p=True)
SMCA = Rules(scheme=Scheme.SMCA, config=MILAN.banks[17].rules.config, ipid=MILAN.banks[17].rules.ipid)
CORRECTED = Detected(status=ADDRV.mask | 1, addr=0x1000)
DEFERRED_ERROR = Detected(status=ADDRV.mask | DEFERRED.mask | 2, addr=0x2000)
UNCORRECTED = Detected(status=ADDRV.mask | UC.mask | 3, addr=0x3000)
WORDS = st.integers(0, WORD)

each_platform = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=lambda platform: platform.name)


def _file(platform: Platform) -> RegisterFile:
    banks = {number: Bank(spec.rules) for number, spec in platform.banks.items()}
    return RegisterFile(scheme=platform.scheme, mcg_cap=platform.mcg_cap, banks=banks)


def _enabled(rules: Rules, *, ctl2: int = 0) -> Bank:
    bank = Bank(rules)
    bank.write(Slot.CTL, WORD)
    if ctl2:
        bank.write(Slot.CTL2, ctl2)
    return bank


def _msr(bank: int, register: msrs.Legacy) -> int:
    return msrs.MC0_CTL + msrs.MC_STRIDE * bank + register


@each_platform
@given(value=WORDS.filter(bool))
def test_only_zero_may_be_written_to_a_status_and_a_refused_write_changes_nothing(
    platform: Platform, value: int
) -> None:
    registers = _file(platform)
    for number, bank in registers.banks.items():
        bank.log(CORRECTED)
        held = bank.read(Slot.STATUS)
        for register in (msrs.Legacy.STATUS, msrs.Legacy.ADDR):
            with pytest.raises(GeneralProtection):
                registers.wrmsr(_msr(number, register), value)
        assert bank.read(Slot.STATUS) == held
        assert bank.read(Slot.ADDR) == 0x1000
        registers.wrmsr(_msr(number, msrs.Legacy.STATUS), 0)
        assert registers.rdmsr(_msr(number, msrs.Legacy.STATUS)) == 0


@given(value=WORDS)
def test_with_mc_status_wr_en_amd_takes_any_status(value: int) -> None:
    for platform in (MILAN, FAMILY_10H):
        registers = _file(platform)
        registers.wrmsr(msrs.HWCR, msrs.HWCR_MC_STATUS_WR_EN)
        registers.wrmsr(_msr(0, msrs.Legacy.STATUS), value)
        assert registers.rdmsr(_msr(0, msrs.Legacy.STATUS)) == value


@given(value=WORDS)
def test_mci_ctl_keeps_what_is_written(value: int) -> None:
    registers = _file(CASCADE_LAKE)
    registers.wrmsr(_msr(1, msrs.Legacy.CTL), value)
    assert registers.rdmsr(_msr(1, msrs.Legacy.CTL)) == value


@given(value=WORDS)
def test_mci_ctl2_refuses_reserved_bits(value: int) -> None:
    registers = _file(CASCADE_LAKE)
    allowed = mci_ctl2.INTEL.declared_mask
    if value & ~allowed:
        with pytest.raises(GeneralProtection):
            registers.wrmsr(msrs.MC0_CTL2, value)
        assert registers.rdmsr(msrs.MC0_CTL2) == 0
    registers.wrmsr(msrs.MC0_CTL2, value & allowed)
    assert registers.rdmsr(msrs.MC0_CTL2) == value & allowed


@each_platform
def test_a_bank_beyond_mcg_cap_is_not_there(platform: Platform) -> None:
    registers = _file(platform)
    count = mcg.COUNT.of(platform.mcg_cap)
    registers.rdmsr(_msr(count - 1, msrs.Legacy.STATUS))
    with pytest.raises(GeneralProtection):
        registers.rdmsr(_msr(count, msrs.Legacy.STATUS))
    with pytest.raises(GeneralProtection):
        registers.wrmsr(_msr(count, msrs.Legacy.CTL), 0)


def test_registers_of_another_maker_or_generation_are_not_there() -> None:
    for platform, absent in (
        (CASCADE_LAKE, msrs.SMCA_BANK0 + msrs.Smca.IPID),
        (CASCADE_LAKE, msrs.HWCR),
        (CASCADE_LAKE, msrs.MCG_CTL),
        (NEHALEM, msrs.MCG_EXT_CTL),
        (MILAN, msrs.MC0_CTL2),
        (MILAN, msrs.MCG_EXT_CTL),
        (FAMILY_10H, msrs.SMCA_BANK0),
        (MILAN, 0x10),
    ):
        with pytest.raises(GeneralProtection):
            _file(platform).rdmsr(absent)


def test_mcg_cap_is_read_only_and_mcg_status_refuses_reserved_bits() -> None:
    registers = _file(CASCADE_LAKE)
    with pytest.raises(GeneralProtection):
        registers.wrmsr(msrs.MCG_CAP, 0)
    with pytest.raises(GeneralProtection):
        registers.wrmsr(msrs.MCG_STATUS, 1 << 63)
    registers.wrmsr(msrs.MCG_STATUS, mcg.MCIP.mask)
    assert registers.rdmsr(msrs.MCG_STATUS) == mcg.MCIP.mask


def test_scalable_mca_answers_at_both_numbers() -> None:
    registers = _file(MILAN)
    registers.banks[17].log(CORRECTED)
    smca = msrs.SMCA_BANK0 + msrs.SMCA_STRIDE * 17 + msrs.Smca.STATUS
    assert registers.rdmsr(smca) == registers.rdmsr(_msr(17, msrs.Legacy.STATUS)) != 0


@pytest.mark.parametrize("rules", [INTEL, SMCA], ids=["Intel", "AMD"])
def test_an_error_that_is_not_enabled_is_logged_and_raises_no_machine_check(rules: Rules) -> None:
    bank = Bank(rules)
    signals = bank.log(Detected(status=UC.mask | PCC.mask)).signals
    assert VAL.of(bank.read(Slot.STATUS)) == 1
    assert EN.of(bank.read(Slot.STATUS)) == 0
    assert Signal.MACHINE_CHECK not in signals
    assert Signal.MACHINE_CHECK in _enabled(rules).log(Detected(status=UC.mask | PCC.mask)).signals


def test_s_is_never_set_where_no_machine_check_was_signalled() -> None:
    bank = Bank(INTEL)
    bank.log(Detected(status=UC.mask | S.mask))
    assert S.of(bank.read(Slot.STATUS)) == 0


@given(threshold=st.integers(1, 40), errors=st.integers(0, 60))
def test_cmci_comes_exactly_once_when_the_count_reaches_the_threshold(threshold: int, errors: int) -> None:
    bank = _enabled(INTEL, ctl2=mci_ctl2.CMCI_EN.mask | threshold)
    raised = [number for number in range(1, errors + 1) if Signal.CMCI in bank.log(CORRECTED).signals]
    assert raised == ([threshold] if errors >= threshold else [])
    assert CORRECTED_COUNT.of(bank.read(Slot.STATUS)) == errors


def test_cmci_comes_again_after_the_status_was_cleared_and_never_while_it_is_off() -> None:
    bank = _enabled(INTEL, ctl2=mci_ctl2.CMCI_EN.mask | 1)
    assert Signal.CMCI in bank.log(CORRECTED).signals
    bank.write(Slot.STATUS, 0)
    assert Signal.CMCI in bank.log(CORRECTED).signals
    assert not _enabled(INTEL, ctl2=1).log(CORRECTED).signals


def test_an_unsignalled_uncorrected_error_raises_cmci_whatever_the_threshold() -> None:
    assert _enabled(INTEL, ctl2=mci_ctl2.CMCI_EN.mask | 9).log(UNCORRECTED).signals == {Signal.CMCI}


def test_the_corrected_count_stops_at_its_limit_and_outlives_an_uncorrected_error() -> None:
    bank = _enabled(INTEL)
    for _ in range(0x7FFF + 5):
        bank.log(CORRECTED)
    bank.log(UNCORRECTED)
    assert CORRECTED_COUNT.of(bank.read(Slot.STATUS)) == 0x7FFF


def test_a_monitored_structure_turns_from_green_to_yellow() -> None:
    bank = _enabled(Rules(scheme=Scheme.INTEL, ser_p=True, tes_p=True, cmci_p=True, yellow_from=3))
    colours = []
    for _ in range(4):
        bank.log(CORRECTED)
        colours.append(THRESHOLD_STATUS.of(bank.read(Slot.STATUS)))
    assert colours == [GREEN, GREEN, YELLOW, YELLOW]


@given(preset=st.integers(0xFE0, 0xFFF), errors=st.integers(0, 30))
def test_the_threshold_interrupt_comes_exactly_once_when_the_counter_overflows(preset: int, errors: int) -> None:
    bank = _enabled(SMCA)
    counting = mci_misc.COUNTER_ENABLE.mask | mci_misc.INT_TYPE.put(1)
    bank.write(Slot.MISC, counting | mci_misc.ERROR_COUNT.put(preset))
    raised = [number for number in range(1, errors + 1) if Signal.THRESHOLD in bank.log(CORRECTED).signals]
    needed = 0xFFF - preset
    assert raised == ([needed] if 0 < needed <= errors else [])
    misc = bank.read(Slot.MISC)
    assert mci_misc.ERROR_COUNT.of(misc) == min(preset + errors, 0xFFF)
    assert mci_misc.COUNTER_OVERFLOW.of(misc) == (0 < needed <= errors)


def test_a_counter_that_firmware_locked_ignores_writes() -> None:
    bank = Bank(SMCA)
    bank.write(Slot.MISC, mci_misc.LOCKED.mask, any_value=True)
    bank.write(Slot.MISC, mci_misc.COUNTER_ENABLE.mask)
    assert bank.read(Slot.MISC) == mci_misc.LOCKED.mask


def test_a_deferred_error_stands_in_destat_as_well_and_stays_there_when_a_worse_one_takes_the_status() -> None:
    bank = _enabled(SMCA)
    bank.write(Slot.CONFIG, SMCA.config | smca_registers.DEFERRED_INT_TYPE.put(1))
    assert bank.log(DEFERRED_ERROR).signals == {Signal.DEFERRED}
    assert bank.read(Slot.STATUS) & 0xFFFF == 2
    bank.log(UNCORRECTED)
    assert bank.read(Slot.STATUS) & 0xFFFF == 3
    assert bank.read(Slot.ADDR) == 0x3000
    assert bank.read(Slot.DESTAT) & 0xFFFF == 2
    assert bank.read(Slot.DEADDR) == 0x2000
    bank.log(DEFERRED_ERROR)
    assert OVER.of(bank.read(Slot.DESTAT)) == 1


def test_a_deferred_error_stands_in_destat_alone_where_firmware_set_it_so() -> None:
    bank = _enabled(SMCA)
    bank.write(Slot.CONFIG, SMCA.config & ~smca_registers.LOG_DEFERRED_IN_MCA_STAT.mask)
    assert bank.log(DEFERRED_ERROR).kept
    assert bank.read(Slot.STATUS) == 0
    assert VAL.of(bank.read(Slot.DESTAT)) == 1


def test_a_unit_may_not_set_the_bits_that_are_the_banks_own() -> None:
    with pytest.raises(ValueError, match="set by the bank"):
        Bank(INTEL).log(Detected(status=VAL.mask))
