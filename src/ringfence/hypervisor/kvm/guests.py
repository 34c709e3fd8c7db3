"""The guests of this host as libvirt and QEMU show them now: looked at in a thread of its own, read by anybody.

``Guests.sight`` is the newest look, a value; nobody who reads it waits for libvirtd or for a QEMU. A look is taken when
something has happened (libvirt's lifecycle events, the end of an operation), and every ``LOOK_S`` in any case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm.domain_xml import NOTHING_SAID, Details, details
from ringfence.hypervisor.kvm.libvirt import Connection, LibvirtDomain, LibvirtError, Shutoff, State
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess, processes
from ringfence.world.domain import DomainState

LOOK_S: Final = 2.0
"""QEMU without libvirt comes and goes without a word, and a lost event is made good by the next look."""
RECONNECT_S: Final = 1.0
LONGEST_RECONNECT_S: Final = 30.0
"""Between two tries to reach libvirtd, doubled each time: it is restarted by updates, within seconds."""
MOST_GUESTS: Final = 4096
_KIB_PER_PAGE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A virtual machine. ``key`` names it for good: its UUID, or its monitor's path if it has none.

    ``process`` is the QEMU that runs it, None if none does or it is not found. ``persistent``: its definition stays
    when it ends.
    """

    key: str
    name: str
    uuid: str = ""
    state: DomainState = DomainState.RUNNING
    vcpus: int = 1
    memory_pages: int = 0
    process: QemuProcess | None = None
    by_libvirt: bool = True
    persistent: bool = True
    details: Details = NOTHING_SAID


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look. ``problem`` says why libvirt's part is old or not there; ``versions`` are QEMU's and libvirt's."""

    guests: tuple[Guest, ...] = ()
    problem: str = ""
    versions: tuple[str, str] = ("", "")
    at_s: float = 0.0

    def guest(self, key: str) -> Guest | None:
        """The guest of a key."""
        return next((each for each in self.guests if each.key == key), None)


@dataclass(slots=True)
class Guests:
    """The looking. ``uri`` is libvirt's, empty without it. ``changed`` is called after a look that found a change."""

    uri: str
    changed: Callable[[], None] = lambda: None
    sight: Sight = field(default_factory=Sight)
    _wanted: threading.Event = field(default_factory=threading.Event)
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _connection: Connection | None = None
    _versions: tuple[str, str] = ("", "")
    _again_s: float = 0.0
    _pause_s: float = RECONNECT_S
    _described: dict[tuple[str, int], Details] = field(default_factory=dict)

    def start(self) -> None:
        """Take the first look now, and the next ones in a thread."""
        self.look()
        threading.Thread(target=self._go_on, name="guests", daemon=True).start()

    def want(self) -> None:
        """Something has happened: look soon."""
        self._wanted.set()

    def look(self) -> Sight:
        """Look now; may block for as long as libvirtd does."""
        with self._looking:
            before = self.sight
            self.sight = found = self._look()
        if (found.guests, found.problem) != (before.guests, before.problem):
            self.changed()
        return found

    def _go_on(self) -> None:
        while True:
            self._wanted.wait(LOOK_S)
            self._wanted.clear()
            self.look()

    def _look(self) -> Sight:
        running = processes()
        by_uuid = {each.uuid: each for each in running if each.uuid}
        before = self.sight
        if not self.uri:
            return Sight(at_s=time.monotonic())
        try:
            connection = self._connected()
            if connection is None:
                return _aged(before, by_uuid)
            with connection.domains() as domains:
                guests = tuple(self._guest(each, by_uuid) for each in domains[:MOST_GUESTS])
        except (HypervisorError, LibvirtError) as error:
            self._let_go()
            return _aged(before, by_uuid, f"libvirt cannot be asked: {error}")
        known = {(each.key, each.process.pid) for each in guests if each.process is not None}
        self._described = {key: said for key, said in self._described.items() if key in known}
        return Sight(guests=guests, versions=self._versions, at_s=time.monotonic())

    def _connected(self) -> Connection | None:
        """The connection; None while it is too early to try again."""
        if self._connection is not None:
            if self._connection.is_alive:
                return self._connection
            self._let_go()
        if time.monotonic() < self._again_s:
            return None
        self._connection = connection = Connection(self.uri)
        self._pause_s = RECONNECT_S
        self._versions = connection.versions
        connection.on_lifecycle(self.want)
        connection.on_close(self.want)
        return connection

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._again_s = time.monotonic() + self._pause_s
        self._pause_s = min(LONGEST_RECONNECT_S, self._pause_s * 2)

    def _guest(self, domain: LibvirtDomain, running: dict[str, QemuProcess]) -> Guest:
        uuid, (state, reason) = domain.uuid, domain.state
        maximum_kib, vcpus = domain.size
        process = running.get(uuid)
        found = _state(state, reason)
        if found in _ENDED and domain.is_saved:
            found = DomainState.SAVED
        return Guest(
            key=uuid,
            name=domain.name,
            uuid=uuid,
            state=found,
            vcpus=vcpus,
            memory_pages=maximum_kib // _KIB_PER_PAGE,
            process=process,
            persistent=domain.is_persistent,
            details=self._details(domain, uuid, process),
        )

    def _details(self, domain: LibvirtDomain, uuid: str, process: QemuProcess | None) -> Details:
        """Its description is read once for each process: what matters here does not change while it runs."""
        if process is None:
            return NOTHING_SAID
        key = uuid, process.pid
        if key not in self._described:
            self._described[key] = details(domain.xml)
        return self._described[key]


_ENDED: Final = frozenset({DomainState.SHUT_DOWN, DomainState.CRASHED, DomainState.DESTROYED, DomainState.SAVED})

_STATES: Final[dict[int, DomainState]] = {
    State.NOSTATE: DomainState.RUNNING,
    State.RUNNING: DomainState.RUNNING,
    State.BLOCKED: DomainState.RUNNING,
    State.SHUTDOWN: DomainState.RUNNING,
    State.PAUSED: DomainState.PAUSED,
    State.PMSUSPENDED: DomainState.PAUSED,
    State.CRASHED: DomainState.CRASHED,
}
_SHUT_OFF: Final[dict[int, DomainState]] = {
    Shutoff.CRASHED: DomainState.CRASHED,
    Shutoff.DESTROYED: DomainState.DESTROYED,
    Shutoff.MIGRATED: DomainState.MIGRATED,
}


def _state(state: int, reason: int) -> DomainState:
    if state == State.SHUTOFF:
        return _SHUT_OFF.get(reason, DomainState.SHUT_DOWN)
    return _STATES.get(state, DomainState.RUNNING)


def _aged(before: Sight, running: dict[str, QemuProcess], problem: str = "") -> Sight:
    """What was seen before, where libvirt does not answer: a guest whose QEMU has ended is down all the same."""
    guests = tuple(
        each
        if each.process is None or running.get(each.uuid) == each.process
        else _down(each)
        for each in before.guests
    )  # fmt: skip
    return Sight(guests=guests, problem=problem or before.problem, versions=before.versions, at_s=before.at_s)


def _down(guest: Guest) -> Guest:
    return Guest(
        key=guest.key, name=guest.name, uuid=guest.uuid, state=DomainState.SHUT_DOWN, vcpus=guest.vcpus,
        memory_pages=guest.memory_pages, by_libvirt=guest.by_libvirt, persistent=guest.persistent,
    )  # fmt: skip
