"""A PV guest with an agent, through all of Ringfence: the error, its number, the xenstore, the agent, the journal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ringfence.decision.policy import DEFAULT, DomainRule, Policy
from ringfence.guest.xenstore import Store
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.faults import CacheCorrected
from ringfence.hypervisor.port import Capability, Ended
from ringfence.hypervisor.xen.guest_store import GuestStore
from ringfence.hypervisor.xen.numbers import Numbers
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.service.wiring import model_host
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import Frame, GuestFrame, StepId
from ringfence.world.steps import ExchangeFrame, NotifyGuest, OfflineFrame, Order, Status
from tests.guest.kernel import Kernel
from tests.guest.machine import agent, until
from tests.guest.stored import stored
from tests.hypervisor.xen.device import ModelXen, xen_host

PAGE = GuestFrame(7)
INFORMED = Policy(otherwise=DomainRule(inform_of_ce=True))


class Known(Numbers):
    """One frame's number."""

    def __init__(self, frame: Frame, gate: ModelXen) -> None:
        super().__init__(gate, table=None)  # type: ignore[arg-type] # no table is asked
        self._frame = frame

    def of(self, frame: Frame) -> GuestFrame | None:
        return PAGE if frame == self._frame else None


def test_a_guest_hears_of_a_corrected_error_in_its_own_number_heals_and_the_journal_has_its_word(
    tmp_path: Path,
) -> None:
    """I.3a-inform: everything but Xen and the guest's kernel is real."""
    machine = model_host(DEFAULT, seed=7, personality="xen-4.20")
    pv = machine.create(DomainSpec(name="pv", kind=DomainKind.PV, memory_pages=4096))
    machine.set_dom0_handler(True)
    machine.advance(100)
    address = machine.address(pv, PAGE)
    kernel, xen = Kernel(tmp_path / "root"), ModelXen(machine)
    with stored(tmp_path) as server, agent(kernel.root, f"xenstore:{server.guest_socket(pv)}"):
        until(lambda: server.nodes, "no agent")
        guests = GuestStore(lambda: Store(server.path))
        host, *_ = xen_host(machine, tmp_path, xen, guests=(guests, Known(Frame(address >> 12), xen)))
        assert Capability.NOTIFY_GUEST in host.capabilities
        with Journal(tmp_path / "j.sqlite", fsync=False) as journal:
            loop = Loop(host, journal, INFORMED)

            def stored_events() -> list[object]:
                machine.advance(100)
                loop.turn()
                return [event for _, event in journal.events()]

            def handler() -> McaHandler:
                stored_events()
                domain = host.situation(None).domain(pv)
                return McaHandler.NONE if domain is None else domain.handler

            until(lambda: handler() is McaHandler.AGENT, "not registered")
            machine.inject(CacheCorrected(cpu=machine.cpu_of(pv), addr=address))

            def ends() -> list[ev.Carried]:
                carried = [each for each in stored_events() if isinstance(each, ev.Carried)]
                return [each for each in carried if each.status is not Status.RUNNING]

            until(ends, "no end")
            (end,) = ends()
            assert (end.status, end.because) == (Status.DONE, "its agent says: healed; soft-offlined")
            (told,) = [each for each in stored_events() if isinstance(each, ev.Intended)]
            assert told.step.step == NotifyGuest(pv, (PAGE,), must_act=False, endangered=True)
            assert not loop.state.orders
        guests.close()
    assert kernel.taken(kernel.soft_offline) == [PAGE]


def test_a_guest_hears_of_a_page_that_cannot_be_exchanged_before_it_is_to_leave_use(tmp_path: Path) -> None:
    """II.2: the default policy wants pages exchanged, and Xen does not; the guest can let go of it by itself."""
    machine = model_host(DEFAULT, seed=7, personality="xen-4.20")
    pv = machine.create(DomainSpec(name="pv", kind=DomainKind.PV, memory_pages=4096))
    machine.set_dom0_handler(True)
    machine.advance(100)
    address = machine.address(pv, PAGE)
    kernel, xen = Kernel(tmp_path / "root"), ModelXen(machine)
    with stored(tmp_path) as server, agent(kernel.root, f"xenstore:{server.guest_socket(pv)}"):
        guests = GuestStore(lambda: Store(server.path))
        host, *_ = xen_host(machine, tmp_path, xen, guests=(guests, Known(Frame(address >> 12), xen)))
        with Journal(tmp_path / "j.sqlite", fsync=False) as journal:
            loop = Loop(host, journal, replace(DEFAULT, trends=replace(DEFAULT.trends, page_count=3)))

            def turned() -> list[object]:
                machine.advance(100)
                loop.turn()
                return [event for _, event in journal.events()]

            def is_heard() -> bool:
                turned()
                return any(each.handler is McaHandler.AGENT for each in host.situation(None).domains)

            until(is_heard, "not registered")
            for _ in range(3):
                machine.inject(CacheCorrected(cpu=machine.cpu_of(pv), addr=address))
                turned()
            until(lambda: any("its agent says: healed" in str(each) for each in turned()), "no answer")
            steps = [type(each.step.step) for each in turned() if isinstance(each, ev.Intended)]
            assert steps == [ExchangeFrame, NotifyGuest, OfflineFrame]
        guests.close()
    assert kernel.taken(kernel.soft_offline) == [PAGE]


def test_an_agent_is_registered_though_nobody_asks_for_the_situation(tmp_path: Path) -> None:
    """On a host on which nothing happens: its domain came after the service, and without a word."""
    machine = model_host(DEFAULT, seed=7, personality="xen-4.20")
    with stored(tmp_path) as server:
        guests = GuestStore(lambda: Store(server.path))
        host, *_ = xen_host(machine, tmp_path, guests=(guests, Known(Frame(0), ModelXen(machine))))
        host.arrivals()
        pv = machine.create(DomainSpec(name="pv", kind=DomainKind.PV, memory_pages=4096))
        machine.advance(60_000)
        with agent(Kernel(tmp_path / "root").root, f"xenstore:{server.guest_socket(pv)}"):

            def is_welcome() -> bool:
                machine.advance(100)
                host.arrivals()
                return any(b"welcome" in value for path, value in list(server.nodes.items()) if path.endswith("host"))

            until(is_welcome, "not registered")
        assert not host.problems
        server.close()
        machine.advance(100_000)
        host.arrivals()
        host.arrivals()
        (said,) = host.problems
        assert said.startswith("the xenstore cannot be talked to, so guests' agents are not heard: ")
        guests.close()


def test_a_guest_without_an_agent_is_told_nothing_and_an_order_that_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    machine = model_host(DEFAULT, seed=7, personality="xen-4.20")
    pv = machine.create(DomainSpec(name="pv", kind=DomainKind.PV, memory_pages=4096))
    machine.advance(100)
    order = Order(StepId(1), NotifyGuest(pv, (PAGE,)))
    with stored(tmp_path) as server:
        guests = GuestStore(lambda: Store(server.path))
        host, *_ = xen_host(machine, tmp_path, guests=(guests, Known(Frame(0), ModelXen(machine))))
        host.situation(None)
        machine.advance(60_000)
        assert host.carry_out(order).status is Status.REFUSED
        assert host.probe(order).status is Status.UNKNOWN
        assert not [each for each in host.arrivals() if isinstance(each, Ended)]
        assert not host.is_busy
        assert not server.nodes
        guests.close()
    without, *_ = xen_host(machine, tmp_path)
    assert Capability.NOTIFY_GUEST not in without.capabilities
    assert without.carry_out(order).status is Status.REFUSED
