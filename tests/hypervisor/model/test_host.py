"""The model host as a whole: reports, orders, what runs when, operations, and that a run repeats bit for bit."""

from __future__ import annotations

import pytest

from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.clock import Clock
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.host import HostSettings, ModelHost
from ringfence.hypervisor.model.machine import Access, Settings
from ringfence.hypervisor.model.observer import Carried, Fact, MachineChecked, Touched
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.hypervisor.port import Ended, Hypervisor, Progress, Question, Telemetry, Token
from ringfence.record.binary.xen_mc_info import McInfo
from ringfence.record.evidence import Format, HypervisorReport, Origin, Record
from ringfence.world.domain import DomainKind, DomainState, McaHandler
from ringfence.world.frames import FrameUse, Mapping, MappingKind
from ringfence.world.identities import DOM0, DOMID_COW, CaseId, CpuId, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import Context, Situation
from ringfence.world.steps import (
    AskDom0,
    DegradeHost,
    DestroyDomain,
    DrainHost,
    ExchangeFrame,
    HealHost,
    IsolateFrame,
    MigrateDomain,
    NotifyDom0,
    NotifyGuest,
    OfflineCpu,
    OfflineFrame,
    OnlineFrame,
    Order,
    PauseDomain,
    RestartDomain,
    RestoreDomain,
    SaveDomain,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)
from ringfence.world.treatment import Answered, Dom0Changed, Dom0Says, DomainGone, Entry, StepEnded
from tests.hypervisor.model.staged import ScriptedSeat, Staged, guest, stage

PAGE = GuestFrame(5)


def frame_of(staged: Staged, domain: DomainId, page: GuestFrame = PAGE) -> Frame:
    return Frame(staged.host.address(domain, page) >> 12)


def pauses(record: Record, situation: Situation) -> tuple[Step, ...]:
    domain = situation.running.domain
    return (PauseDomain(domain),) if domain else ()


def test_it_is_a_hypervisor() -> None:
    host: Hypervisor = stage().host
    assert host.boot == 1


# --- reports ----------------------------------------------------------------------------------------------------------


def test_the_seat_sees_who_ran_whose_page_it_is_and_the_cpu_that_reported() -> None:
    staged = stage(answering=pauses)
    domain = guest(staged, vcpus=2)
    staged.host.consume(domain, PAGE)
    staged.host.advance(1)
    record, situation = staged.seat.records[-1], staged.seat.situations[-1]
    assert record.cpu == staged.host.cpu_of(domain)
    assert record.vendor == "Intel"
    assert record.registers.mcg_cap == staged.host.settings.machine.platform.mcg_cap
    assert (situation.running.domain, situation.running.vcpu) == (domain, 0)
    assert situation.running.context is Context.GUEST
    (facts,) = situation.frames
    assert (facts.frame, facts.owner, facts.use) == (frame_of(staged, domain), domain, FrameUse.DOMAIN)
    assert facts.guest_frame == PAGE


def test_dom0_fetches_the_bytes_that_the_seat_judged_with_what_became_of_the_page() -> None:
    def takes_out(record: Record, situation: Situation) -> tuple[Step, ...]:
        frames = tuple(facts.frame for facts in situation.frames)
        return tuple(step for frame in frames for step in (IsolateFrame(frame), OfflineFrame(frame)))

    staged = stage(answering=takes_out)
    domain = guest(staged)
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(1), addr=staged.host.address(domain, PAGE)))
    staged.host.advance(5)
    (fetched,) = staged.records()
    judged = staged.seat.records[0]
    assert fetched.registers == judged.registers
    assert (fetched.bank, fetched.cpu, fetched.vendor) == (judged.bank, judged.cpu, judged.vendor)
    assert fetched.hypervisor is not None
    assert fetched.hypervisor.machine_frame == frame_of(staged, domain)
    assert len(fetched.raw) == 768
    assert McInfo.unpack(fetched.raw).pack() == fetched.raw


def test_an_amd_memory_controllers_normalised_address_names_its_frame() -> None:
    staged = stage(platform="milan", answering=lambda record, situation: ())
    domain = guest(staged)
    staged.host.inject(faults.Uncorrectable(addr=staged.host.address(domain, PAGE)))
    staged.host.dma(domain, PAGE)
    staged.host.device_maps(domain, PAGE)
    staged.host.dma(domain, PAGE)
    staged.host.advance(5)
    (situation,) = staged.seat.situations
    assert [facts.frame for facts in situation.frames] == [frame_of(staged, domain)]
    (record,) = staged.seat.records
    assert record.registers.ipid
    assert record.registers.synd


def test_the_machine_check_goes_before_an_interrupt_of_its_cpu() -> None:
    staged = stage(platform="milan", answering=pauses)
    domain = guest(staged)
    staged.host.consume(domain, PAGE)
    staged.host.advance(5)
    assert staged.of(MachineChecked)
    assert not staged.host.halted
    assert {record.bank for record in staged.seat.records} >= {0}


def test_i2a_a_corrected_error_stops_nobody_and_is_counted_and_logged_without_a_handler() -> None:
    for handler in (True, False):
        staged = stage(
            answering=lambda record, situation: (NotifyDom0(urgent=False),) if situation.dom0.is_able else ()
        )
        staged.host.set_dom0_handler(handler)
        domain = guest(staged)
        before = staged.host.situation(None).domains
        staged.host.inject(
            faults.CacheCorrected(cpu=staged.host.cpu_of(domain), addr=staged.host.address(domain, PAGE))
        )
        staged.host.advance(5)
        assert staged.host.situation(None).domains == before
        assert len(staged.records()) == handler
        assert bool(staged.host.console()) is not handler
        assert staged.host.virqs == handler


# --- who runs (L1) ----------------------------------------------------------------------------------------------------


def test_l1_a_consumer_that_is_paused_in_the_handler_has_no_slice_after_it() -> None:
    staged = stage(answering=pauses)
    domain = guest(staged, vcpus=3)
    staged.host.advance(100)
    at = staged.host.now_ms()
    staged.host.consume(domain, PAGE)
    staged.host.advance(1_000)
    assert staged.host.ran(domain, at, at + 1_000) == ()
    assert len(staged.of(Touched)) == 1


def test_a_consumer_that_nobody_treats_reads_the_poison_again_until_the_machine_hangs() -> None:
    staged = stage(answering=lambda record, situation: ())
    domain = guest(staged)
    staged.host.consume(domain, PAGE)
    staged.host.advance(1_000)
    touched = staged.of(Touched)
    assert len(touched) > 1
    assert {each.access for each in touched} == {Access.MACHINE_CHECK}
    assert staged.host.halted


def test_a_guest_that_reaches_for_an_isolated_page_is_stopped_and_crashes() -> None:
    staged = stage()
    domain = guest(staged)
    assert staged.do(IsolateFrame(frame_of(staged, domain))).status is Status.DONE
    staged.host.read(domain, PAGE)
    staged.host.advance(100)
    assert [each.access for each in staged.of(Touched)] == [None]
    assert staged.domain(domain).state is DomainState.CRASHED


def test_a_page_that_was_exchanged_can_be_read_again() -> None:
    staged = stage()
    domain = guest(staged)
    old = frame_of(staged, domain)
    assert staged.done(ExchangeFrame(domain, old)).status is Status.DONE
    assert frame_of(staged, domain) != old
    staged.host.read(domain, PAGE)
    staged.host.advance(100)
    assert [each.access for each in staged.of(Touched)] == [Access.DONE]
    assert staged.do(OnlineFrame(old)).status is Status.DONE


def test_isolating_takes_every_mapping_that_can_be_taken_and_declares_the_rest() -> None:
    staged = stage()
    domain, other = guest(staged), guest(staged)
    staged.host.grant(domain, PAGE, other)
    staged.host.device_maps(domain, PAGE)
    frame = frame_of(staged, domain)
    assert {each.kind for each in ways(staged, frame)} == {
        MappingKind.CPU, MappingKind.GRANT, MappingKind.IOMMU,
    }  # fmt: skip
    assert staged.do(IsolateFrame(frame)).status is Status.DONE
    assert ways(staged, frame) == ()
    staged.host.dma(domain, PAGE)
    assert [(each.cpu, each.access) for each in staged.of(Touched)] == [(None, None)]
    staged.host.map_foreign(domain, GuestFrame(6), DOM0, removable=False)
    result = staged.do(IsolateFrame(frame_of(staged, domain, GuestFrame(6))))
    assert result.status is Status.FAILED
    assert len(result.declared) == 1


def ways(staged: Staged, frame: Frame) -> tuple[Mapping, ...]:
    return staged.host.situation(_naming(frame)).frames[0].mappings


def _naming(frame: Frame) -> Record:
    return Record(origin=Origin("test"), format=Format.TYPED, raw=b"", hypervisor=HypervisorReport(machine_frame=frame))


def test_facts_of_every_sort_of_frame() -> None:
    staged = stage()
    domain, other = guest(staged), guest(staged)
    host = staged.host
    gone = host.balloon_out(domain, GuestFrame(9))
    host.share((domain, GuestFrame(1)), (other, GuestFrame(1)))
    shared = Frame(host.address(domain, GuestFrame(1)) >> 12)
    wanted = {
        Frame(host.address(domain, PAGE) >> 12): (FrameUse.DOMAIN, domain, False),
        Frame(host.address(DOM0, GuestFrame(0)) >> 12): (FrameUse.DOMAIN, DOM0, False),
        Frame(host.hypervisor_address(reclaimable=False) >> 12): (FrameUse.HYPERVISOR, None, False),
        Frame(host.hypervisor_address(reclaimable=True) >> 12): (FrameUse.HYPERVISOR, None, True),
        gone: (FrameUse.BALLOONED, domain, False),
        shared: (FrameUse.DOMAIN, DOMID_COW, False),
        Frame(host.free_address() >> 12): (FrameUse.FREE, None, False),
        Frame(0xFE000): (FrameUse.NOT_MEMORY, None, False),
    }
    for frame, expected in wanted.items():
        (facts,) = host.situation(_naming(frame)).frames
        assert (facts.use, facts.owner, facts.reclaimable) == expected, frame
    assert [each.kind for each in host.situation(_naming(shared)).frames[0].mappings] == [MappingKind.SHARED] * 2


def test_a_superpage_that_cannot_be_split_is_lost_as_a_whole() -> None:
    staged = stage()
    domain = guest(staged, superpages=True, pages=1024)
    (facts,) = staged.host.situation(_naming(frame_of(staged, domain, GuestFrame(700)))).frames
    assert facts.pages == 512
    assert facts.frame % 512 == 0
    assert facts.guest_frame == 512
    assert staged.do(ExchangeFrame(domain, facts.frame)).status is Status.REFUSED


# --- the seat's orders ------------------------------------------------------------------------------------------------


def test_the_seat_hears_the_result_of_each_order_before_which_domain_ended_by_it() -> None:
    staged = stage(answering=lambda record, situation: (DestroyDomain(DomainId(1)),))
    domain = guest(staged)
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(1), addr=staged.host.address(domain, PAGE)))
    staged.host.advance(5)
    assert [type(each) for each in staged.seat.told_of[1:]] == [StepEnded, DomainGone]


def test_a_question_reaches_dom0_and_its_answer_the_seat_until_the_deadline() -> None:
    for wait, accepted in ((1_999, True), (2_000, False)):
        staged = stage(answering=lambda record, situation: (AskDom0(DomainId(1), situation.now_ms + 2_000),))
        domain = guest(staged)
        staged.host.inject(faults.CacheWriteback(cpu=CpuId(1), addr=staged.host.address(domain, PAGE)))
        staged.host.advance(5)
        (question,) = [each for each in staged.take() if isinstance(each, Question)]
        staged.host.advance(wait - 5 + question.deadline_ms - 2_000 - (staged.host.now_ms() - 5))
        assert staged.host.answer(question.case, DOM0, Dom0Says.NOTIFY).status is Status.REFUSED
        assert staged.host.answer(question.case, domain, Dom0Says.OPERATED).status is Status.REFUSED
        answered = staged.host.answer(question.case, domain, Dom0Says.NOTIFY)
        assert answered.status is (Status.DONE if accepted else Status.REFUSED)
        assert [each for each in staged.seat.told_of if isinstance(each, Answered)] == (
            [Answered(question.case, domain, Dom0Says.NOTIFY)] if accepted else []
        )
        assert staged.host.answer(question.case, domain, Dom0Says.NOTIFY).status is Status.REFUSED


def test_a_question_about_a_domain_that_is_gone_is_withdrawn() -> None:
    staged = stage(answering=lambda record, situation: (AskDom0(DomainId(1), situation.now_ms + 2_000),))
    domain = guest(staged)
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(1), addr=staged.host.address(domain, PAGE)))
    staged.host.advance(5)
    staged.host.crash(domain)
    assert not [each for each in staged.take() if isinstance(each, Question)]


def test_entries_arrive_as_progress_in_their_order() -> None:
    staged = stage()
    entries = [
        Entry(CaseId(1), 5, None, "reported", "noting", "I.2a", "because", ended=number == 9) for number in range(10)
    ]
    staged.seat.on_told = lambda what, situation: tuple(entries)
    staged.host.hurt_dom0()
    assert [each.entry for each in staged.take() if isinstance(each, Progress)] == entries


def test_b3_dom0_is_hurt_by_the_loss_of_its_page_until_it_has_let_go_of_it() -> None:
    def heals(record: Record, situation: Situation) -> tuple[Step, ...]:
        return (HealHost(tuple(facts.frame for facts in situation.frames), None, dom0=True),)

    staged = stage(answering=heals)
    page = staged.host.dom0_page(expendable=True)
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(1), addr=staged.host.address(DOM0, page)))
    staged.host.advance(5)
    assert staged.seat.situations[0].dom0.hurt
    assert [each.result.status for each in staged.of(Carried)] == [Status.DONE]
    assert staged.host.situation(None).dom0.hurt
    staged.host.advance(2_000)
    assert not staged.host.situation(None).dom0.hurt
    assert Dom0Changed() in staged.seat.told_of


@pytest.mark.parametrize(("expendable", "status"), [(True, Status.DONE), (False, Status.FAILED)])
def test_i2b_whether_the_host_heals_is_the_worlds_to_say(expendable: bool, status: Status) -> None:
    staged = stage()
    frames = (
        Frame(staged.host.hypervisor_address(reclaimable=expendable) >> 12),
        frame_of(staged, DOM0, staged.host.dom0_page(expendable=expendable)),
    )
    for frame in frames:
        assert staged.do(HealHost((frame,), None, dom0=False)).status is status
        (facts,) = staged.host.situation(_naming(frame)).frames
        assert (facts.use is FrameUse.OFFLINE) is expendable
    assert staged.do(HealHost((), CpuId(3), dom0=False)).status is Status.DONE
    assert staged.do(HealHost((), CpuId(0), dom0=False)).status is Status.FAILED
    assert staged.do(HealHost((), None, dom0=False)).status is Status.FAILED


def test_a_seat_that_goes_in_circles_ends_in_a_halt_and_not_in_a_hang() -> None:
    staged = stage(answering=lambda record, situation: (PauseDomain(DomainId(1)),))
    staged.seat.on_told = lambda what, situation: (staged.seat.order(PauseDomain(DomainId(1))),)
    domain = guest(staged)
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(1), addr=staged.host.address(domain, PAGE)))
    staged.host.advance(5)
    assert staged.host.halted


# --- operations (II.2, II.3) ------------------------------------------------------------------------------------------


def test_ii2_save_and_restore_take_the_time_of_their_pages() -> None:
    staged = stage()
    domain = guest(staged, pages=125_000)
    order = Order(StepId(1), SaveDomain(domain))
    assert staged.host.carry_out(order).status is Status.RUNNING
    staged.host.advance(999)
    assert staged.host.probe(order).status is Status.RUNNING
    staged.host.advance(2)
    assert staged.host.probe(order).status is Status.DONE
    assert [each.ended.order for each in staged.host.arrivals() if isinstance(each, Ended)] == [1]
    assert staged.domain(domain).state is DomainState.SAVED
    assert staged.done(RestoreDomain(domain)).status is Status.DONE
    assert staged.domain(domain).state is DomainState.RUNNING


def test_a_restore_over_disks_that_went_on_is_refused() -> None:
    staged = stage()
    domain = guest(staged)
    staged.host.checkpoint(domain, disks_of_same_moment=False)
    assert staged.do(RestoreDomain(domain)).status is Status.REFUSED
    staged.host.checkpoint(domain, disks_of_same_moment=True)
    assert staged.done(RestoreDomain(domain)).status is Status.DONE


@pytest.mark.parametrize("step", [RestartDomain(DomainId(1)), RestoreDomain(DomainId(1)), DestroyDomain(DomainId(1))])
def test_what_gives_a_domain_new_memory_puts_its_broken_page_out_of_use(step: Step) -> None:
    staged = stage()
    domain = guest(staged)
    staged.host.checkpoint(domain, disks_of_same_moment=True)
    frame = frame_of(staged, domain)
    staged.do(IsolateFrame(frame))
    assert staged.do(OfflineFrame(frame)).status is Status.PENDING
    assert staged.done(step).status is Status.DONE
    (facts,) = staged.host.situation(_naming(frame)).frames
    assert facts.use is FrameUse.OFFLINE


def test_a_latent_error_is_consumed_by_dom0_in_the_middle_of_a_save_which_fails() -> None:
    staged = stage(answering=lambda record, situation: ())
    domain = guest(staged)
    staged.host.inject(faults.Uncorrectable(addr=staged.host.address(domain, PAGE)))
    assert staged.done(SaveDomain(domain)).status is Status.FAILED
    consumed = [each for each in staged.seat.situations if each.running.domain == DOM0]
    assert consumed
    assert staged.domain(domain).state is DomainState.RUNNING


def test_a_page_that_is_known_to_be_broken_travels_as_no_data() -> None:
    staged = stage()
    domain = guest(staged)
    staged.host.inject(faults.Uncorrectable(addr=staged.host.address(domain, PAGE)))
    staged.do(IsolateFrame(frame_of(staged, domain)))
    assert staged.done(SaveDomain(domain)).status is Status.DONE
    assert staged.seat.records == []


def two_hosts() -> tuple[ModelHost, ModelHost]:
    clock = Clock()
    hosts = [
        ModelHost(
            HostSettings(name=name, machine=Settings(platform=PLATFORMS["cascade-lake"]), dom0_pages=1 << 12),
            seed=1, seat=ScriptedSeat(), clock=clock,
        )
        for name in ("here", "there")
    ]  # fmt: skip
    hosts[0].connect(hosts[1])
    return hosts[0], hosts[1]


def test_ii2_a_guest_migrates_to_the_other_host_and_lives_there() -> None:
    here, there = two_hosts()
    domain = here.create(DomainSpec(name="moving", kind=DomainKind.PV, memory_pages=4096))
    assert here.situation(None).destination is not None
    assert here.carry_out(Order(StepId(1), MigrateDomain(domain, "elsewhere"))).status is Status.REFUSED
    assert here.carry_out(Order(StepId(2), MigrateDomain(domain, "there"))).status is Status.RUNNING
    assert here.situation(None).operations_running == 1
    here.advance(5_000)
    moved = here.situation(None).domain(domain)
    assert moved is not None
    assert moved.state is DomainState.MIGRATED
    assert [each.name for each in there.situation(None).domains] == ["Domain-0", "moving"]


def test_ii3_draining_moves_who_can_move_and_names_who_cannot() -> None:
    here, there = two_hosts()
    here.create(DomainSpec(name="moving", kind=DomainKind.HVM, memory_pages=4096))
    here.create(DomainSpec(name="tied", kind=DomainKind.HVM, memory_pages=4096, may_migrate=False))
    order = Order(StepId(1), DrainHost())
    assert here.carry_out(order).status is Status.RUNNING
    here.advance(5_000)
    result = here.probe(order)
    assert result.status is Status.FAILED
    assert "domain 2" in result.because
    assert "moving" in [each.name for each in there.situation(None).domains]


def test_hosts_that_are_linked_share_a_clock() -> None:
    with pytest.raises(ValueError, match="clock"):
        stage().host.connect(stage().host)


def test_a_degraded_host_takes_no_new_guest() -> None:
    staged = stage()
    assert staged.do(DegradeHost()).status is Status.DONE
    with pytest.raises(ValueError, match="no new guests"):
        guest(staged)


@pytest.mark.parametrize(
    "step",
    [
        SaveDomain(DOM0), RestartDomain(DOM0), ShutDownDomain(DOM0), UnpauseDomain(DomainId(99)), OfflineCpu(CpuId(0)),
        OfflineCpu(CpuId(99)), OfflineFrame(Frame(1), 0), IsolateFrame(Frame(0xFE000)), OnlineFrame(Frame(0xFE000)),
        AskDom0(DomainId(1), 5), NotifyDom0(urgent=True), ExchangeFrame(DomainId(1), Frame(1)),
    ],
    ids=repr,
)  # fmt: skip
def test_l8_a_refused_step_changes_nothing(step: Step) -> None:
    staged = stage()
    guest(staged)
    before = staged.host.situation(None)
    assert staged.do(step).status is Status.REFUSED
    assert staged.host.situation(None) == before


def test_a_second_operation_on_a_domain_is_refused_while_one_runs() -> None:
    staged = stage()
    domain = guest(staged, pages=100_000)
    assert staged.do(SaveDomain(domain)).status is Status.RUNNING
    for step in (SaveDomain(domain), ShutDownDomain(domain), RestartDomain(domain), UnpauseDomain(domain)):
        assert staged.do(step).status is Status.REFUSED


def test_a_domain_that_ends_in_the_middle_of_an_operation_fails_it() -> None:
    staged = stage()
    domain = guest(staged, pages=100_000)
    order = Order(StepId(1), SaveDomain(domain))
    staged.host.carry_out(order)
    staged.host.destroy(domain)
    staged.host.advance(5_000)
    assert staged.host.probe(order).status is Status.FAILED


def test_steps_can_be_made_to_fail() -> None:
    staged = stage()
    domain = guest(staged)
    staged.host.fail_next(PauseDomain, "the toolstack hangs")
    assert staged.do(PauseDomain(domain)).status is Status.FAILED
    assert staged.domain(domain).state is DomainState.RUNNING
    assert staged.do(PauseDomain(domain)).status is Status.DONE


# --- a run repeats ----------------------------------------------------------------------------------------------------


def run(seed: int) -> list[Fact]:
    staged = stage(seed=seed, answering=pauses)
    domains = [
        guest(staged, DomainKind.PV, handler=McaHandler.TRAP, behaviour=behaviour)
        for behaviour in ("heals", "ignores", "slow", "lies")
    ]
    for number, domain in enumerate(domains):
        staged.host.advance(37)
        staged.host.consume(domain, GuestFrame(number))
        staged.host.advance(1)
        staged.do(NotifyGuest(domain, (GuestFrame(number),)))
        staged.do(UnpauseDomain(domain))
    staged.host.advance(60_000)
    return staged.facts


def test_the_same_seed_and_the_same_calls_give_the_same_run() -> None:
    assert run(3) == run(3)
    assert run(3) != run(4)


def test_a_quiet_day_costs_nothing_and_every_slice_of_it_is_known() -> None:
    staged = stage()
    domain = guest(staged, vcpus=2)
    before = len(staged.facts)
    staged.host.advance(24 * 3_600_000)
    assert len(staged.facts) == before
    ran = staged.host.ran(domain, 12 * 3_600_000, 12 * 3_600_000 + 40)
    assert {each.vcpu for each in ran} == {0, 1}


def test_an_unknown_token_is_ignored_and_telemetry_waits_for_its_own() -> None:
    staged = stage(answering=lambda record, situation: ())
    domain = guest(staged)
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(1), addr=staged.host.address(domain, PAGE)))
    staged.host.advance(5)
    first = staged.host.arrivals()
    staged.host.acknowledge(Token(12345))
    assert staged.host.arrivals() == first
    assert [each for each in first if isinstance(each, Telemetry)]


def test_what_is_remembered_of_faults_is_bounded_and_their_numbers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringfence.hypervisor.model.stage.LINES_KEPT", 8)
    monkeypatch.setattr("ringfence.hypervisor.model.stage.TRUTHS_KEPT", 8)
    host = stage().host
    broken = host.address(DOM0, GuestFrame(1))
    host.inject(faults.Uncorrectable(addr=broken, permanent=True))
    last = 0
    for page in range(2, 40):
        addr = host.address(DOM0, GuestFrame(page))
        last = host.inject(faults.Correctable(addr=addr)).id
        host.machine.load(CpuId(0), addr)  # what ECC corrects is well again
    assert last == 39
    assert [each.id for each in host.truth] == list(range(32, 40))
    assert broken in host._lines and len(host._lines) <= 9
