"""What releases of Xen do by themselves, each fact from Xen's sources (xen/arch/x86/cpu/mcheck, 4.17 to 4.23)."""

from __future__ import annotations

import pytest

from ringfence.arch.mcg import LMCE_S
from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.frames import Pg
from ringfence.hypervisor.model.observer import Dropped, GuestTold, Halted
from ringfence.hypervisor.model.personality import BEHAVIOURS
from ringfence.hypervisor.port import Capability, LeftOver, Lost, Telemetry
from ringfence.world.domain import DomainKind, DomainState, McaHandler
from ringfence.world.identities import DOM0, CpuId, DomainId, GuestFrame, PhysAddr
from ringfence.world.situation import Deed
from ringfence.world.steps import InjectVmce, IsolateFrame, Status
from tests.hypervisor.model.staged import Staged, guest, stage

PAGE = GuestFrame(5)
SCANS, BLIND = "xen-4.20", "xen-4.17"


def unconsumed(staged: Staged, addr: PhysAddr) -> None:
    """The last-level cache writes a bad line back."""
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(0), addr=addr))
    staged.host.advance(100)


def consumed(staged: Staged, domain: DomainId) -> None:
    assert staged.host.consume(domain, PAGE) is not None
    staged.host.advance(20)


def test_the_table_has_the_concept_and_the_releases() -> None:
    assert set(BEHAVIOURS) == {"concept", "xen-4.17", "xen-4.20.0", "xen-4.20"}
    assert {name for name, each in BEHAVIOURS.items() if each.treats} == {"concept"}


@pytest.mark.parametrize("personality", BEHAVIOURS)
def test_only_the_concept_treats(personality: str) -> None:
    host = stage(personality).host
    assert (Capability.TREATS in host.capabilities) is (personality == "concept")
    assert host.name == f"model {personality}"


def test_a_personality_that_treats_needs_a_seat() -> None:
    staged = stage()
    with pytest.raises(ValueError, match="seat"):
        type(staged.host)(staged.host.settings, seed=1)


@pytest.mark.parametrize("mca", [True, False])
def test_a_hap_guest_gets_a_vmce_without_a_check_that_it_enabled_mca(mca: bool) -> None:
    staged = stage(SCANS)
    domain = guest(staged, mca=mca)
    consumed(staged, domain)
    assert [each.domain for each in staged.of(GuestTold)] == [domain]
    staged.host.advance(1_000)
    assert staged.domain(domain).state is (DomainState.RUNNING if mca else DomainState.CRASHED)
    assert not staged.host.halted


def test_dom0_hears_afterwards_with_the_guests_address_and_a_recovery_entry() -> None:
    staged = stage(SCANS)
    domain = guest(staged)
    frame = staged.host.address(domain, PAGE) >> 12
    consumed(staged, domain)
    urgent = [each for each in staged.take() if isinstance(each, Telemetry) and each.urgent]
    (record,) = urgent[0].records
    assert urgent[0].case is None
    assert (record.registers.addr or 0) >> 12 == PAGE
    assert record.hypervisor is not None
    assert record.hypervisor.machine_frame == frame
    assert record.hypervisor.owner == domain
    assert record.hypervisor.page_status == Pg.OWNED | Pg.PENDING | Pg.BROKEN | domain << 16
    situation = staged.host.situation(record)
    deeds = {each.deed for each in situation.already_done}
    assert deeds == {Deed.ISOLATED_FRAME, Deed.INJECTED_VMCE}
    assert situation.frames[0].frame == frame


@pytest.mark.parametrize(("kind", "shadow"), [(DomainKind.PV, False), (DomainKind.HVM, True)])
def test_a_pv_or_shadow_guest_is_crashed_for_an_unconsumed_error(kind: DomainKind, shadow: bool) -> None:
    staged = stage(SCANS)
    domain = guest(staged, kind, handler=McaHandler.TRAP, shadow=shadow)
    unconsumed(staged, staged.host.address(domain, PAGE))
    assert staged.domain(domain).state is DomainState.CRASHED
    assert not staged.host.halted


def test_so_is_one_whose_superpage_cannot_be_split() -> None:
    # p2m_change_type_one() gives an error then, and unmmap_broken_page() hands it on.
    staged = stage(SCANS)
    domain = guest(staged, superpages=True)
    unconsumed(staged, staged.host.address(domain, PAGE))
    assert staged.domain(domain).state is DomainState.CRASHED
    assert not staged.host.halted


@pytest.mark.parametrize(("kind", "shadow"), [(DomainKind.PV, False), (DomainKind.HVM, True)])
def test_for_a_consumed_one_it_is_crashed_and_then_the_machine_panics(kind: DomainKind, shadow: bool) -> None:
    # intel_srar_dhandler starts from MCER_RESET, and mc_memerr_dhandler leaves the result alone at vmce_failed.
    staged = stage(SCANS)
    domain = guest(staged, kind, handler=McaHandler.TRAP, shadow=shadow)
    consumed(staged, domain)
    assert staged.domain(domain).state is DomainState.CRASHED
    assert [each.panic for each in staged.of(Halted)] == [True]


def test_a_guest_still_in_its_machine_check_is_crashed_by_the_next_one() -> None:
    staged = stage(SCANS)
    domain = guest(staged, behaviour="slow")
    consumed(staged, domain)
    assert staged.domain(domain).in_machine_check
    staged.host.inject(
        faults.ConsumedData(cpu=staged.host.cpu_of(domain), addr=staged.host.address(domain, GuestFrame(6)))
    )
    staged.host.advance(20)
    assert staged.domain(domain).state is DomainState.CRASHED


def test_dom0s_own_mapping_of_a_broken_page_stays() -> None:
    staged = stage(SCANS)
    page = staged.host.dom0_page(expendable=True)
    address = staged.host.address(DOM0, page)
    assert staged.host.consume(DOM0, page) is not None
    staged.host.advance(20)
    (record,) = [each for each in staged.records() if each.delivery != "CMCI"]
    (facts,) = staged.host.situation(record).frames
    assert facts.frame == address >> 12
    assert [each.domain for each in facts.mappings] == [DOM0]
    assert not staged.host.halted


def test_a_page_that_guests_share_ends_in_a_bug() -> None:
    staged = stage(SCANS)
    one, two = guest(staged), guest(staged)
    staged.host.share((one, PAGE), (two, PAGE))
    staged.host.inject(faults.ConsumedData(cpu=staged.host.cpu_of(one), addr=staged.host.address(one, PAGE)))
    staged.host.advance(20)
    assert ["BUG" in each.because for each in staged.of(Halted)] == [True]


def test_a_free_page_is_offline_and_the_machine_goes_on() -> None:
    staged = stage(SCANS)
    staged.host.inject(faults.ConsumedData(cpu=CpuId(5), addr=staged.host.free_address()))
    staged.host.advance(20)
    (record,) = [each for each in staged.records() if each.delivery != "CMCI"]
    assert [each.deed for each in staged.host.situation(record).already_done] == [Deed.OFFLINED_FRAME]
    assert not staged.host.halted


@pytest.mark.parametrize("personality", ["xen-4.17", "xen-4.20.0"])
def test_where_the_scan_is_broken_an_lmce_panics_for_lack_of_a_valid_bank(personality: str) -> None:
    # bs.lmce comes from MCG_STATUS, errcnt stays 0: "No CPU found valid MCE, need reset" (mcheck_cmn_handler).
    staged = stage(personality)
    domain = guest(staged)
    consumed(staged, domain)
    (halted,) = staged.of(Halted)
    assert "No CPU found valid" in halted.because


def test_where_the_scan_is_broken_a_broadcast_passes_unseen_even_if_the_context_is_corrupt() -> None:
    # severity_cpu stays -1, so that no CPU is the one that would panic; MCIP is cleared and all go on.
    staged = stage(BLIND)
    staged.host.inject(faults.ContextCorrupt(cpu=CpuId(2)))
    staged.host.advance(50)
    assert not staged.host.halted
    assert [each for each in staged.take() if isinstance(each, Telemetry) and each.urgent] == []


def test_the_same_error_panics_where_the_scan_works() -> None:
    staged = stage(SCANS)
    staged.host.inject(faults.ContextCorrupt(cpu=CpuId(2)))
    staged.host.advance(50)
    assert ["Fatal error happened on CPUs" in each.because for each in staged.of(Halted)] == [True]


def test_amd_a_consumed_error_is_dismissed_unreported_and_the_guest_never_gets_past_it() -> None:
    # mc_amd_recoverable_scan calls it recoverable, no handler acts on it, and mce_delayed_action dismisses it.
    staged = stage(SCANS, "milan")
    domain = guest(staged)
    consumed(staged, domain)
    staged.host.advance(1_000)
    assert [each.panic for each in staged.of(Halted)] == [False]
    assert staged.of(GuestTold) == []


def test_amd_an_error_with_corrupt_context_panics() -> None:
    staged = stage(SCANS, "milan")
    staged.host.inject(faults.ContextCorrupt(cpu=CpuId(2)))
    staged.host.advance(50)
    assert [each.panic for each in staged.of(Halted)] == [True]


def test_amd_corrected_errors_come_by_polling_only() -> None:
    staged = stage(SCANS, "milan")
    domain = guest(staged)
    address = staged.host.address(domain, PAGE)
    staged.host.inject(faults.CacheCorrected(cpu=staged.host.cpu_of(domain), addr=address))
    staged.host.advance(1_000)
    assert staged.records() == []
    staged.host.advance(30_000)
    (record,) = staged.records()
    assert record.delivery == "polled"


@pytest.mark.parametrize(("personality", "told"), [("concept", 10), (SCANS, 0)])
def test_drops_are_told_of_by_the_concept_and_by_no_xen(personality: str, told: int) -> None:
    staged = stage(personality)
    domain = guest(staged)
    staged.host.set_dom0_handler(True)
    for page in range(40):
        unconsumed(staged, staged.host.address(domain, GuestFrame(page)))
    assert staged.of(Dropped)
    assert sum(each.count for each in staged.take() if isinstance(each, Lost) and each.urgent) == told


def test_what_xen_finds_at_boot_looks_like_a_polled_error_of_this_boot() -> None:
    staged = stage(SCANS)
    staged.host.inject(faults.ContextCorrupt(cpu=CpuId(2)))
    staged.host.advance(50)
    staged.host.reboot()
    arrivals = staged.take()
    assert {each.sink for each in arrivals if isinstance(each, LeftOver)} == {"ERST"}
    polled = [each for each in arrivals if isinstance(each, Telemetry)]
    assert [each.urgent for each in polled] == [False]
    assert polled[0].records[0].delivery == "polled"


@pytest.mark.parametrize("personality", ["xen-4.17", "xen-4.20"])
def test_xen_has_no_call_to_isolate_a_frame_or_to_inject_a_vmce(personality: str) -> None:
    staged = stage(personality)
    domain = guest(staged)
    frame = staged.host.address(domain, PAGE) >> 12
    assert staged.do(IsolateFrame(frame)).status is Status.REFUSED  # type: ignore[arg-type]
    assert staged.do(InjectVmce(domain, PAGE)).status is Status.REFUSED
    assert staged.of(GuestTold) == []


def test_the_platform_of_these_tests_signals_consumed_errors_locally() -> None:
    staged = stage(answering=lambda record, situation: ())
    domain = guest(staged)
    consumed(staged, domain)
    statuses = [record.registers.mcg_status or 0 for record in staged.seat.records]
    assert any(LMCE_S.of(status) for status in statuses)
