"""Who is hit: consumer and losers of real register values, on hosts of every shape that the concept speaks of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ringfence.arch import mci_status as bits
from ringfence.arch.cpuid import Vendor
from ringfence.diagnosis.containment import contain
from ringfence.diagnosis.containment_holdings import MOST_LISTED_PAGES
from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.diagnosis.impact import Certainty, Consumer, Impact, Loser, Party
from ringfence.diagnosis.severity import Severity
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Format,
    HypervisorReport,
    MemoryReport,
    Origin,
    Record,
    Registers,
)
from ringfence.world.domain import Dom0State, Domain, DomainKind, DomainState
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import DOM0, DOMID_COW, CaseId, CpuId, DomainId, Frame, GuestFrame, VcpuId
from ringfence.world.situation import (
    AlreadyDone,
    Context,
    Deed,
    OpenCase,
    Platform,
    Running,
    Situation,
)

MCIP, EIPV, RIPV = 4, 2, 1
CAN_RESUME = MCIP | EIPV | RIPV
SKYLAKE, MILAN = 0x50657, 0xA00F11
SER_P_CAP = 0x0F00_0C14
PHYSICAL_LINE = 0x86
"""MCi_MISC: a physical address (mode 2), least significant bit 6 (SDM vol. 3B 17.3.2.4)."""

PAGE = Frame(0x12345)
ADDRESS = 0x1234_5680
A, B, C = DomainId(3), DomainId(4), DomainId(5)
NOBODY = Consumer(Party.NOBODY, Certainty.PROVEN)
UNCONFINED = Consumer(Party.NOBODY, Certainty.UNCONFINED)


# --- findings, from registers as the manuals lay them out -------------------------------------------------------------


def intel(
    status: int,
    *,
    bank: int = 1,
    mcg_status: int | None = CAN_RESUME,
    addr: int | None = ADDRESS,
    misc: int | None = PHYSICAL_LINE,
    delivery: Delivery = Delivery.MACHINE_CHECK,
    hypervisor: HypervisorReport | None = None,
) -> Finding:
    registers = Registers(status=status, addr=addr, misc=misc, mcg_status=mcg_status, mcg_cap=SER_P_CAP)
    return diagnose(
        Record(
            origin=Origin("test"),
            format=Format.TYPED,
            raw=b"",
            vendor=Vendor.INTEL,
            cpuid=SKYLAKE,
            cpu=2,
            bank=bank,
            delivery=delivery,
            registers=registers,
            hypervisor=hypervisor,
        )
    )


def amd(status: int, ipid: int, *, mcg_status: int = CAN_RESUME, delivery: Delivery, misc: int = 0) -> Finding:
    registers = Registers(status=status, addr=ADDRESS, misc=misc, mcg_status=mcg_status, ipid=ipid)
    return diagnose(
        Record(
            origin=Origin("test"),
            format=Format.TYPED,
            raw=b"",
            vendor=Vendor.AMD,
            cpuid=MILAN,
            cpu=2,
            bank=0,
            delivery=delivery,
            registers=registers,
        )
    )


ERROR = bits.VAL.mask | bits.EN.mask | bits.MISCV.mask | bits.ADDRV.mask
UC = ERROR | bits.UC.mask
LOAD, FETCH, SCRUB, WRITEBACK = 0x0134, 0x0150, 0x00C0, 0x017A
SRAR = UC | bits.S.mask | bits.AR.mask
SRAO = UC | bits.S.mask

CONSUMED = intel(SRAR | LOAD)
CONSUMED_UNRESUMABLE = intel(SRAR | LOAD, mcg_status=MCIP | EIPV)
NEITHER = intel(SRAR | FETCH, mcg_status=MCIP)
COPY = intel(SRAR | LOAD, mcg_status=MCIP | RIPV)
WITHOUT_ADDRESS = intel(SRAR & ~bits.ADDRV.mask | LOAD, addr=None)
SCRUBBED = intel(SRAO | SCRUB, bank=7)
SCRUBBED_NAMELESS = intel(SRAO & ~bits.ADDRV.mask | SCRUB, bank=7, addr=None)
WRITTEN_BACK = intel(SRAO | WRITEBACK, bank=9)
WRITTEN_BACK_NAMELESS = intel(SRAO & ~bits.ADDRV.mask | WRITEBACK, bank=9, addr=None)
UNCLAIMED = intel(UC | 0x0090, bank=7, mcg_status=0, delivery=Delivery.CMCI)
CORRECTED = intel(ERROR | 0x0090, bank=7, mcg_status=0, delivery=Delivery.CMCI)
CONTEXT_CORRUPT = intel(UC | bits.PCC.mask | 0x0005, mcg_status=MCIP)
LEFT_OVER = intel(SRAR | LOAD, mcg_status=0, delivery=Delivery.POLLED)
NO_ERROR = intel(0)
IN_L3 = intel(SRAR | 0x010E, bank=9)
"""S=1 AR=1 with a generic cache code of level 2: no architectural SRAR code, and no core's own unit."""

LS_V2 = 0x0010_00B0_0000_0000
IF = 0x0001_00B0_0000_0000
L3 = 0x0007_00B0_0000_0000
UMC = 0x0000_0096_0000_0000
POISONED_LOAD = amd(UC | bits.POISON.mask, LS_V2, delivery=Delivery.MACHINE_CHECK)
NORMALISED = amd(ERROR | bits.DEFERRED.mask, UMC, delivery=Delivery.POLLED, mcg_status=0)


def test_the_findings_of_these_tests_are_what_their_names_say() -> None:
    assert {
        severity: [finding for finding in FINDINGS if finding.severity is severity and not finding.is_left_over]
        for severity in Severity
    } == {
        Severity.SRAR: [CONSUMED, CONSUMED_UNRESUMABLE, NEITHER, COPY, WITHOUT_ADDRESS, IN_L3, POISONED_LOAD],
        Severity.SRAO: [SCRUBBED, SCRUBBED_NAMELESS, WRITTEN_BACK, WRITTEN_BACK_NAMELESS],
        Severity.UCNA: [UNCLAIMED],
        Severity.DEFERRED: [NORMALISED],
        Severity.CORRECTED: [CORRECTED],
        Severity.FATAL: [CONTEXT_CORRUPT],
        Severity.NONE: [NO_ERROR],
    }
    assert LEFT_OVER.is_left_over


FINDINGS = [
    CONSUMED,
    CONSUMED_UNRESUMABLE,
    NEITHER,
    COPY,
    WITHOUT_ADDRESS,
    IN_L3,
    POISONED_LOAD,
    SCRUBBED,
    SCRUBBED_NAMELESS,
    WRITTEN_BACK,
    WRITTEN_BACK_NAMELESS,
    UNCLAIMED,
    NORMALISED,
    CORRECTED,
    CONTEXT_CORRUPT,
    LEFT_OVER,
    NO_ERROR,
]


# --- hosts ------------------------------------------------------------------------------------------------------------


def domain(
    number: DomainId, *, state: DomainState = DomainState.RUNNING, serves: frozenset[DomainId] = frozenset()
) -> Domain:
    return Domain(id=number, name=f"domain {number}", kind=DomainKind.HVM, state=state, serves=serves)


HERE = (Domain(id=DOM0, name="Dom0", kind=DomainKind.DOM0), domain(A), domain(B), domain(C))
IN_A = Running(cpu=CpuId(2), context=Context.GUEST, domain=A, vcpu=VcpuId(0))
IN_DOM0 = replace(IN_A, domain=DOM0)
IN_XEN = Running(cpu=CpuId(2), context=Context.HYPERVISOR)
IDLE = Running(cpu=CpuId(2), context=Context.IDLE)


def mapped(by: DomainId, at: int | None = None, kind: MappingKind = MappingKind.CPU) -> Mapping:
    return Mapping(domain=by, kind=kind, guest_frame=None if at is None else GuestFrame(at))


def page_of(owner: DomainId, at: int | None = 0x70, *others: Mapping) -> FrameFacts:
    return FrameFacts(frame=PAGE, use=FrameUse.DOMAIN, owner=owner, mappings=(mapped(owner, at), *others))


def page_used(use: FrameUse, owner: DomainId | None = None) -> FrameFacts:
    return FrameFacts(frame=PAGE, use=use, owner=owner)


def host(*frames: FrameFacts, running: Running = IN_A) -> Situation:
    return Situation(
        now_ms=0,
        dom0=Dom0State(has_handler=True),
        domains=HERE,
        frames=frames,
        running=running,
        platform=Platform(poisons=True, poisons_because="MCG_CAP.SER_P is set"),
    )


def loses(owner: DomainId, *pages: int, unnumbered: int = 0) -> Loser:
    party = Party.DOM0 if owner == DOM0 else Party.DOMU
    return Loser(party=party, domain=owner, pages=tuple(GuestFrame(page) for page in pages), unnumbered=unnumbered)


def domu(number: DomainId) -> Consumer:
    return Consumer(Party.DOMU, Certainty.PROVEN, number)


def rules(impact: Impact) -> set[str]:
    return {ground.rule for ground in impact.grounds}


def against(impact: Impact) -> set[str]:
    return {ground.rule for ground in impact.grounds if not ground.supports}


# --- the address ------------------------------------------------------------------------------------------------------


def test_an_unconsumed_error_without_an_address_is_unlocated_and_nobody_is_named() -> None:
    impact = contain(SCRUBBED_NAMELESS, host(page_of(A)))
    assert (impact.consumer, impact.losers, impact.certainty) == (NOBODY, (), Certainty.UNLOCATED)
    assert impact.frames == ()
    assert {"no-address", "frame-not-named"} <= against(impact)


@pytest.mark.parametrize(("mode", "name"), [(0, "not-physical"), (1, "not-physical"), (3, "not-physical"), (7, "not-")])
def test_an_address_that_is_not_physical_names_no_page(mode: int, name: str) -> None:
    impact = contain(
        intel(UC | 0x0090, bank=7, misc=mode << 6 | 6, delivery=Delivery.CMCI, mcg_status=0), host(page_of(A))
    )
    assert (impact.losers, impact.certainty) == ((), Certainty.UNLOCATED)
    assert any(f"address-{name}" in rule for rule in against(impact))


def test_a_normalised_address_of_a_memory_controller_names_no_page() -> None:
    impact = contain(NORMALISED, host(page_of(A)))
    assert (impact.consumer, impact.losers, impact.certainty) == (NOBODY, (), Certainty.UNLOCATED)
    assert "address-normalised" in against(impact)


def qemu(claim: str) -> Finding:
    return diagnose(
        Record(
            origin=Origin("test"),
            format=Format.QEMU,
            raw=b"",
            memory=MemoryReport(severity=ClaimedSeverity.RECOVERABLE, guest_address=ADDRESS, grain_bytes=4096),
            claims=(Claim(ClaimKind.ERROR, claim),),
        )
    )


def test_a_guests_own_address_names_no_page_of_the_host() -> None:
    impact = contain(qemu("BUS_MCEERR_AO"), host(page_of(A)))
    assert (impact.losers, impact.certainty) == ((), Certainty.UNLOCATED)
    assert "address-guest-physical" in against(impact)


def test_a_signal_for_consumed_data_names_the_guest_that_ran() -> None:
    impact = contain(qemu("BUS_MCEERR_AR"), host())
    assert (impact.consumer, impact.certainty) == (domu(A), Certainty.UNCONFINED)


def test_where_xen_overwrote_the_address_the_frame_of_its_recovery_entry_counts() -> None:
    overwritten = intel(SRAR | LOAD, addr=0x7_0000, hypervisor=HypervisorReport(machine_frame=PAGE, owner=A, domain=A))
    other = replace(page_of(B), frame=Frame(0x70))
    impact = contain(overwritten, host(page_of(A), other))
    assert (impact.losers, impact.certainty) == ((loses(A, 0x70),), Certainty.PROVEN)
    assert impact.frames == ((PAGE, 1),)
    assert "frame-by-recovery-entry" in rules(impact)


def test_a_record_that_names_another_owner_than_the_owner_map_is_evidence_against() -> None:
    finding = intel(SRAR | LOAD, hypervisor=HypervisorReport(machine_frame=PAGE, owner=B))
    impact = contain(finding, host(page_of(A)))
    assert impact.losers == (loses(A, 0x70),)
    assert "record-names-another-owner" in against(impact)
    assert "record-names-another-owner" not in rules(contain(finding, host(page_of(B))))


COARSE = 0x80 | 14
"""MCi_MISC: a physical address whose least significant bit is 14: four pages."""


def four_pages(*owners: DomainId) -> tuple[FrameFacts, ...]:
    return tuple(
        FrameFacts(frame=Frame(0x12344 + i), use=FrameUse.DOMAIN, owner=owner, mappings=(mapped(owner, 0x70 + i),))
        for i, owner in enumerate(owners)
    )


def test_an_address_that_stands_for_several_pages_hits_all_of_them() -> None:
    impact = contain(intel(SRAO | SCRUB, bank=7, misc=COARSE), host(*four_pages(A, A, B, A)))
    assert impact.losers == (loses(A, 0x70, 0x71, 0x73), loses(B, 0x72))
    assert impact.certainty is Certainty.PROVEN
    assert impact.frames == tuple((Frame(0x12344 + i), 1) for i in range(4))


@pytest.mark.parametrize("missing", range(4))
def test_a_page_that_the_hypervisor_says_nothing_of_leaves_the_impact_open(missing: int) -> None:
    listed = [frame for i, frame in enumerate(four_pages(A, A, A, A)) if i != missing]
    finding = intel(SRAO | SCRUB, bank=7, misc=COARSE)
    impact = contain(finding, host(*listed))
    assert impact.certainty is Certainty.UNLOCATED
    assert impact.losers == (loses(A, *(0x70 + i for i in range(4) if i != missing)),)
    assert impact.frames == tuple((Frame(0x12344 + i), 1) for i in range(4))
    assert "page-not-listed" in against(impact)


def test_an_address_that_stands_for_more_than_a_gigabyte_names_nothing() -> None:
    gigabyte, more = (contain(intel(SRAO | SCRUB, bank=7, misc=0x80 | lsb), host()) for lsb in (30, 31))
    assert gigabyte.frames == ((Frame(0), 1 << 18),)
    assert more.frames == ()
    assert "address-in-doubt" in against(more)


# --- what else the registers say --------------------------------------------------------------------------------------


def test_an_overflow_may_hide_another_error_and_that_is_evidence_against() -> None:
    hidden = contain(intel(SRAO | bits.OVER.mask | SCRUB, bank=7), host(page_of(A)))
    assert (hidden.losers, hidden.certainty) == ((loses(A, 0x70),), Certainty.PROVEN)
    assert "hidden-error" in against(hidden)
    assert "hidden-error" not in rules(contain(SCRUBBED, host(page_of(A))))


def test_a_consumed_error_with_overflow_is_unconfined_on_intel_and_confined_with_amds_overflow_recovery() -> None:
    intels = contain(intel(SRAR | bits.OVER.mask | LOAD), host(page_of(A)))
    assert intels.worst is Certainty.UNCONFINED
    amds = contain(
        amd(UC | bits.POISON.mask | bits.OVER.mask, LS_V2, delivery=Delivery.MACHINE_CHECK), host(page_of(A))
    )
    assert amds.consumer == domu(A)
    assert "hidden-error" in against(amds)


def test_a_corrupt_processor_context_is_unconfined_and_names_the_cpu_and_the_page() -> None:
    impact = contain(CONTEXT_CORRUPT, host(page_of(A)))
    assert (impact.consumer, impact.certainty) == (UNCONFINED, Certainty.UNCONFINED)
    assert impact.cpu == 2
    assert impact.frames == ((PAGE, 1),)
    assert "ran-there" in against(impact)


def test_a_consumer_that_cannot_be_resumed_loses_its_cpus_context_beside_the_owner_of_the_page() -> None:
    impact = contain(CONSUMED_UNRESUMABLE, host(page_of(B)))
    assert impact.consumer == domu(A)
    assert (impact.losers, impact.certainty) == ((loses(A), loses(B, 0x70)), Certainty.PROVEN)
    own = contain(CONSUMED_UNRESUMABLE, host(page_of(A)))
    assert own.losers == (loses(A, 0x70),)
    xens = contain(CONSUMED_UNRESUMABLE, host(page_of(B), running=IN_XEN))
    assert xens.losers == (Loser(party=Party.HYPERVISOR), loses(B, 0x70))


def test_amds_corrupt_task_context_is_a_loss_of_the_consumer() -> None:
    corrupt = amd(UC | bits.POISON.mask | bits.TCC.mask, LS_V2, delivery=Delivery.MACHINE_CHECK)
    assert contain(corrupt, host(page_of(B))).losers == (loses(A), loses(B, 0x70))
    assert contain(POISONED_LOAD, host(page_of(B))).losers == (loses(B, 0x70),)


def test_if_the_saved_instruction_is_not_of_the_error_the_domain_that_ran_is_no_proven_consumer() -> None:
    impact = contain(NEITHER, host(page_of(A)))
    assert (impact.consumer, impact.losers) == (UNCONFINED, (loses(A, 0x70),))
    assert "consumed-out-of-context" in rules(impact)


@pytest.mark.parametrize("mcg_status", [None, RIPV | EIPV])
def test_without_mcg_status_as_the_exception_left_it_there_is_no_proven_consumer(mcg_status: int | None) -> None:
    impact = contain(intel(SRAR | LOAD, mcg_status=mcg_status), host(page_of(A)))
    assert impact.consumer == UNCONFINED
    assert "consumed-context-unsaid" in rules(impact)


def test_a_consumed_error_that_was_not_signalled_has_no_proven_consumer() -> None:
    late = intel(SRAR & ~bits.EN.mask | LOAD, mcg_status=0, delivery=Delivery.POLLED)
    impact = contain(late, host(page_of(A)))
    assert impact.consumer == UNCONFINED
    assert "consumed-before-the-report" in rules(impact)


# --- shared caches and links ------------------------------------------------------------------------------------------


def test_poison_consumed_through_a_shared_cache_is_unconfined_whoever_ran() -> None:
    impact = contain(IN_L3, host(page_of(A)))
    assert (impact.consumer, impact.losers, impact.certainty) == (UNCONFINED, (loses(A, 0x70),), Certainty.PROVEN)
    assert impact.worst is Certainty.UNCONFINED


@pytest.mark.parametrize("ipid", [L3, UMC])
def test_an_amd_bank_outside_the_core_proves_no_consumer(ipid: int) -> None:
    impact = contain(amd(UC, ipid, delivery=Delivery.MACHINE_CHECK), host(page_of(A)))
    assert impact.consumer == UNCONFINED
    assert "consumed-behind-a-shared-unit" in rules(impact)


def test_a_cache_that_no_other_cpu_shares_is_as_good_as_the_cores_own() -> None:
    def sharing(*cpus: int) -> Situation:
        caches = ((CpuId(2), frozenset(CpuId(cpu) for cpu in cpus)),)
        return replace(host(page_of(A)), platform=Platform(poisons=True, shared_caches=caches))

    assert contain(IN_L3, sharing(2)).consumer == domu(A)
    assert contain(IN_L3, sharing(2, 3)).consumer == UNCONFINED


def test_an_unconsumed_error_of_a_shared_cache_is_unlocated_unless_its_address_names_the_page() -> None:
    nameless = contain(WRITTEN_BACK_NAMELESS, host(page_of(A)))
    assert (nameless.consumer, nameless.losers, nameless.certainty) == (NOBODY, (), Certainty.UNLOCATED)
    named = contain(WRITTEN_BACK, host(page_of(A)))
    assert (named.consumer, named.losers, named.certainty) == (NOBODY, (loses(A, 0x70),), Certainty.PROVEN)


def test_before_smca_only_amds_load_store_bank_is_one_cores_own() -> None:
    def in_bank(bank: int) -> Impact:
        finding = amd(UC, 0, delivery=Delivery.MACHINE_CHECK)
        table = replace(finding.verdict, table="amd-legacy", severity=Severity.SRAR)
        record = replace(finding.record, bank=bank)
        return contain(Finding(replace(finding.meaning, record=record), table), host(page_of(A)))

    assert in_bank(0).consumer == domu(A)
    assert [in_bank(bank).consumer for bank in (1, 2, 4)] == [UNCONFINED] * 3


# --- whose page -------------------------------------------------------------------------------------------------------


def test_the_hypervisors_own_page_is_the_hypervisors_loss() -> None:
    impact = contain(SCRUBBED, host(page_used(FrameUse.HYPERVISOR)))
    assert (impact.losers, impact.certainty) == ((Loser(party=Party.HYPERVISOR),), Certainty.PROVEN)


def test_a_page_of_dom0_is_dom0s_loss() -> None:
    assert contain(SCRUBBED, host(page_of(DOM0))).losers == (loses(DOM0, 0x70),)


def test_a_page_of_one_domu_is_its_loss_in_its_own_frame_numbers() -> None:
    impact = contain(SCRUBBED, host(page_of(B, 0x9999)))
    assert (impact.consumer, impact.losers) == (NOBODY, (loses(B, 0x9999),))


def test_a_page_whose_guest_number_nobody_knows_is_counted() -> None:
    assert contain(SCRUBBED, host(page_of(B, None))).losers == (loses(B, unnumbered=1),)
    unmapped = FrameFacts(frame=PAGE, use=FrameUse.DOMAIN, owner=B)
    assert contain(SCRUBBED, host(unmapped)).losers == (loses(B, unnumbered=1),)


def test_a_page_that_a_guest_has_in_two_places_is_told_in_both() -> None:
    impact = contain(SCRUBBED, host(page_of(A, 0x70, mapped(A, 0x90))))
    assert impact.losers == (loses(A, 0x70, 0x90),)


@pytest.mark.parametrize("kind", [MappingKind.GRANT, MappingKind.FOREIGN, MappingKind.IOMMU, MappingKind.CPU])
def test_dom0_as_backend_of_a_granted_page_loses_nothing_but_the_grounds_name_it(kind: MappingKind) -> None:
    impact = contain(SCRUBBED, host(page_of(A, 0x70, mapped(DOM0, 0x5, kind))))
    assert impact.losers == (loses(A, 0x70),)
    assert "mapped-by-dom0-for-another" in rules(impact)


@pytest.mark.parametrize("kind", [MappingKind.GRANT, MappingKind.FOREIGN, MappingKind.SHARED, MappingKind.IOMMU])
def test_a_domu_that_maps_anothers_page_is_a_loser_of_its_own(kind: MappingKind) -> None:
    impact = contain(SCRUBBED, host(page_of(A, 0x70, mapped(C, 0x5, kind))))
    assert impact.losers == (loses(A, 0x70), loses(C, 0x5))


def test_a_page_shared_by_several_is_lost_by_each_of_them_dom0_too() -> None:
    sharers = tuple(mapped(by, 0x100 + by, MappingKind.SHARED) for by in (C, B, DOM0))
    impact = contain(SCRUBBED, host(page_of(A, 0x70, *sharers)))
    assert impact.losers == (loses(DOM0, 0x100), loses(A, 0x70), loses(B, 0x104), loses(C, 0x105))


def test_a_page_that_guests_share_copy_on_write_has_no_owner_that_could_be_gone() -> None:
    sharers = tuple(mapped(by, 0x100 + by, MappingKind.SHARED) for by in (B, C))
    impact = contain(SCRUBBED, host(FrameFacts(frame=PAGE, use=FrameUse.DOMAIN, owner=DOMID_COW, mappings=sharers)))
    assert impact.losers == (loses(B, 0x104), loses(C, 0x105))
    assert "page-shared-copy-on-write" in rules(impact)
    assert "page-of-a-domain-that-is-gone" not in rules(impact)


def test_a_page_of_a_device_model_is_lost_by_its_stub_domain_and_not_by_the_guest_that_it_serves() -> None:
    stub = replace(host(page_of(B)), domains=(*HERE[:2], domain(B, serves=frozenset({A}))))
    impact = contain(SCRUBBED, stub)
    assert impact.losers == (loses(B, 0x70),)
    assert "loser-serves-others" in rules(impact)


@pytest.mark.parametrize("use", [FrameUse.BALLOONED, FrameUse.FREE, FrameUse.OFFLINE])
def test_nobody_loses_a_page_that_is_ballooned_out_free_or_offline_already(use: FrameUse) -> None:
    owner = A if use is FrameUse.BALLOONED else None
    impact = contain(SCRUBBED, host(page_used(use, owner)))
    assert (impact.losers, impact.certainty) == ((), Certainty.PROVEN)
    assert impact.frames == ((PAGE, 1),)


@pytest.mark.parametrize("use", [FrameUse.UNKNOWN, FrameUse.NOT_MEMORY, FrameUse.DOMAIN])
def test_a_page_of_which_nobody_can_say_whose_it_is_is_unlocated_and_unconfined_once_consumed(use: FrameUse) -> None:
    unconsumed = contain(SCRUBBED, host(page_used(use)))
    assert (unconsumed.losers, unconsumed.certainty) == ((), Certainty.UNLOCATED)
    consumed = contain(CONSUMED, host(page_used(use)))
    assert (consumed.consumer, consumed.certainty) == (domu(A), Certainty.UNCONFINED)


def test_a_named_page_of_which_the_hypervisor_says_nothing_is_named_still() -> None:
    impact = contain(SCRUBBED, host())
    assert (impact.losers, impact.certainty, impact.frames) == ((), Certainty.UNLOCATED, ((PAGE, 1),))


def test_a_hit_in_a_superpage_loses_all_of_its_pages() -> None:
    superpage = replace(page_of(A, 0x200), frame=Frame(0x12200), pages=512)
    impact = contain(SCRUBBED, host(superpage))
    assert impact.frames == ((Frame(0x12200), 512),)
    assert impact.losers == (loses(A, *range(0x200, 0x400)),)


def test_more_lost_pages_than_are_listed_are_counted() -> None:
    pages = MOST_LISTED_PAGES + 512
    superpage = replace(page_of(A, 0), frame=Frame(0), pages=pages)
    (loser,) = contain(SCRUBBED, host(superpage)).losers
    assert (len(loser.pages), loser.unnumbered) == (MOST_LISTED_PAGES, 512)
    assert loser.pages[-1] == MOST_LISTED_PAGES - 1


def test_a_corrected_error_in_a_superpage_names_its_own_page_alone() -> None:
    superpage = replace(page_of(A, 0x200), frame=Frame(0x12200), pages=512)
    assert contain(CORRECTED, host(superpage)).frames == ((PAGE, 1),)


def test_a_page_whose_owner_is_gone_in_the_meantime_is_lost_by_nobody_now() -> None:
    for gone in DomainState:
        if gone not in {DomainState.RUNNING, DomainState.PAUSED}:
            after = replace(host(page_of(A)), domains=(HERE[0], domain(A, state=gone), domain(B)))
            assert contain(SCRUBBED, after).losers == ()
    unknown = replace(host(page_of(A)), domains=HERE[:1])
    assert contain(SCRUBBED, unknown).losers == ()
    paused = replace(host(page_of(A)), domains=(HERE[0], domain(A, state=DomainState.PAUSED)))
    assert contain(SCRUBBED, paused).losers == (loses(A, 0x70),)


def test_a_mapper_of_a_page_whose_owner_is_gone_loses_it_still_and_a_mapper_that_is_gone_does_not() -> None:
    situation = replace(host(page_of(A, 0x70, mapped(B, 0x5, MappingKind.GRANT))), domains=(HERE[0], HERE[2]))
    assert contain(SCRUBBED, situation).losers == (loses(B, 0x5),)
    situation = replace(situation, domains=HERE[:2])
    assert contain(SCRUBBED, situation).losers == (loses(A, 0x70),)


def test_a_consumer_that_is_gone_is_named_and_loses_nothing() -> None:
    impact = contain(CONSUMED_UNRESUMABLE, replace(host(page_of(A)), domains=HERE[:1]))
    assert (impact.consumer, impact.losers, impact.certainty) == (domu(A), (), Certainty.PROVEN)


# --- who consumed it --------------------------------------------------------------------------------------------------


def test_poison_consumed_in_a_guests_own_page_hits_that_guest_alone() -> None:
    for finding in (CONSUMED, POISONED_LOAD):
        impact = contain(finding, host(page_of(A)))
        assert (impact.consumer, impact.losers, impact.worst) == (domu(A), (loses(A, 0x70),), Certainty.PROVEN)
        assert against(impact) == set()
        assert impact.cpu is None


def test_poison_consumed_in_somebody_elses_page_hits_both() -> None:
    impact = contain(CONSUMED, host(page_of(B, 0x70, mapped(A, 0x5, MappingKind.GRANT))))
    assert (impact.consumer, impact.losers) == (domu(A), (loses(A, 0x5), loses(B, 0x70)))


def test_dom0_that_reads_a_domus_page_is_the_consumer_and_the_domu_the_loser() -> None:
    impact = contain(CONSUMED, host(page_of(A, 0x70, mapped(DOM0, 0x5, MappingKind.FOREIGN)), running=IN_DOM0))
    assert impact.consumer == Consumer(Party.DOM0, Certainty.PROVEN, DOM0)
    assert impact.losers == (loses(A, 0x70),)


@pytest.mark.parametrize("running", [IN_XEN, IDLE])
def test_poison_consumed_by_the_hypervisor_or_its_idle_loop_is_the_hypervisors(running: Running) -> None:
    impact = contain(CONSUMED, host(page_of(A), running=running))
    assert impact.consumer == Consumer(Party.HYPERVISOR, Certainty.PROVEN)
    assert impact.losers == (loses(A, 0x70),)


@pytest.mark.parametrize(
    "running", [Running(), Running(context=Context.GUEST), Running(context=Context.UNKNOWN, domain=A)]
)
def test_poison_consumed_by_nobody_knows_whom_is_unconfined(running: Running) -> None:
    impact = contain(CONSUMED, host(page_of(A), running=running))
    assert (impact.consumer, impact.losers) == (UNCONFINED, (loses(A, 0x70),))


def test_a_guest_that_consumed_what_it_does_not_map_speaks_against_the_owner_map() -> None:
    impact = contain(CONSUMED, host(page_of(B)))
    assert (impact.consumer, impact.losers) == (domu(A), (loses(B, 0x70),))
    assert "consumer-does-not-map" in against(impact)


def test_consumed_poison_whose_page_cannot_be_named_is_unconfined_though_the_consumer_is_known() -> None:
    impact = contain(WITHOUT_ADDRESS, host(page_of(A)))
    assert (impact.consumer, impact.losers, impact.certainty) == (domu(A), (), Certainty.UNCONFINED)
    assert {"no-address", "consumer-is-known"} <= against(impact)
    assert impact.cpu == 2


def test_the_domain_that_ran_is_no_evidence_for_a_patrol_scrub() -> None:
    outcomes = {
        replace(contain(finding, host(page_of(B), running=running)), grounds=())
        for finding in (SCRUBBED, UNCLAIMED)
        for running in (IN_A, IN_DOM0, IN_XEN, IDLE, Running())
    }
    assert [(impact.consumer, impact.losers) for impact in outcomes] == [(NOBODY, (loses(B, 0x70),))]


def test_a_broadcast_copy_alone_says_only_that_another_cpu_consumed_it() -> None:
    impact = contain(COPY, host(page_of(A)))
    assert (impact.consumer, impact.losers) == (UNCONFINED, (loses(A, 0x70),))
    assert "consumed-on-another-cpu" in rules(impact)


@pytest.mark.parametrize(("consumed", "expected"), [(True, NOBODY), (False, UNCONFINED)])
def test_a_broadcast_copy_of_a_case_whose_consumer_is_known_adds_none(consumed: bool, expected: Consumer) -> None:
    case = OpenCase(CaseId(9), frozenset({PAGE}), frozenset({B}), consumed)
    impact = contain(COPY, replace(host(page_of(A)), open_cases=(case,)))
    assert (impact.consumer, impact.losers) == (expected, (loses(A, 0x70),))
    other = replace(case, frames=frozenset({Frame(1)}))
    assert contain(COPY, replace(host(page_of(A)), open_cases=(other,))).consumer == UNCONFINED


def test_a_zen_fetch_unit_that_leaves_eipv_clear_speaks_of_its_own_cpu() -> None:
    fetch, load = (
        contain(
            amd(UC | bits.POISON.mask, unit, mcg_status=MCIP | RIPV, delivery=Delivery.MACHINE_CHECK), host(page_of(A))
        )
        for unit in (IF, LS_V2)
    )
    assert fetch.consumer == domu(A)
    assert "eipv-clear-on-fetch" in against(fetch)
    assert load.consumer == UNCONFINED


# --- time, platform, what was done ------------------------------------------------------------------------------------


def test_two_errors_on_one_page_are_named_and_the_losers_are_the_same() -> None:
    case = OpenCase(CaseId(9), frozenset({PAGE}), frozenset({A}), False)
    situation = replace(host(replace(page_of(A), broken=True)), open_cases=(case,))
    impact = contain(CONSUMED, situation)
    assert impact.losers == (loses(A, 0x70),)
    assert {"page-broken-before", "page-in-open-case"} <= rules(impact)
    assert not {"page-broken-before", "page-in-open-case"} & rules(contain(CONSUMED, host(page_of(A))))


def test_what_is_left_over_from_before_is_history_even_if_it_was_fatal() -> None:
    earlier = replace(host(page_of(A)), earlier_boot=True)
    for impact in (contain(LEFT_OVER, host(page_of(A))), *(contain(finding, earlier) for finding in FINDINGS)):
        assert impact.left_over
        assert (impact.consumer, impact.losers, impact.worst, impact.cpu) == (NOBODY, (), Certainty.PROVEN, None)
    assert contain(CONSUMED, earlier).frames == ((PAGE, 1),)


def test_without_platform_poisoning_any_uncorrected_error_is_unconfined() -> None:
    unmarked = replace(host(page_of(A)), platform=Platform(poisons=False, poisons_because="SER_P is clear"))
    for finding in (CONSUMED, SCRUBBED, UNCLAIMED, NORMALISED):
        impact = contain(finding, unmarked)
        assert (impact.consumer, impact.certainty) == (UNCONFINED, Certainty.UNCONFINED)
        assert "platform-does-not-poison" in rules(impact)
    assert contain(CORRECTED, unmarked).worst is Certainty.PROVEN


def test_poisoning_that_is_not_established_is_evidence_against() -> None:
    impact = contain(SCRUBBED, replace(host(page_of(A)), platform=Platform()))
    assert impact.certainty is Certainty.PROVEN
    assert "poisoning-not-established" in against(impact)


def test_what_the_hypervisor_has_done_already_is_stated() -> None:
    offlined = AlreadyDone(Deed.OFFLINED_FRAME, frame=PAGE)
    impact = contain(SCRUBBED, replace(host(page_of(A)), already_done=(offlined,)))
    assert impact.losers == (loses(A, 0x70),)
    assert [ground.because for ground in impact.grounds if ground.rule == "already-done"] == [
        "the hypervisor has acted by itself: took the page out of use, frame 0x12345"
    ]


def test_a_domain_that_the_hypervisor_killed_over_the_error_is_a_loser_for_that_is_its_outcome() -> None:
    crashed = replace(host(page_of(A)), domains=(HERE[0], domain(A, state=DomainState.CRASHED)))
    killed = AlreadyDone(Deed.KILLED_DOMAIN, domain=A)
    assert contain(SCRUBBED, crashed).losers == ()
    assert contain(SCRUBBED, replace(crashed, already_done=(killed,))).losers == (loses(A, 0x70),)
    taken = replace(host(FrameFacts(frame=PAGE, use=FrameUse.OFFLINE, broken=True)), already_done=(killed,))
    hit = contain(SCRUBBED, taken).losers
    assert [(loser.domain, loser.pages) for loser in hit] == [(A, ())], "its page has nobody's name on it by now"


def test_a_corrected_error_has_no_consumer_and_no_loser_and_names_its_page_for_the_trends() -> None:
    impact = contain(CORRECTED, host(page_of(A)))
    assert (impact.consumer, impact.losers, impact.worst) == (NOBODY, (), Certainty.PROVEN)
    assert impact.frames == ((PAGE, 1),)
    assert contain(NO_ERROR, host(page_of(A))).losers == ()


def test_the_grounds_begin_with_the_rule_for_the_consumer_and_the_rule_for_the_losers() -> None:
    impact = contain(CONSUMED, host(page_of(A)))
    assert [ground.rule for ground in impact.grounds] == [
        "domu-consumed",
        "page-held",
        "address-names-pages",
        "domus-page",
        "platform-poisons",
    ]


# --- laws -------------------------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from([DOM0, A, B, C, DomainId(77)])
GUEST_FRAMES = st.integers(0, 0xFFF).map(GuestFrame)
"""Below every host frame here, so that a host's number among a guest's would be seen."""

MAPPINGS = st.builds(Mapping, domain=NUMBERS, kind=st.sampled_from(MappingKind), guest_frame=st.none() | GUEST_FRAMES)
FRAMES = st.builds(
    FrameFacts,
    frame=st.sampled_from([PAGE, Frame(0x12344), Frame(0x12340), Frame(0x99999)]),
    use=st.sampled_from(FrameUse),
    pages=st.sampled_from([1, 2, 16]),
    owner=st.none() | NUMBERS,
    mappings=st.lists(MAPPINGS, max_size=4).map(tuple),
    broken=st.booleans(),
)
SITUATIONS = st.builds(
    Situation,
    now_ms=st.just(0),
    dom0=st.just(Dom0State(has_handler=True)),
    domains=st.lists(st.sampled_from([*HERE, domain(DomainId(77), state=DomainState.CRASHED)]), unique=True).map(tuple),
    frames=st.lists(FRAMES, max_size=3, unique_by=lambda frame: frame.frame).map(tuple),
    running=st.builds(Running, cpu=st.just(CpuId(2)), context=st.sampled_from(Context), domain=st.none() | NUMBERS),
    platform=st.builds(Platform, poisons=st.sampled_from([None, True, False])),
    earlier_boot=st.sampled_from([False, False, False, True]),
    open_cases=st.lists(
        st.builds(OpenCase, st.just(CaseId(1)), st.just(frozenset({PAGE})), st.just(frozenset()), st.booleans()),
        max_size=1,
    ).map(tuple),
)
EVERY_FINDING = st.sampled_from(FINDINGS)
RANK = {Certainty.PROVEN: 0, Certainty.UNLOCATED: 1, Certainty.UNCONFINED: 2}


@given(EVERY_FINDING, SITUATIONS)
def test_every_loser_has_or_maps_a_frame_that_was_hit_or_is_the_consumer_whose_context_is_lost(
    finding: Finding, situation: Situation
) -> None:
    impact = contain(finding, situation)
    hit = [facts for facts in situation.frames if (facts.frame, facts.pages) in impact.frames]
    reach = {facts.owner for facts in hit} | {mapping.domain for facts in hit for mapping in facts.mappings}
    for loser in impact.losers:
        if loser.party is Party.HYPERVISOR:
            own = any(facts.use is FrameUse.HYPERVISOR for facts in hit)
            assert own or impact.consumer.party is Party.HYPERVISOR
        else:
            assert loser.domain in reach or loser.domain == impact.consumer.domain
            known = situation.domain(loser.domain) if loser.domain is not None else None
            assert loser.domain == DOM0 or (known is not None and known.lives)
            assert (loser.party is Party.DOM0) == (loser.domain == DOM0)


@given(EVERY_FINDING, SITUATIONS)
def test_a_loser_is_told_only_the_numbers_that_its_own_mappings_give(finding: Finding, situation: Situation) -> None:
    for loser in contain(finding, situation).losers:
        own = {
            mapping.guest_frame + page
            for facts in situation.frames
            for mapping in facts.mappings
            for page in range(facts.pages)
            if mapping.domain == loser.domain and mapping.guest_frame is not None
        }
        assert set(loser.pages) <= own


@given(EVERY_FINDING, SITUATIONS)
def test_only_an_uncorrected_error_of_now_has_consumers_and_losers_and_a_fatal_one_is_unconfined(
    finding: Finding, situation: Situation
) -> None:
    impact = contain(finding, situation)
    assert impact.left_over is (situation.earlier_boot or finding.is_left_over)
    if impact.left_over or finding.severity in {Severity.NONE, Severity.CORRECTED}:
        assert (impact.consumer, impact.losers, impact.worst) == (NOBODY, (), Certainty.PROVEN)
    elif finding.severity is Severity.FATAL or situation.platform.poisons is False:
        assert impact.worst is Certainty.UNCONFINED
    elif finding.severity is not Severity.SRAR:
        assert impact.consumer == NOBODY
        assert impact.worst is not Certainty.UNCONFINED
    else:
        assert impact.certainty is not Certainty.UNLOCATED


@given(EVERY_FINDING, SITUATIONS, st.data())
def test_to_forget_whose_a_page_is_never_makes_an_impact_look_better(
    finding: Finding, situation: Situation, data: st.DataObject
) -> None:
    assume(situation.frames)
    forgotten = data.draw(st.integers(0, len(situation.frames) - 1))
    less = tuple(
        replace(facts, use=FrameUse.UNKNOWN, owner=None) if i == forgotten else facts
        for i, facts in enumerate(situation.frames)
    )
    before, after = contain(finding, situation), contain(finding, replace(situation, frames=less))
    assert RANK[after.certainty] >= RANK[before.certainty]
    unlisted = tuple(facts for i, facts in enumerate(situation.frames) if i != forgotten)
    after = contain(finding, replace(situation, frames=unlisted))
    assert RANK[after.certainty] >= RANK[before.certainty] or _is_elsewhere(situation, forgotten, before)


def _is_elsewhere(situation: Situation, which: int, impact: Impact) -> bool:
    """Another listed frame stands for the same pages, so nothing was forgotten but a contradiction."""
    gone = situation.frames[which]
    return any(
        facts.frame < gone.frame + gone.pages and gone.frame < facts.frame + facts.pages
        for i, facts in enumerate(situation.frames)
        if i != which
    )


@given(EVERY_FINDING, SITUATIONS)
def test_the_order_in_which_a_backend_lists_things_does_not_matter(finding: Finding, situation: Situation) -> None:
    turned = replace(
        situation,
        domains=situation.domains[::-1],
        frames=tuple(replace(facts, mappings=facts.mappings[::-1]) for facts in situation.frames[::-1]),
    )
    impact, again = contain(finding, situation), contain(finding, turned)
    assert replace(again, grounds=()) == replace(impact, grounds=())
    assert rules(again) == rules(impact)


@given(EVERY_FINDING, SITUATIONS)
def test_whatever_is_not_proven_says_what_speaks_for_it(finding: Finding, situation: Situation) -> None:
    impact = contain(finding, situation)
    assert all(ground.because for ground in impact.grounds)
    assert [ground.supports for ground in impact.grounds[:2]] == [True, True]
    if impact.certainty is Certainty.UNLOCATED:
        assert against(impact) or {"page-of-unknown-use", "no-memory-there"} & rules(impact)
