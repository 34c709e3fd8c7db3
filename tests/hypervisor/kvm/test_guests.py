"""The guests where libvirt does not answer: they are shown as they were, as far as their QEMUs show."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm import guests as module
from ringfence.hypervisor.kvm.guests import Guest, Guests, Sight
from ringfence.hypervisor.kvm.libvirt import Code, LibvirtError, State
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess
from ringfence.world.domain import DomainState
from tests.hypervisor.kvm.qemu import Qemu

UUID = "11111111-2222-3333-4444-555555555555"


def _qemu(proc: Path, pid: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "stat").write_text(f"{pid} (qemu) S " + " ".join(str(at) for at in range(4, 30)))
    (proc / str(pid) / "cmdline").write_bytes(
        f"qemu-system-x86_64\0-name\0guest=web\0-uuid\0{UUID}\0-chardev\0socket,id=charmonitor,fd=3\0".encode()
    )


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guests:
    def refuses(_uri: str) -> object:
        raise HypervisorError("no libvirt", advice="")

    monkeypatch.setattr(module, "Connection", refuses)
    return Guests("qemu:///system", proc=tmp_path)


def test_a_guest_that_was_never_seen_is_known_by_its_qemu(guests: Guests, tmp_path: Path) -> None:
    _qemu(tmp_path, 20)
    (guest,) = guests.look().guests
    assert (guest.key, guest.name, guest.state, guest.by_libvirt) == (UUID, "web", DomainState.RUNNING, True)
    assert "no libvirt" in guests.sight.problem


def test_one_that_was_seen_is_as_it_was_until_its_qemu_ends(guests: Guests, tmp_path: Path) -> None:
    _qemu(tmp_path, 20)
    process = QemuProcess(pid=20, began=22, uuid=UUID, name="web", by_libvirt=True)
    known = Guest(key=UUID, name="web", uuid=UUID, vcpus=4, memory_pages=512, state=DomainState.PAUSED, process=process)
    guests.sight = Sight(guests=(known,))
    assert guests.look().guests == (known,)
    (tmp_path / "20/cmdline").unlink()
    (gone,) = guests.look().guests
    assert (gone.state, gone.process, gone.memory_pages) == (DomainState.SHUT_DOWN, None, 512)
    assert guests.ended == {20: UUID}


def test_what_changes_is_told_once(guests: Guests, tmp_path: Path) -> None:
    told: list[int] = []
    guests.changed = lambda: told.append(1)
    _qemu(tmp_path, 20)
    for _ in range(3):
        guests.look()
    assert told == [1]


class _Libvirt:
    """A libvirt with one domain, as far as a look asks it."""

    is_alive, versions = True, ("10.0.8", "11.3.0")
    name, uuid, state, size, is_persistent = "web", UUID, (int(State.RUNNING), 1), (1 << 20, 2), True
    is_saved, xml = False, "<domain/>"

    def __init__(self, _uri: str = "") -> None:
        self.domains_: tuple[object, ...] = (self,)

    @contextmanager
    def domains(self) -> Iterator[tuple[object, ...]]:
        yield self.domains_

    def on_lifecycle(self, *_: object) -> None:
        """Nothing happens."""

    on_memory_failure = on_close = on_lifecycle

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def with_libvirt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guests:
    (tmp_path / "run/libvirt/qemu").mkdir(parents=True)
    monkeypatch.setattr(module, "Connection", _Libvirt)
    return Guests("qemu:///system", proc=tmp_path / "proc")


def test_which_process_runs_a_guest_is_libvirt_s_word_and_not_a_command_line_s(
    with_libvirt: Guests, tmp_path: Path
) -> None:
    _qemu(tmp_path / "proc", 20)
    _qemu(tmp_path / "proc", 30)  # anybody's process that says the same
    (guest,) = with_libvirt.look().guests
    assert guest.process is None  # rather nobody's than the wrong one's
    (tmp_path / "run/libvirt/qemu/web.pid").write_text("20\n")
    (guest,) = with_libvirt.look().guests
    assert guest.process is not None and guest.process.pid == 20
    (tmp_path / "proc/20/cmdline").write_bytes(b"something else\0")  # a QEMU that was taken over
    (guest,) = with_libvirt.look().guests
    assert guest.process is not None and guest.process.pid == 20


def test_libvirt_is_asked_when_something_has_happened_and_not_whenever_it_is_looked(
    with_libvirt: Guests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _qemu(tmp_path / "proc", 20)
    (tmp_path / "run/libvirt/qemu/web.pid").write_text("20\n")
    before = with_libvirt.look()
    monkeypatch.setattr(with_libvirt._connection, "state", (int(State.PAUSED), 1))
    with_libvirt._asks = False
    assert with_libvirt.look() == before
    monkeypatch.setattr(module, "ASK_S", 0.0)  # a lost event
    assert [each.state for each in with_libvirt.look().guests] == [DomainState.PAUSED]
    monkeypatch.undo()
    with_libvirt._asks = False
    monkeypatch.setattr(with_libvirt._connection, "state", (int(State.SHUTOFF), 1))
    (tmp_path / "proc/20/cmdline").write_bytes(b"")  # its QEMU has gone
    assert [each.state for each in with_libvirt.look().guests] == [DomainState.SHUT_DOWN]


def test_a_qemu_that_says_another_guest_s_uuid_is_not_that_guest(with_libvirt: Guests, tmp_path: Path) -> None:
    failures: list[str] = []
    with_libvirt.failed = lambda key, *_: failures.append(key)
    with_libvirt.look()
    false = Qemu(tmp_path / "ringfence-q", name="web", uuid=UUID)
    with_libvirt.monitors = (tmp_path / "ringfence-q",)
    try:
        (guest,) = with_libvirt.look().guests
        assert guest.by_libvirt
        assert ["not believed" in each for each in with_libvirt.refusals.values()] == [True]
        assert failures == []
    finally:
        false.close()


def test_what_a_qemu_calls_itself_can_be_shown_and_written_down(guests: Guests, tmp_path: Path) -> None:
    bad = Qemu(tmp_path / "q", name="a\x1b[2J\n" + "x" * 10_000, uuid="../../etc")
    guests.monitors = (tmp_path / "q",)
    try:
        (guest,) = guests.look().guests
        assert guest.name.startswith("a?[2J?xxx") and len(guest.name) == 128
        assert (guest.uuid, guest.key) == ("", f"qmp:{tmp_path / 'q'}")
    finally:
        bad.close()


def test_a_domain_that_ends_while_it_is_looked_at_is_left_out_and_the_connection_kept(
    with_libvirt: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_libvirt.look()

    class Gone(_Libvirt):
        @property
        def is_saved(self) -> bool:  # type: ignore[override]  # a plain value above
            raise LibvirtError("Domain not found", Code.NO_DOMAIN)

        state = (int(State.SHUTOFF), 1)

    closed: list[int] = []
    connection = with_libvirt._connection
    assert isinstance(connection, _Libvirt)
    monkeypatch.setattr(connection, "close", lambda: closed.append(1))
    monkeypatch.setattr(connection, "domains_", (Gone(), connection))
    assert [each.name for each in with_libvirt.look().guests] == ["web"]
    assert not with_libvirt.sight.problem and not closed


def test_a_libvirtd_that_hangs_keeps_nobody_from_seeing_what_else_there_is(
    with_libvirt: Guests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, monitor = threading.Event(), Qemu(tmp_path / "q", name="plain")
    with_libvirt.look()
    connection = with_libvirt._connection
    monkeypatch.setattr(connection, "domains", hangs.wait)
    monkeypatch.setattr(module, "LIBVIRT_S", 0.05)
    with_libvirt.monitors = (tmp_path / "q",)
    try:
        for _ in range(3):
            assert {each.name for each in with_libvirt.look().guests} == {"web", "plain"}
        assert "has not answered" in with_libvirt.sight.problem
    finally:
        hangs.set()
        monitor.close()


def test_a_look_that_goes_wrong_is_said_and_the_next_one_is_taken(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [True]

    def fails(_: object) -> tuple[QemuProcess, ...]:
        if wrong.pop() if wrong else False:
            raise RuntimeError("a fault")
        return ()

    monkeypatch.setattr(module, "processes", fails)
    guests.start()
    guests.look_soon(30)
    guests.close()
    assert guests.sight.at_s >= 0 and not wrong and "no libvirt" in guests.sight.problem


def test_what_an_order_has_made_of_a_guest_is_seen_though_no_look_is_taken(guests: Guests) -> None:
    guests.sight = Sight(guests=(Guest(key=UUID, name="web"),))
    guests.learned(UUID, DomainState.PAUSED)
    assert [each.state for each in guests.sight.guests] == [DomainState.PAUSED]
