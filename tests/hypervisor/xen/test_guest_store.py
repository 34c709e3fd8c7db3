"""Guests' agents by the xenstore: registered, told, answered; a guest can harm its own node and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.guest.mailbox import GUEST_NODE, HOST_NODE, Mailbox
from ringfence.guest.protocol import Alive, Answer, Hello, Outcome, Told, Who, encoded, from_host
from ringfence.guest.xenstore import Kind, Store
from ringfence.hypervisor.guest_link import COMING_MS, Thrown
from ringfence.hypervisor.xen.guest_store import ABSENT_MS, PRESENT_MS, GuestStore
from ringfence.world.domain import Domain, DomainKind, DomainState, McaHandler
from ringfence.world.identities import DOM0, CaseId, DomainId, GuestFrame, StepId
from ringfence.world.steps import NotifyGuest, Order, Result, Status
from tests.guest.stored import Stored, stored

GUEST, OTHER = DomainId(5), DomainId(6)
DOMAINS = tuple(Domain(id=each, name=f"d{each}", kind=DomainKind.PV, uuid=f"u{each}") for each in (DOM0, GUEST, OTHER))


class Rig:
    """A host's store, and a guest that writes what it likes."""

    def __init__(self, server: Stored) -> None:
        self.server, self.now_ms = server, 0
        self.opened: list[Store] = []
        self.host = self.new_host()
        self.guest = self.open(server.guest_socket(GUEST))
        self.box = Mailbox(77)

    def open(self, path: Path) -> Store:
        self.opened.append(Store(path))
        return self.opened[-1]

    def new_host(self) -> GuestStore:
        made = GuestStore(lambda: self.open(self.server.path))
        made.keep(DOMAINS)
        return made

    def says(self, line: bytes) -> None:
        self.box.put(line)
        self.guest.write(GUEST_NODE, self.box.node)

    def hears(self) -> bytes | None:
        node = self.guest.read(HOST_NODE)
        found = None if node is None else self.box.look(node)
        self.guest.write(GUEST_NODE, self.box.node)
        return found

    def turn(self, ms: int = PRESENT_MS) -> list[tuple[StepId, Status]]:
        """Time passes, and the xenstore has answered all that it was asked."""
        self.now_ms += ms
        found, end_s = list(self.host.ended(self.now_ms)), time.monotonic() + 10
        for _ in range(2):  # what was read is then answered
            while self.host._asked and time.monotonic() < end_s:
                time.sleep(0.001)
                found += self.host.ended(self.now_ms)
            found += self.host.ended(self.now_ms)
        return [(number, result.status) for number, result in found]

    def tell(self, what: Order) -> Result:
        result = self.host.tell(what, self.now_ms)
        assert self.turn(0) == []
        return result

    def registered(self) -> Rig:
        self.says(encoded(Hello(1, 1, "test")))
        self.turn()
        self.hears()
        return self

    def handlers(self) -> list[McaHandler]:
        return [each.handler for each in self.host.seen(DOMAINS, self.now_ms)]

    @property
    def thrown(self) -> dict[Thrown, int]:
        link = self.host._links.known(GUEST)
        return {} if link is None else dict(link.thrown)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with stored(tmp_path) as server:
        made = Rig(server)
        yield made
        made.host.close()
        for each in made.opened:
            each.close()


def order(number: int = 9, domain: DomainId = GUEST) -> Order:
    return Order(StepId(number), NotifyGuest(domain, (GuestFrame(3),), must_act=False, endangered=True), CaseId(2))


def test_an_agent_registers_is_told_and_answers(rig: Rig) -> None:
    assert rig.handlers() == [McaHandler.NONE] * 3
    rig.registered()
    assert rig.handlers() == [McaHandler.NONE, McaHandler.AGENT, McaHandler.NONE]
    assert rig.tell(order()).status is Status.RUNNING
    told = from_host(rig.hears() or b"")
    assert isinstance(told, Told)
    rig.says(encoded(Answer(id=told.id, case=told.case, outcome=Outcome.HEALED)))
    assert rig.turn(1) == [(9, Status.DONE)]
    assert not rig.host.is_busy
    assert rig.host.probe(StepId(9)).status is Status.DONE


def test_a_host_that_starts_anew_asks_who_is_there_and_an_agent_that_is_gone_is_none(rig: Rig) -> None:
    rig.registered()
    rig.host = rig.new_host()
    rig.turn(0)
    assert rig.handlers()[1] is McaHandler.NONE
    assert from_host(rig.hears() or b"") == Who()
    assert rig.box.begins_anew()
    rig.registered()
    assert rig.handlers()[1] is McaHandler.AGENT
    rig.guest.remove(GUEST_NODE)
    rig.turn()
    assert rig.handlers()[1] is McaHandler.NONE


def test_nothing_is_written_for_a_guest_without_an_agent_and_it_is_seldom_looked_at(rig: Rig) -> None:
    rig.handlers()
    for _ in range(20):
        rig.turn(ABSENT_MS // 10)
    reads = [path for domain, kind, path in rig.server.requests if not domain and kind == Kind.READ]
    assert len(reads) <= 2 * 3
    assert not rig.server.nodes
    rig.turn(COMING_MS)
    assert rig.tell(order()).status is Status.REFUSED


def test_what_another_guest_says_is_not_this_ones_word(rig: Rig) -> None:
    rig.registered()
    rig.tell(order())
    other, box = rig.open(rig.server.guest_socket(OTHER)), Mailbox(5)
    box.put(encoded(Hello(1, 1, "other")))
    other.write(GUEST_NODE, box.node)
    rig.turn(ABSENT_MS)
    box.look(other.read(HOST_NODE) or b"")
    box.put(encoded(Answer(id=9, case=2, outcome=Outcome.HEALED)))
    other.write(GUEST_NODE, box.node)
    assert rig.turn() == []
    assert rig.host.probe(StepId(9)).status is Status.RUNNING


@pytest.mark.parametrize("node", [b"", b"\xff" * 2000, b"zzzzzzzz 1 00000000 0\n{}", b"00000001 1 00000000 0\n[[["])
def test_a_node_of_nonsense_is_counted_and_seen_once(rig: Rig, node: bytes) -> None:
    rig.guest.write(GUEST_NODE, node)
    for _ in range(5):
        rig.turn(ABSENT_MS)
    assert rig.thrown == {Thrown.NOT_JSON: 1}
    assert (rig.guest.read(HOST_NODE) is None) == (not node.endswith(b"[[["))
    assert rig.host.seen(DOMAINS, rig.now_ms)[1].thrown == (("no message at all", 1),)
    assert rig.handlers()[1] is McaHandler.NONE


def test_one_domains_node_is_never_taken_for_anothers_though_linux_has_one_buffer_for_questions(rig: Rig) -> None:
    rig.server.pause_s = 0.01
    more = [Domain(id=DomainId(7 + each), name="x", kind=DomainKind.PV, uuid=f"x{each}") for each in range(8)]
    rig.says(encoded(Hello(1, 1, "test")))
    for _ in range(3):
        rig.host.keep([*more, *DOMAINS])
        for _ in range(30):
            rig.turn(PRESENT_MS // 30)
    seen = rig.host.seen((*more, *DOMAINS), rig.now_ms)
    assert [each.id for each in seen if each.handler is McaHandler.AGENT] == [GUEST]
    assert not any(each.thrown for each in seen)


def test_an_agent_that_ends_with_its_domain_ends_its_orders_and_leaves_nothing(rig: Rig) -> None:
    rig.registered()
    rig.tell(order())
    rig.host.keep([*DOMAINS[:1], *(each for each in DOMAINS[2:])])
    assert rig.turn(0) == [(9, Status.FAILED)]
    assert not rig.host.is_busy
    dead = Domain(id=OTHER, name="x", kind=DomainKind.PV, state=DomainState.CRASHED, uuid="u6")
    rig.host.keep([dead])
    assert not rig.host._boxes


def test_a_xenstore_that_is_gone_stops_nobody_and_is_tried_again_later(rig: Rig) -> None:
    rig.registered()
    rig.tell(order())
    rig.server.close()
    assert rig.turn() == []
    assert rig.turn(40_000) == [(9, Status.FAILED)]


@pytest.mark.parametrize("node", [GUEST_NODE, HOST_NODE])
def test_a_guest_whose_node_cannot_be_had_takes_the_others_from_nobody(rig: Rig, node: str) -> None:
    """A domain may use up its quota, or give its node's right away: the refusal is about that domain alone."""
    rig.server.refuses[f"/local/domain/{OTHER}/{node}"] = b"ENOSPC"
    rig.server.nodes[f"/local/domain/{OTHER}/{GUEST_NODE}"] = Mailbox(5).node
    rig.registered()
    assert rig.handlers() == [McaHandler.NONE, McaHandler.AGENT, McaHandler.NONE]
    opened = len(rig.opened)
    for _ in range(5):
        rig.turn()
    assert len(rig.opened) == opened  # the connection is kept


def test_heartbeats_keep_an_agent_and_silence_loses_it(rig: Rig) -> None:
    rig.registered()
    for _ in range(4):
        rig.says(encoded(Alive()))
        rig.turn(20_000)
        rig.hears()
    assert rig.handlers()[1] is McaHandler.AGENT
    rig.turn(40_000)
    assert rig.handlers()[1] is McaHandler.NONE
