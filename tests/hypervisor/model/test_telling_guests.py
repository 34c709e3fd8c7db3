"""What guests are told, byte for byte (L7, B.5), and what they make of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.arch import mcg, mci_misc
from ringfence.arch.mci_status import ADDRV, AR, MISCV, MSCOD, PCC, UC, VAL, S
from ringfence.hypervisor.model.guests import BEHAVIOURS
from ringfence.hypervisor.model.observer import Channel, GuestTold
from ringfence.hypervisor.model.vmce import notice_content
from ringfence.record.binary.xen_mc_info import McInfo, McInfoBank, McInfoGlobal
from ringfence.world.domain import DomainKind, DomainState, McaHandler
from ringfence.world.identities import DomainId, Frame, GuestFrame
from ringfence.world.steps import (
    InjectVmce,
    IsolateFrame,
    NotifyGuest,
    OfflineFrame,
    PauseDomain,
    Status,
    Step,
    UnpauseDomain,
)
from tests.hypervisor.model.staged import Staged, guest, stage

PAGE, OTHER = GuestFrame(5), GuestFrame(6)


def registers(told: GuestTold) -> tuple[int, int, int, int]:
    words = [int.from_bytes(told.content[at : at + 8], "little") for at in range(0, 32, 8)]
    return words[0], words[1], words[2], words[3]


def lose(staged: Staged, domain: DomainId, page: GuestFrame) -> None:
    frame = Frame(staged.host.address(domain, page) >> 12)
    assert staged.do(IsolateFrame(frame)).succeeded
    assert staged.do(OfflineFrame(frame)).status is Status.PENDING


def test_b5_a_vmce_carries_one_guest_physical_page_and_no_host_fact() -> None:
    staged = stage()
    domain = guest(staged)
    lose(staged, domain, PAGE)
    assert staged.do(InjectVmce(domain, PAGE)).status is Status.DONE
    (told,) = staged.of(GuestTold)
    mcg_status, status, addr, misc = registers(told)
    assert told.channel is Channel.VMCE
    assert len(told.content) == 32
    assert mcg.MCIP.of(mcg_status)
    assert mcg.RIPV.of(mcg_status)
    assert all(field.of(status) for field in (VAL, UC, ADDRV, MISCV, S))
    assert not any(field.of(status) for field in (PCC, AR, MSCOD))
    assert addr == PAGE << 12
    assert mci_misc.ADDRESS_LSB.of(misc) == 12
    assert mci_misc.ADDRESS_MODE.of(misc) == mci_misc.AddressMode.PHYSICAL


def test_the_vcpu_that_consumed_the_error_gets_srar_and_the_others_an_empty_bank() -> None:
    staged = stage(answering=lambda record, situation: (PauseDomain(DomainId(1)),))
    domain = guest(staged, vcpus=3)
    assert staged.host.consume(domain, PAGE) is not None
    staged.host.advance(1)
    lose(staged, domain, PAGE)
    assert staged.do(InjectVmce(domain, PAGE)).status is Status.DONE
    told = staged.of(GuestTold)
    assert [bool(AR.of(registers(each)[1])) for each in told] == [True, False, False]
    assert [registers(each)[1:] for each in told[1:]] == [(0, 0, 0)] * 2
    assert all(mcg.MCIP.of(registers(each)[0]) for each in told)


def test_while_mcip_is_set_a_further_vmce_is_refused_and_overwrites_nothing() -> None:
    staged = stage()
    domain = guest(staged)
    for page in (PAGE, OTHER):
        lose(staged, domain, page)
    assert staged.do(InjectVmce(domain, PAGE)).status is Status.DONE
    assert staged.domain(domain).in_machine_check
    assert staged.do(InjectVmce(domain, OTHER)).status is Status.REFUSED
    assert len(staged.of(GuestTold)) == 1
    staged.host.advance(100)
    assert not staged.domain(domain).in_machine_check
    assert staged.do(InjectVmce(domain, OTHER)).status is Status.DONE


def test_a_guest_that_is_paused_does_not_leave_its_machine_check_before_it_runs() -> None:
    staged = stage()
    domain = guest(staged)
    lose(staged, domain, PAGE)
    staged.do(PauseDomain(domain))
    assert staged.do(InjectVmce(domain, PAGE)).status is Status.DONE
    staged.host.advance(10_000)
    assert staged.domain(domain).in_machine_check
    staged.do(UnpauseDomain(domain))
    staged.host.advance(10)
    assert not staged.domain(domain).in_machine_check


@pytest.mark.parametrize(
    ("kind", "mca", "handler", "step"),
    [
        (DomainKind.HVM, False, McaHandler.NONE, InjectVmce(DomainId(1), PAGE)),
        (DomainKind.PV, True, McaHandler.TRAP, InjectVmce(DomainId(1), PAGE)),
        (DomainKind.HVM, True, McaHandler.NONE, InjectVmce(DomainId(1), GuestFrame(1 << 30))),
        (DomainKind.PV, False, McaHandler.NONE, NotifyGuest(DomainId(1), (PAGE,))),
        (DomainKind.PV, False, McaHandler.TRAP, NotifyGuest(DomainId(1), (PAGE, GuestFrame(1 << 30)))),
        (DomainKind.PV, False, McaHandler.TRAP, NotifyGuest(DomainId(1), ())),
        (DomainKind.PV, False, McaHandler.TRAP, NotifyGuest(DomainId(0), (PAGE,))),
    ],
    ids=["mca-off", "pv-vmce", "not-its-page", "no-handler", "one-not-its-page", "no-page", "dom0"],
)
def test_ii_4_what_cannot_or_must_not_be_told_is_refused_and_tells_nothing(
    kind: DomainKind, mca: bool, handler: McaHandler, step: Step
) -> None:
    staged = stage()
    assert guest(staged, kind, mca=mca, handler=handler) == 1
    assert staged.do(step).status is Status.REFUSED
    assert staged.of(GuestTold) == []


@given(
    st.lists(st.integers(0, 1 << 40), min_size=1, max_size=40, unique=True), st.booleans(), st.booleans(), st.booleans()
)
@settings(deadline=None)
def test_l7_a_notice_names_every_page_that_it_is_given_and_nothing_of_the_host(
    pages: list[int], consumed: bool, must_act: bool, endangered: bool
) -> None:
    numbers = tuple(GuestFrame(page) for page in pages)
    content = notice_content(numbers, consumed=consumed, must_act=must_act, endangered=endangered)
    assert len(content) % 768 == 0
    named = []
    for at in range(0, len(content), 768):
        info = McInfo.unpack(content[at : at + 768])
        common, *banks = info.entries
        assert not info.missing
        assert isinstance(common, McInfoGlobal)
        assert (common.domid, common.vcpuid) == (0x7FF4, 0xFFFF)
        assert (common.socketid, common.coreid, common.core_threadid, common.apicid, common.gstatus) == (0,) * 5
        for bank in banks:
            assert isinstance(bank, McInfoBank)
            assert (bank.domid, bank.tsc, bank.ctrl2, MSCOD.of(bank.status)) == (0x7FF4, 0, 0, 0)
            assert bool(UC.of(bank.status)) is not endangered, "what is endangered is not told to be lost"
            named.append(bank.addr >> 12)
    assert named == pages


@pytest.mark.parametrize(
    ("behaviour", "status", "state"),
    [
        ("heals", Status.DONE, DomainState.RUNNING),
        ("kills-process", Status.DONE, DomainState.RUNNING),
        ("floods", Status.DONE, DomainState.RUNNING),
        ("refuses", Status.FAILED, DomainState.RUNNING),
        ("crashes", Status.RUNNING, DomainState.CRASHED),
        ("ignores", Status.RUNNING, DomainState.CRASHED),
        ("lies", Status.DONE, DomainState.CRASHED),
    ],
)
def test_every_behaviour_of_a_guest_shows_in_what_becomes_of_it(
    behaviour: str, status: Status, state: DomainState
) -> None:
    staged = stage()
    domain = guest(staged, DomainKind.PV, handler=McaHandler.TRAP, behaviour=behaviour)
    lose(staged, domain, PAGE)
    result = staged.done(NotifyGuest(domain, (PAGE,)))
    assert (result.status, staged.domain(domain).state) == (status, state)


def test_a_slow_guest_answers_after_any_deadline() -> None:
    staged = stage()
    domain = guest(staged, DomainKind.PV, handler=McaHandler.AGENT, behaviour="slow")
    lose(staged, domain, PAGE)
    assert staged.done(NotifyGuest(domain, (PAGE,)), ms=4_000).status is Status.RUNNING
    assert staged.done(NotifyGuest(domain, (PAGE,)), ms=40_000).status is Status.DONE


def test_a_guest_that_heals_gives_the_page_back_and_it_is_offline() -> None:
    staged = stage()
    domain = guest(staged, DomainKind.PV, handler=McaHandler.TRAP)
    frame = Frame(staged.host.address(domain, PAGE) >> 12)
    free = staged.host.situation(None).free_pages
    lose(staged, domain, PAGE)
    assert staged.done(NotifyGuest(domain, (PAGE,))).status is Status.DONE
    with pytest.raises(KeyError):
        staged.host.address(domain, PAGE)
    assert staged.host.situation(None).free_pages == free
    assert staged.do(OfflineFrame(frame)).status is Status.DONE


def test_a_guest_that_need_not_act_is_informed_and_that_is_all() -> None:
    staged = stage()
    domain = guest(staged, DomainKind.PV, handler=McaHandler.AGENT, behaviour="crashes")
    assert staged.do(NotifyGuest(domain, (PAGE,), must_act=False)).status is Status.DONE
    staged.host.advance(60_000)
    assert staged.domain(domain).state is DomainState.RUNNING


def test_behaviours_are_a_closed_set() -> None:
    assert set(BEHAVIOURS) == {
        "heals", "kills-process", "refuses", "ignores", "slow", "crashes", "lies", "floods",
    }  # fmt: skip


def test_a_guest_can_be_told_of_a_shared_page_after_it_was_taken_from_it() -> None:
    staged = stage()
    one, two = guest(staged), guest(staged)
    staged.host.share((one, PAGE), (two, OTHER))
    lose(staged, one, PAGE)
    assert staged.do(InjectVmce(one, PAGE)).status is Status.DONE
    assert staged.do(InjectVmce(two, OTHER)).status is Status.DONE
    assert {registers(each)[2] for each in staged.of(GuestTold) if each.domain == two} == {OTHER << 12}
