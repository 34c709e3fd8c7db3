"""The key law of the model: what it logs for an injected fault, Ringfence reads back as what was injected."""

from __future__ import annotations

import pytest

from ringfence import api
from ringfence.arch.mci_status import ADDRV, OVER, VAL
from ringfence.decode.meaning import AddressKind, UnitKind
from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.diagnosis.severity import Severity
from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.clock import HOUR
from ringfence.hypervisor.model.machine import LoggedError, Patrol
from ringfence.hypervisor.model.memory_map import DramPlace
from ringfence.hypervisor.model.platforms import (
    CASCADE_LAKE,
    FAMILY_10H,
    ICE_LAKE,
    MILAN,
    NEHALEM,
    PLATFORMS,
    TURIN,
)
from ringfence.hypervisor.model.templates import Kind, Platform
from ringfence.world.identities import CpuId, PhysAddr, SocketId
from tests.hypervisor.model.rig import Rig

CPU = CpuId(1)
ADDR = PhysAddr(0x1_2345_6740)
SOCKET = SocketId(0)

CORRECTED, DEFERRED, UCNA, SRAO, SRAR, FATAL = (
    Severity.CORRECTED,
    Severity.DEFERRED,
    Severity.UCNA,
    Severity.SRAO,
    Severity.SRAR,
    Severity.FATAL,
)

# What each fault is meant to be read as: on Intel with SER_P, on AMD with SUCCOR, and where nothing contains an error.
# Several severities are those of several banks, in the order in which the units report.
EXPECTED: dict[faults.Fault, tuple[tuple[Severity, ...], tuple[Severity, ...], tuple[Severity, ...]]] = {
    faults.ConsumedData(cpu=CPU, addr=ADDR): ((UCNA, SRAR), (DEFERRED, SRAR), (FATAL,)),
    faults.ConsumedInstruction(cpu=CPU, addr=ADDR): ((UCNA, SRAR), (DEFERRED, SRAR), (FATAL,)),
    faults.ContextCorrupt(cpu=CPU): ((FATAL,), (FATAL,), (FATAL,)),
    faults.Unlocated(socket=SOCKET): ((UCNA,), (DEFERRED,), (FATAL,)),
    faults.CacheCorrected(cpu=CPU, addr=ADDR): ((CORRECTED,), (CORRECTED,), (CORRECTED,)),
    faults.CacheWriteback(cpu=CPU, addr=ADDR): ((SRAO,), (DEFERRED,), (FATAL,)),
    faults.CacheUncorrected(cpu=CPU): ((FATAL,), (FATAL,), (FATAL,)),
    faults.InterconnectCorrected(socket=SOCKET): ((CORRECTED,), (CORRECTED,), (CORRECTED,)),
    faults.InterconnectUncorrected(socket=SOCKET): ((FATAL,), (FATAL,), (FATAL,)),
    faults.Storm(cpu=CPU, addr=ADDR, count=1, interval_ns=1): ((CORRECTED,), (CORRECTED,), (CORRECTED,)),
}
COLUMNS = {CASCADE_LAKE.name: 0, ICE_LAKE.name: 0, MILAN.name: 1, TURIN.name: 1, NEHALEM.name: 2, FAMILY_10H.name: 2}

each_platform = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=lambda platform: platform.name)
each_fault = pytest.mark.parametrize("fault", EXPECTED, ids=lambda fault: type(fault).__name__)


def _finding(rig: Rig, cpu: int, bank: int) -> Finding:
    platform = rig.machine.settings.platform
    known = api.processor(f"{platform.vendor}:{platform.cpuid:x}")
    return diagnose(api.typed(rig.registers(cpu, bank), bank=bank, known=known))


def _logged(rig: Rig) -> list[LoggedError]:
    return [item for item in rig.machine.trace if isinstance(item, LoggedError)]


@each_platform
@each_fault
def test_a_fault_is_read_back_as_the_class_that_it_is_meant_to_be(platform: Platform, fault: faults.Fault) -> None:
    rig = Rig(platform)
    logged = rig.machine.inject(fault)
    read = [_finding(rig, CPU if CPU in error.cpus else error.cpus[0], error.bank) for error in logged]
    assert tuple(finding.severity for finding in read) == EXPECTED[fault][COLUMNS[platform.name]]
    for error, finding in zip(logged, read, strict=True):
        assert finding.severity.value == error.meant.value
        assert finding.reading.not_an_error is None
        assert not finding.reading.names_no_error
        assert not finding.reading.unit.startswith(("unknown", "reserved"))
        assert finding.reading.unit_kind is _unit_kind(error.kind, platform)


def _unit_kind(kind: Kind, platform: Platform) -> UnitKind:
    if kind in {Kind.LINK_CORRECTED, Kind.LINK_UNCORRECTED}:
        return UnitKind.LINK
    if kind is Kind.UNLOCATED and platform in (MILAN, TURIN):
        return UnitKind.LINK  # the Data Fabric reports it
    if kind is Kind.CONTEXT_CORRUPT and platform is FAMILY_10H:
        return UnitKind.LINK  # the northbridge's watchdog does
    memory = {Kind.READ_CORRECTED, Kind.SCRUB_CORRECTED, Kind.READ_UNCORRECTED, Kind.SCRUB_UNCORRECTED, Kind.UNLOCATED}
    return UnitKind.MEMORY if kind in memory else UnitKind.CORE


@each_platform
@pytest.mark.parametrize("uncorrected", [False, True])
def test_what_the_patrol_scrubber_finds_is_read_back(platform: Platform, uncorrected: bool) -> None:
    rig = Rig(platform)
    latent = faults.Uncorrectable(addr=ADDR) if uncorrected else faults.Correctable(addr=ADDR, device=5, bits=2)
    assert rig.machine.inject(latent) == ()
    rig.clock.run_for(HOUR)
    (error,) = _logged(rig)
    finding = _finding(rig, error.cpus[0], error.bank)
    expected = (SRAO, DEFERRED, FATAL)[COLUMNS[platform.name]] if uncorrected else CORRECTED
    assert finding.severity is expected
    assert finding.reading.unit_kind is UnitKind.MEMORY


@pytest.mark.parametrize("platform", [CASCADE_LAKE, ICE_LAKE], ids=lambda platform: platform.name)
def test_a_scrubber_set_to_cmci_logs_an_srao_without_a_machine_check(platform: Platform) -> None:
    rig = Rig(platform, patrol=Patrol.CMCI)
    rig.machine.inject(faults.Uncorrectable(addr=ADDR))
    rig.clock.run_for(HOUR)
    (error,) = _logged(rig)
    assert _finding(rig, error.cpus[0], error.bank).severity is SRAO
    assert [type(signal).__name__ for _, signal in rig.heard] == ["Cmci"]


def test_a_scrubber_that_reports_as_if_corrected_is_seen_through() -> None:
    rig = Rig(CASCADE_LAKE, patrol=Patrol.AS_CORRECTED)
    rig.machine.inject(faults.Uncorrectable(addr=ADDR))
    rig.clock.run_for(HOUR)
    (error,) = _logged(rig)
    assert _finding(rig, error.cpus[0], error.bank).severity is SRAO


@each_platform
def test_the_address_is_read_back_wherever_the_platform_says_that_it_is_physical(platform: Platform) -> None:
    for fault in EXPECTED:
        rig = Rig(platform)
        for error in rig.machine.inject(fault):
            address = _finding(rig, error.cpus[0], error.bank).reading.address
            if error.addr is None or not error.status & ADDRV.mask:
                assert not address.names_a_page
            elif address.names_a_page:
                assert address.value == ADDR
            elif address.kind is AddressKind.NORMALISED and address.value is not None:
                place = rig.machine.memory_map.locate(ADDR)
                assert rig.machine.memory_map.of_normalised(place.socket, place.channel, address.value) == ADDR


@pytest.mark.parametrize("platform", [CASCADE_LAKE, ICE_LAKE, MILAN, TURIN], ids=lambda platform: platform.name)
def test_a_consumed_error_names_its_page(platform: Platform) -> None:
    for fault in (faults.ConsumedData(cpu=CPU, addr=ADDR), faults.ConsumedInstruction(cpu=CPU, addr=ADDR)):
        rig = Rig(platform)
        address = _finding(rig, CPU, rig.machine.inject(fault)[-1].bank).reading.address
        assert address.names_a_page
        assert address.value == ADDR


PLACE = DramPlace(socket=SOCKET, channel=1, slot=1, rank=1, bank=11, row=77, column=3)


def _corrected_at(platform: Platform, device: int) -> Finding:
    rig = Rig(platform)
    addr = rig.machine.memory_map.address(PLACE)
    rig.machine.inject(faults.Correctable(addr=addr, device=device))
    rig.machine.load(CPU, addr)
    (error,) = _logged(rig)
    return _finding(rig, error.cpus[0], error.bank)


def test_ice_lake_tells_where_on_the_dimm_an_error_is() -> None:
    found = _corrected_at(ICE_LAKE, device=7).reading.location
    assert (found.controller, found.channel) == (0, 1)
    assert (found.slot, found.rank, found.row, found.device) == (1, 1, 77, 7)
    assert (found.bank_group, found.bank) == divmod(11, 4)


def test_a_umc_tells_channel_chip_select_and_symbol() -> None:
    for platform in (MILAN, TURIN):
        reading = _corrected_at(platform, device=7).reading
        assert (reading.location.channel, reading.location.csrow) == (1, PLACE.chip_select)
        assert any(detail.startswith("symbol 7 ") for detail in reading.details)


def test_nehalem_tells_channel_and_dimm() -> None:
    found = _corrected_at(NEHALEM, device=7).reading.location
    assert (found.channel, found.slot, found.syndrome) == (1, 1, 0x71)


@pytest.mark.parametrize("platform", [NEHALEM, MILAN, TURIN, FAMILY_10H], ids=lambda platform: platform.name)
def test_different_bits_of_a_line_show_as_different_syndromes(platform: Platform) -> None:
    syndromes = set()
    for device, bits in ((1, 1), (1, 2), (2, 1)):
        rig = Rig(platform)
        rig.machine.inject(faults.Correctable(addr=ADDR, device=device, bits=bits))
        rig.machine.load(CPU, ADDR)
        (error,) = _logged(rig)
        syndromes.add(_finding(rig, error.cpus[0], error.bank).reading.location.syndrome)
    assert len(syndromes) == 3
    assert None not in syndromes


@each_platform
def test_a_second_error_in_a_bank_shows_as_overflow(platform: Platform) -> None:
    rig = Rig(platform)
    fault = faults.CacheCorrected(cpu=CPU, addr=ADDR)
    rig.machine.inject(fault)
    (second,) = rig.machine.inject(fault)
    status = rig.registers(CPU, second.bank).status
    assert status is not None
    assert (VAL.of(status), OVER.of(status)) == (1, 1)
    assert "overflow" in {reason.rule for reason in _finding(rig, CPU, second.bank).reasons}


@each_platform
def test_every_kind_that_a_platform_has_a_template_for_is_injected_by_some_fault(platform: Platform) -> None:
    seen: set[Kind] = set()
    further: tuple[faults.Fault, ...] = (faults.Correctable(addr=ADDR), faults.Uncorrectable(addr=ADDR))
    for fault in (*EXPECTED, *further):
        rig = Rig(platform)
        rig.machine.inject(fault)
        rig.clock.run_for(HOUR)
        seen |= {error.kind for error in _logged(rig)}
    assert seen == set(platform.templates)
