"""The agent as a process, with a host at the other end: it registers, is told, heals and answers, by either way."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ringfence.guest.agent import ANSWERS_KEPT, MOST_WAITING, Agent
from ringfence.guest.healing import Healed
from ringfence.guest.mailbox import GUEST_NODE, HOST_NODE, Mailbox
from ringfence.guest.protocol import (
    Alive,
    Answer,
    Deed,
    Hello,
    Outcome,
    Range,
    Told,
    Unwelcome,
    Welcome,
    What,
    Who,
    encoded,
)
from ringfence.guest.transports import Xenstore
from ringfence.guest.xenstore import Store
from ringfence.hypervisor.guest_link import GuestLinks, Thrown
from ringfence.hypervisor.guest_stream import GuestStream
from ringfence.hypervisor.xen.guest_store import GuestStore
from ringfence.world.domain import Domain, DomainKind, McaHandler
from ringfence.world.identities import CaseId, DomainId, GuestFrame, StepId
from ringfence.world.steps import NotifyGuest, Order, Result, Status
from tests.guest.kernel import Kernel
from tests.guest.machine import agent, until, wire
from tests.guest.stored import stored

GUEST = DomainId(5)


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def order(number: int, page: int, *, endangered: bool = False) -> Order:
    return Order(StepId(number), NotifyGuest(GUEST, (GuestFrame(page),), not endangered, endangered), CaseId(3))


class Host:
    """A host's end of a socket."""

    def __init__(self, path: Path) -> None:
        self.links = GuestLinks()
        self.stream = GuestStream(self.links.of(GUEST), path)

    def ended(self) -> tuple[tuple[StepId, Result], ...]:
        self.stream.turn(now_ms())
        return self.links.ended(now_ms())

    def registered(self) -> bool:
        self.ended()
        return self.links.handler(GUEST, now_ms()) is McaHandler.AGENT

    def tell(self, what: Order) -> Result:
        assert self.links.tell(what, now_ms()).status is Status.RUNNING
        return wait_for_end(self.ended, what)


def seen_of(host: GuestStore) -> tuple[tuple[StepId, Result], ...]:
    return host.ended(now_ms())


def wait_for_end(ended: Callable[[], tuple[tuple[StepId, Result], ...]], what: Order) -> Result:
    found: list[tuple[StepId, Result]] = []

    def has_ended() -> bool:
        found.extend(ended())
        return bool(found)

    until(has_ended, "no answer")
    assert [number for number, _ in found] == [what.id]
    return found[0][1]


def test_a_guest_is_told_over_a_socket_heals_and_says_what_it_did(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "root")
    with wire(tmp_path) as between, agent(kernel.root, f"unix:{between.guest}") as process:
        host = Host(between.host)
        until(host.registered, "not registered")
        link = host.links.of(GUEST)
        assert link.agent is not None
        assert link.agent.name.startswith("ringfence ")
        lost = host.tell(order(1, 5))
        assert lost == Result(Status.DONE, "its agent says: healed; hard-offlined")
        endangered = host.tell(order(2, 6, endangered=True))
        assert endangered == Result(Status.DONE, "its agent says: healed; soft-offlined")
        assert kernel.taken(kernel.hard_offline) == [5]
        assert kernel.taken(kernel.soft_offline) == [6]
        assert not link.thrown
        assert process.stop() == 0
        until(lambda: not host.registered(), "still registered")
        host.stream.close()
    events = [(each["event"], each.get("outcome")) for each in process.said]
    assert [each for each in events if each[0] in {"told", "answered", "ended"}] == [
        ("told", None), ("answered", "healed"), ("told", None), ("answered", "healed"), ("ended", None),
    ]  # fmt: skip


def test_a_host_that_comes_back_finds_the_agent_and_an_answer_that_it_had_missed(tmp_path: Path) -> None:
    """The service was killed between the order and the answer: it tells again, and nothing is done twice."""
    kernel = Kernel(tmp_path / "root")
    with wire(tmp_path) as between, agent(kernel.root, f"unix:{between.guest}") as process:
        first = Host(between.host)
        until(first.registered, "not registered")
        assert first.links.tell(order(1, 5), now_ms()).status is Status.RUNNING
        first.stream.turn(now_ms())
        until(lambda: process.events("answered"), "not healed")
        first.stream.close()
        second = Host(between.host)
        until(second.registered, "not registered again")
        assert second.links.probe(StepId(1)).status is Status.UNKNOWN
        assert second.tell(order(1, 5)).status is Status.DONE
        second.stream.close()
        assert kernel.taken(kernel.hard_offline) == [5]
        assert len(process.events("answered")) == 1


def test_an_agent_that_comes_late_is_told_what_is_still_open(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "root")
    with wire(tmp_path) as between:
        host = Host(between.host)
        with agent(kernel.root, f"unix:{between.guest}", "dry") as process:
            until(host.registered, "not registered")
            process.process.kill()
            process.process.wait()
            assert host.links.tell(order(1, 5), now_ms()).status is Status.RUNNING
        with agent(kernel.root, f"unix:{between.guest}"):
            assert wait_for_end(host.ended, order(1, 5)).status is Status.DONE
        host.stream.close()


def test_a_dry_run_refuses_and_says_what_it_would_have_done(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "root")
    with wire(tmp_path) as between, agent(kernel.root, f"unix:{between.guest}", "dry"):
        host = Host(between.host)
        until(host.registered, "not registered")
        result = host.tell(order(1, 5))
        host.stream.close()
    assert result.status is Status.REFUSED
    assert result.because.endswith("dry-run; dry run: 1 page(s) would have been hard-offlined")


def test_a_guest_is_told_by_the_xenstore_and_the_host_may_begin_anew(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "root")
    guest = Domain(id=GUEST, name="g", kind=DomainKind.PV, uuid="u")
    with stored(tmp_path) as server, agent(kernel.root, f"xenstore:{server.guest_socket(GUEST)}"):
        until(lambda: server.nodes, "no agent")
        for number, page in ((1, 5), (2, 6)):
            host = GuestStore(lambda: Store(server.path))
            host.keep([guest])

            def registered(host: GuestStore = host) -> bool:
                assert host.ended(now_ms()) == ()
                return host.seen((guest,), now_ms())[0].handler is McaHandler.AGENT

            until(registered, "not registered")
            assert host.tell(order(number, page), now_ms()).status is Status.RUNNING
            result = wait_for_end(functools.partial(seen_of, host), order(number, page))
            assert result == Result(Status.DONE, "its agent says: healed; hard-offlined")
            host.close()
    assert kernel.taken(kernel.hard_offline) == [5, 6]


def test_a_domain_that_was_restored_writes_its_empty_node_anew_and_reads_what_no_watch_told(tmp_path: Path) -> None:
    with stored(tmp_path) as server:
        transport = Xenstore(server.guest_socket(GUEST))
        transport.send(encoded(Alive()))
        transport.receive()
        before = dict(server.nodes)
        server.nodes.clear()  # the domain has another number, and another home
        host = Mailbox(9)
        host.look(next(iter(before.values())))
        host.put(b"for you")
        server.nodes[f"/local/domain/{GUEST}/{HOST_NODE}"] = host.node
        assert transport.receive() == []
        transport.beat()
        assert server.nodes[f"/local/domain/{GUEST}/{GUEST_NODE}"] == before[f"/local/domain/{GUEST}/{GUEST_NODE}"]
        assert transport.receive() == [b"for you"]
        transport.close()


def test_bytes_without_end_are_left_in_the_socket_and_the_host_goes_on(tmp_path: Path) -> None:
    with wire(tmp_path) as between:
        host, sent = Host(between.host), 0
        guest = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        guest.connect(str(between.guest))
        guest.setblocking(False)
        for _ in range(200):
            host.ended()
            try:
                sent += guest.send(b"x" * 10_000 + b"\n")
            except BlockingIOError:
                break
            time.sleep(0.001)
        else:
            pytest.fail("all was taken")
        link = host.links.of(GUEST)
        assert link.thrown[Thrown.TOO_LONG] >= 1
        assert not host.stream.may_read(now_ms()) or link.room(now_ms()) < 1_000
        host.stream.close()
        guest.close()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--transport", "pigeon"], 2, "pigeon: no such transport; one of auto, virtio-serial, xenstore, vsock"),
        (["--config", "/nonexistent"], 2, "/nonexistent: No such file or directory"),
        (["--transport", "unix:/nonexistent", "--check"], 1, "way to the host   unix:/nonexistent: it is not here"),
    ],
)
def test_what_cannot_be_used_is_said_with_a_code(words: list[str], code: int, says: str) -> None:
    by_itself, of_the_house = ["-m", "ringfence.guest"], ["-c", "from ringfence.cli.main import main; main()", "guest"]
    for command in (by_itself, of_the_house):
        done = subprocess.run([sys.executable, *command, *words], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert says in done.stdout + done.stderr


def test_the_packed_agent_runs_by_itself_and_is_the_same_each_time(tmp_path: Path) -> None:
    pack = [sys.executable, "-m", "ringfence.guest", "--pack"]
    for name in ("one", "two"):
        subprocess.run([*pack, str(tmp_path / name)], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    # -I: nothing of this environment can be imported.
    alone = [sys.executable, "-I", "-S", str(tmp_path / "one")]
    done = subprocess.run([*alone, "--check", "--transport", "unix:/"], capture_output=True, text=True, check=False)
    assert "way to the host   unix:/\n" in done.stdout
    assert done.stderr == ""


# --- what it makes of each message ----------------------------------------------------------------------------------


class Rig:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.agent = Agent(Hello(1, 1, "test"), self._log)

    def _log(self, event: str, text: str, /, **facts: object) -> None:
        self.log.append(event)


def told(number: int = 1, page: int = 5) -> Told:
    return Told(id=number, case=2, what=What.LOST, must_act=True, ranges=(Range(page * 4096),), deadline_ms=1000)


def healed(what: Told) -> Healed:
    return Healed(Answer(id=what.id, case=what.case, outcome=Outcome.HEALED, did=(Deed.HARD_OFFLINED,)))


def test_it_says_hello_until_it_is_welcome_and_then_that_it_is_alive() -> None:
    rig = Rig()
    assert rig.agent.connected() == rig.agent.hello
    assert rig.agent.beat() == rig.agent.hello
    assert rig.agent.heard(encoded(Who())) == (rig.agent.hello, None)
    assert rig.agent.heard(encoded(Welcome(1, 7))) == (None, None)
    assert (rig.agent.beat(), rig.agent.beat_s) == (Alive(), 7)
    assert rig.agent.heard(encoded(Unwelcome("too old"))) == (None, None)
    assert rig.log == ["registered", "not-registered"]
    rig.agent.connected()
    assert rig.agent.beat() == rig.agent.hello


def test_what_is_told_twice_is_done_once_and_answered_twice() -> None:
    rig = Rig()
    line = encoded(told())
    assert rig.agent.heard(line) == (None, told())
    assert rig.agent.heard(line) == (None, None)
    answer = rig.agent.healed(told(), healed(told()))
    assert rig.agent.heard(line) == (answer, None)
    other = told(page=6)
    assert rig.agent.heard(encoded(other)) == (None, other)


def test_more_than_it_can_keep_waiting_is_refused_and_more_than_it_can_remember_is_forgotten() -> None:
    rig = Rig()
    for number in range(MOST_WAITING):
        assert rig.agent.heard(encoded(told(number)))[1] is not None
    reply, order = rig.agent.heard(encoded(told(99)))
    assert isinstance(reply, Answer)
    assert (reply.outcome, order) == (Outcome.REFUSED, None)
    for number in range(ANSWERS_KEPT + 1):
        rig.agent.healed(told(number), healed(told(number)))
    assert rig.agent.heard(encoded(told(0)))[1] is not None
    assert rig.agent.heard(encoded(told(1)))[1] is None


def test_what_is_not_understood_is_logged_and_nothing_else() -> None:
    rig = Rig()
    assert rig.agent.heard(b"\x00") == (None, None)
    assert rig.agent.heard(b'{"say":"told"}') == (None, None)
    assert rig.log == ["not-understood", "not-understood"]
