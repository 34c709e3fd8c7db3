"""The machine as a whole: who is interrupted, who goes on, what a reset keeps, and that a seed decides the run."""

from __future__ import annotations

import pytest

from ringfence.arch import mcg, mci_ctl2, msrs
from ringfence.arch.mci_status import CORRECTED_COUNT, VAL
from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.clock import HOUR, MILLISECOND, SECOND
from ringfence.hypervisor.model.interrupts import Cmci, DeferredInterrupt, MachineCheck, ThresholdInterrupt
from ringfence.hypervisor.model.machine import Access, CpuState, LoggedError, State
from ringfence.hypervisor.model.memory import Health
from ringfence.hypervisor.model.platforms import CASCADE_LAKE, FAMILY_10H, MILAN, NEHALEM, PLATFORMS
from ringfence.hypervisor.model.templates import Kind, Platform
from ringfence.world.identities import PAGE_BYTES, CpuId, Frame, PhysAddr, SocketId
from tests.hypervisor.model.rig import TOPOLOGY, Rig

ALL = TOPOLOGY.cpus
CPU = CpuId(5)
ADDR = PhysAddr(0x2000_0000)
CONSUMED = faults.ConsumedData(cpu=CPU, addr=ADDR)

each_platform = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=lambda platform: platform.name)


def _mcg_status(rig: Rig, cpu: int) -> int:
    return rig.machine.rdmsr(CpuId(cpu), msrs.MCG_STATUS)


def _without_lmce(platform: Platform = CASCADE_LAKE) -> Rig:
    rig = Rig(platform, boot=False)
    rig.boot(local=False)
    return rig


def test_a_broadcast_stops_all_cpus_at_once_and_reports_when_they_have_gathered() -> None:
    rig = _without_lmce()
    rig.machine.inject(CONSUMED)
    assert {rig.machine.cpu_state(cpu) for cpu in ALL} == {CpuState.IN_MACHINE_CHECK}
    assert rig.signals(MachineCheck) == []
    rig.clock.run_for(MILLISECOND)
    (check,) = rig.signals(MachineCheck)
    assert (check.cpus[0], sorted(check.cpus), check.local, check.absent) == (CPU, list(ALL), False, ())
    assert _mcg_status(rig, CPU) == mcg.MCIP.mask | mcg.EIPV.mask | mcg.RIPV.mask
    assert _mcg_status(rig, 0) == mcg.MCIP.mask | mcg.RIPV.mask


def test_a_rendezvous_times_out_on_a_stuck_cpu() -> None:
    rig = _without_lmce()
    rig.machine.inject(faults.Stuck(cpu=CpuId(3)))
    rig.machine.inject(CONSUMED)
    rig.clock.run_for(SECOND - 1)
    assert rig.signals(MachineCheck) == []
    rig.clock.run_for(1)
    (check,) = rig.signals(MachineCheck)
    assert check.absent == (CpuId(3),)
    assert CpuId(3) not in check.cpus
    assert rig.machine.cpu_state(CpuId(3)) is CpuState.STUCK
    assert rig.machine.load(CpuId(3), PhysAddr(0)) is Access.NOT_RUNNING


def test_lmce_goes_to_the_consumer_alone() -> None:
    rig = Rig(CASCADE_LAKE)
    rig.machine.inject(CONSUMED)
    rig.clock.settle()
    assert rig.signals(MachineCheck) == [MachineCheck((CPU,), local=True)]
    assert mcg.LMCE_S.of(_mcg_status(rig, CPU)) == 1
    assert rig.machine.load(CpuId(4), PhysAddr(0)) is Access.DONE


def test_an_error_that_nobody_consumed_is_broadcast_even_with_lmce() -> None:
    rig = Rig(CASCADE_LAKE)
    rig.machine.inject(faults.CacheWriteback(cpu=CPU, addr=ADDR))
    rig.clock.run_for(MILLISECOND)
    (check,) = rig.signals(MachineCheck)
    assert check.cpus == ALL
    assert {_mcg_status(rig, cpu) for cpu in ALL} == {mcg.MCIP.mask | mcg.RIPV.mask}


def test_amd_interrupts_only_the_cpu_that_was_hit() -> None:
    for platform in (MILAN, FAMILY_10H):
        rig = Rig(platform)
        rig.machine.inject(CONSUMED)
        rig.clock.settle()
        assert rig.signals(MachineCheck) == [MachineCheck((CPU,), local=True)]
        assert not mcg.LMCE_S.of(_mcg_status(rig, CPU))


def test_a_fetch_leaves_eipv_clear_on_amd() -> None:
    rig = Rig(MILAN)
    rig.machine.inject(faults.ConsumedInstruction(cpu=CPU, addr=ADDR))
    assert _mcg_status(rig, CPU) == mcg.MCIP.mask | mcg.RIPV.mask


@each_platform
def test_a_corrupt_context_cannot_be_restarted(platform: Platform) -> None:
    rig = Rig(platform)
    rig.machine.inject(faults.ContextCorrupt(cpu=CPU))
    assert _mcg_status(rig, CPU) == mcg.MCIP.mask


@each_platform
def test_a_second_machine_check_while_mcip_is_set_shuts_the_machine_down(platform: Platform) -> None:
    rig = _without_lmce(platform)
    rig.machine.inject(CONSUMED)
    rig.clock.run_for(MILLISECOND)
    rig.machine.leave_machine_check(CPU)  # the handler forgot MCG_STATUS
    rig.machine.load(CPU, ADDR)
    rig.clock.settle()
    assert rig.machine.state is State.SHUT_DOWN
    assert [why.partition(": ")[2] for why in rig.stopped] == ["#MC while MCIP is set"]
    assert rig.machine.load(CpuId(7), PhysAddr(0)) is Access.NOT_RUNNING
    assert rig.machine.inject(CONSUMED) == ()


@each_platform
def test_a_handler_that_clears_mcip_takes_the_next_machine_check(platform: Platform) -> None:
    rig = _without_lmce(platform)
    rig.machine.inject(CONSUMED)
    rig.clock.run_for(MILLISECOND)
    rig.handled(*rig.signals(MachineCheck)[0].cpus)
    assert rig.machine.load(CPU, ADDR) is Access.MACHINE_CHECK
    rig.clock.run_for(MILLISECOND)
    assert rig.machine.state is State.ON
    assert len(rig.signals(MachineCheck)) == 2


def test_a_machine_check_before_cr4_mce_is_set_shuts_down() -> None:
    rig = Rig(CASCADE_LAKE)
    rig.machine.set_cr4_mce(CpuId(2), enabled=False)
    rig.machine.inject(faults.SpuriousMachineCheck())
    rig.clock.settle()
    assert rig.stopped == ["CPU 2: #MC while CR4.MCE is clear"]


def test_a_spurious_broadcast_leaves_every_bank_empty() -> None:
    rig = Rig(CASCADE_LAKE)
    assert rig.machine.inject(faults.SpuriousMachineCheck()) == ()
    rig.clock.run_for(MILLISECOND)
    assert len(rig.signals(MachineCheck)) == 1
    assert not any(rig.registers(cpu, bank).status for cpu in ALL for bank in CASCADE_LAKE.banks)


@each_platform
def test_a_warm_reset_keeps_what_was_logged_and_a_cold_one_does_not(platform: Platform) -> None:
    rig = Rig(platform)
    logged = rig.machine.inject(CONSUMED)
    before = [rig.registers(error.cpus[0], error.bank).status for error in logged]
    rig.machine.warm_reset()
    assert [rig.registers(error.cpus[0], error.bank).status for error in logged] == before
    assert all(_mcg_status(rig, cpu) == 0 for cpu in ALL)
    assert rig.machine.rdmsr(CpuId(0), msrs.MC0_CTL) == 0
    assert rig.machine.cpu_state(CPU) is CpuState.RUNNING
    assert rig.machine.tsc() == 0
    rig.machine.cold_reset()
    assert not any(rig.registers(error.cpus[0], error.bank).status for error in logged)


def test_an_interrupt_that_was_on_its_way_is_lost_in_a_reset() -> None:
    rig = _without_lmce()
    rig.machine.inject(CONSUMED)
    rig.machine.warm_reset()
    rig.clock.run_for(SECOND)
    assert rig.heard == []


def test_poison_outlives_a_warm_reset_and_broken_cells_a_cold_one() -> None:
    rig = Rig(CASCADE_LAKE)
    rig.machine.inject(CONSUMED)
    rig.machine.inject(faults.Uncorrectable(addr=PhysAddr(0x4000), permanent=True))
    rig.machine.warm_reset()
    assert rig.machine.health(ADDR) is Health.POISON
    rig.machine.cold_reset()
    assert rig.machine.health(ADDR) is None
    assert rig.machine.health(PhysAddr(0x4000)) is Health.LATENT


def test_cmci_goes_once_to_all_who_share_the_bank() -> None:
    rig = Rig(CASCADE_LAKE, boot=False)
    rig.boot(threshold=3)
    rig.machine.inject(faults.Storm(cpu=CPU, addr=ADDR, count=10, interval_ns=1000))
    rig.clock.run_for(SECOND)
    (logged, *_) = (item for item in rig.machine.trace if isinstance(item, LoggedError))
    assert [(when, signal) for when, signal in rig.heard] == [
        (2000, Cmci(TOPOLOGY.of_socket(SocketId(0)), logged.bank))
    ]
    assert CORRECTED_COUNT.of(rig.registers(0, logged.bank).status or 0) == 10


def test_a_storm_ends_with_a_reset() -> None:
    rig = Rig(CASCADE_LAKE)
    rig.machine.inject(faults.Storm(cpu=CPU, addr=ADDR, count=10, interval_ns=1000))
    rig.clock.run_for(2500)
    rig.machine.warm_reset()
    rig.clock.run_for(SECOND)
    assert len([item for item in rig.machine.trace if isinstance(item, LoggedError)]) == 3


def test_amd_raises_threshold_and_deferred_interrupts_on_the_cpu_that_reaches_the_bank() -> None:
    rig = Rig(MILAN)
    rig.machine.inject(faults.Uncorrectable(addr=ADDR))
    rig.machine.dma_read(ADDR)
    rig.clock.settle()
    bank = 17 + rig.machine.memory_map.locate(ADDR).channel
    assert [signal for _, signal in rig.heard] == [
        DeferredInterrupt(CpuId(0), bank),
        ThresholdInterrupt(CpuId(0), bank),
    ]
    assert VAL.of(rig.registers(0, bank).status or 0) == 1
    assert rig.registers(1, bank).ipid == 0


def test_without_interrupts_errors_wait_to_be_polled() -> None:
    rig = Rig(CASCADE_LAKE, boot=False)
    rig.boot(interrupts=False)
    rig.machine.inject(faults.CacheCorrected(cpu=CPU, addr=ADDR))
    rig.clock.run_for(SECOND)
    assert rig.heard == []
    assert rig.machine.rdmsr(CPU, msrs.MC0_CTL2 + 9) & mci_ctl2.CMCI_EN.mask == 0
    assert VAL.of(rig.registers(CPU, 9).status or 0) == 1


def test_a_store_of_part_of_a_line_finds_the_error_and_consumes_nothing() -> None:
    rig = Rig(CASCADE_LAKE)
    rig.machine.inject(faults.Uncorrectable(addr=ADDR))
    assert rig.machine.store(CPU, ADDR) is Access.DONE
    rig.clock.run_for(MILLISECOND)
    assert rig.signals(MachineCheck) == []
    assert rig.machine.health(ADDR) is Health.POISON
    assert rig.machine.store(CPU, ADDR, whole_line=True) is Access.DONE
    assert rig.machine.health(ADDR) is None
    assert rig.machine.load(CPU, ADDR) is Access.DONE


def test_a_device_that_reads_poison_is_told_and_no_cpu_is() -> None:
    rig = Rig(CASCADE_LAKE)
    rig.machine.inject(faults.CacheWriteback(cpu=CPU, addr=ADDR))
    rig.clock.run_for(MILLISECOND)
    heard = len(rig.heard)
    assert rig.machine.dma_read(ADDR) is Access.POISONED
    rig.clock.run_for(MILLISECOND)
    assert len(rig.heard) == heard


def test_a_copy_of_a_page_ends_at_its_poison_and_clearing_the_page_heals_it() -> None:
    rig = Rig(CASCADE_LAKE)
    frame = Frame(ADDR // PAGE_BYTES)
    rig.machine.inject(faults.Uncorrectable(addr=PhysAddr(ADDR + 640)))
    assert rig.machine.read_frame(CPU, frame) is Access.MACHINE_CHECK
    rig.handled(CPU)
    assert rig.machine.clear_frame(CPU, frame) is Access.DONE
    assert rig.machine.read_frame(CPU, frame) is Access.DONE


def test_the_scrubber_comes_by_once_in_each_pass_and_reports_a_stuck_cell_each_time() -> None:
    rig = Rig(CASCADE_LAKE)
    middle = PhysAddr((8 << 30) + (1 << 30))  # half of the socket's 16 GiB lie below, the devices' hole aside
    rig.machine.inject(faults.Correctable(addr=middle, stuck=True))
    rig.machine.inject(faults.Correctable(addr=PhysAddr(0x40)))
    rig.clock.run_for(3 * HOUR)
    found = [(item.at_ns, item.addr) for item in rig.machine.trace if isinstance(item, LoggedError)]
    half = HOUR // 2
    assert [when for when, addr in found if addr == middle] == [half, half + HOUR, half + 2 * HOUR]
    assert len([when for when, addr in found if addr != middle]) == 1


def test_an_offline_cpu_takes_no_part_and_cpu_0_never_goes() -> None:
    rig = _without_lmce()
    rig.machine.offline(CpuId(2))
    rig.machine.inject(CONSUMED)
    rig.clock.run_for(MILLISECOND)
    (check,) = rig.signals(MachineCheck)
    assert CpuId(2) not in check.cpus
    assert check.absent == ()
    rig.machine.online(CpuId(2))
    assert rig.machine.load(CpuId(2), PhysAddr(0)) is Access.DONE
    for busy in (CpuId(0), CPU):
        with pytest.raises(ValueError, match="cannot go offline"):
            rig.machine.offline(busy)


@pytest.mark.parametrize(("platform", "expected"), [(MILAN, CpuId(0)), (FAMILY_10H, CpuId(5))])
def test_another_cpu_takes_the_machine_check_of_one_that_is_offline(platform: Platform, expected: CpuId) -> None:
    rig = Rig(platform)
    rig.machine.offline(CpuId(4))
    rig.machine.inject(faults.InterconnectUncorrected(socket=SocketId(1)))
    rig.clock.settle()
    assert rig.signals(MachineCheck) == [MachineCheck((expected,), local=True)]
    assert rig.machine.cpu_state(CpuId(4)) is CpuState.OFFLINE


def test_what_the_machine_does_not_have_is_refused() -> None:
    rig = Rig(CASCADE_LAKE)
    for act in (
        lambda: rig.machine.load(CPU, PhysAddr(0xFEE0_0000)),
        lambda: rig.machine.load(CpuId(99), ADDR),
        lambda: rig.machine.inject(faults.Unlocated(socket=SocketId(2))),
        lambda: rig.machine.inject(faults.Correctable(addr=rig.machine.memory_map.top)),
    ):
        with pytest.raises(ValueError, match=r"is not memory|the machine has"):
            act()


def test_the_memory_of_another_socket_is_reported_by_its_own_controller() -> None:
    rig = Rig(CASCADE_LAKE)
    far = PhysAddr(20 << 30)
    rig.machine.inject(faults.Correctable(addr=far))
    rig.machine.load(CpuId(0), far)
    (logged,) = (item for item in rig.machine.trace if isinstance(item, LoggedError))
    assert (logged.kind, logged.cpus) == (Kind.READ_CORRECTED, TOPOLOGY.of_socket(SocketId(1)))


def _run(platform: Platform, seed: int) -> tuple[object, ...]:
    rig = Rig(platform, seed=seed, boot=False)
    rig.boot(local=False)
    rig.machine.inject(faults.Storm(cpu=CpuId(1), addr=ADDR, count=20, interval_ns=777))
    rig.machine.inject(faults.Uncorrectable(addr=PhysAddr(0x9000)))
    rig.clock.run_for(1000)
    rig.machine.inject(CONSUMED)
    rig.clock.run_for(2 * HOUR)
    return rig.machine.trace, tuple(rig.heard), tuple(rig.stopped)


@each_platform
def test_the_same_seed_gives_the_same_run(platform: Platform) -> None:
    assert _run(platform, 7) == _run(platform, 7)


def test_another_seed_gathers_the_cpus_at_another_time() -> None:
    assert len({str(_run(NEHALEM, seed)[1]) for seed in range(5)}) == 5
