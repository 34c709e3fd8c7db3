"""The guests of this host as libvirt and QEMU show them now: looked at in a thread of its own, read by anybody.

``Guests.sight`` is the newest look, a value; nobody who reads it waits for libvirtd or for a QEMU. A look is taken when
something has happened (libvirt's lifecycle events, the end of an operation), and every ``LOOK_S`` in any case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm.domain_xml import NOTHING_SAID, Details, details
from ringfence.hypervisor.kvm.libvirt import (
    Action,
    Code,
    Connection,
    FailureFlag,
    LibvirtDomain,
    LibvirtError,
    Recipient,
    Shutoff,
    State,
)
from ringfence.hypervisor.kvm.patience import Patience
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess, plain, processes, start_of, uuid_of
from ringfence.hypervisor.kvm.qmp import Qmp, QmpError, memory_failure
from ringfence.world.domain import DomainState
from ringfence.world.identities import PAGE_SHIFT

LOOK_S: Final = 10.0
"""QEMU without libvirt comes without a word: the command line of every process is read."""
ASK_S: Final = 60.0
"""libvirt tells what happens to its guests, and is asked about them then, or when a QEMU has come or gone; and so often
in any case, so that a lost event is made good."""
CLOSE_S: Final = 2.0
"""At the end of the service a look gets so long to end."""
FIRST_S: Final = 10.0
"""A libvirtd that hangs does not keep the service from starting."""
LIBVIRT_S: Final = 5.0
"""A look at libvirt's guests takes some milliseconds each; what is not seen by then is shown as it was."""
RECONNECT_S: Final = 1.0
LONGEST_RECONNECT_S: Final = 30.0
"""Between two tries to reach libvirtd, doubled each time: it is restarted by updates, within seconds."""
RETRY_S: Final = 15.0
"""A QMP socket that could not be had is tried again after this: each try may take some seconds."""
OWN_SOCKET: Final = "ringfence"
"""In the file name of a QMP socket that QEMU's command line offers to Ringfence: of others it keeps away, for a socket
serves one client, and that is their owner's."""
MOST_GUESTS: Final = 4096
MOST_MEMORY_BYTES: Final = 1 << 52
"""Of a guest, whatever its QEMU says: physical addresses of x86 end there."""
REFUSAL_CHARACTERS: Final = 400
MOST_REFUSALS: Final = 16
"""Sockets that could not be had and are told of."""
MOST_TRIES: Final = 4
"""New sockets that are tried in one look: each may take some seconds, and anybody may offer one."""
PID_FILES: Final = Path("run/libvirt/qemu")
"""Where libvirt writes down which process runs which of its machines (src/qemu/qemu_process.c, priv->pidfile)."""
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


@dataclass(frozen=True, slots=True)
class _Link:
    qmp: Qmp
    guest: Guest


_RUN_STATES: Final[dict[str, DomainState]] = {
    "running": DomainState.RUNNING,
    **dict.fromkeys(
        ("paused", "prelaunch", "suspended", "debug", "inmigrate", "postmigrate", "save-vm", "restore-vm", "io-error",
         "watchdog", "finish-migrate", "colo"),
        DomainState.PAUSED,
    ),
    "shutdown": DomainState.SHUT_DOWN,
    "guest-panicked": DomainState.CRASHED,
    "internal-error": DomainState.CRASHED,
}  # fmt: skip
"""QEMU's RunState (qapi/run-state.json)."""


@dataclass(slots=True)
class Guests:
    """The looking. ``uri`` is libvirt's, empty without it; ``monitors`` are QMP sockets of QEMUs without libvirt.

    ``changed`` is called after a look that found a change; ``failed`` in some thread for what QEMU says of a memory
    failure: the guest's key, who told it, whether it is the guest's memory, what QEMU did, whether it was consumed.
    """

    uri: str
    monitors: tuple[Path, ...] = ()
    changed: Callable[[], None] = lambda: None
    failed: Callable[[str, str, bool, str, bool], None] = lambda *_: None
    sight: Sight = field(default_factory=Sight)
    proc: Path = Path("/proc")
    _wanted: threading.Event = field(default_factory=threading.Event)
    _asks: bool = True
    _first: threading.Event = field(default_factory=threading.Event)
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _seen: threading.Condition = field(default_factory=threading.Condition)
    _looks: tuple[float, float] = (0.0, 0.0)
    _news: dict[str, tuple[DomainState, float]] = field(default_factory=dict)
    _patience: Patience = field(default_factory=lambda: Patience("libvirt", most=1))
    _came: Sight = field(default_factory=Sight)
    fault: str = ""
    """What went wrong in a look that should not go wrong; the next one is taken all the same."""
    _connection: Connection | None = None
    _versions: tuple[str, str] = ("", "")
    refusals: dict[Path, str] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    """QEMUs that are gone, by their process, with their guests' keys; the newest ones."""
    _links: dict[Path, _Link] = field(default_factory=dict)
    _tries: int = 0
    _retry_s: dict[Path, float] = field(default_factory=dict)
    _again_s: float = 0.0
    _pause_s: float = RECONNECT_S
    _described: dict[tuple[str, int], Details] = field(default_factory=dict)
    _thread: threading.Thread | None = None
    _is_over: bool = False

    def start(self) -> None:
        """Look, and go on looking, in a thread. The first look is waited for, but not for ever."""
        self._is_over = False
        self._thread = threading.Thread(target=self._go_on, name="guests", daemon=True)
        self._thread.start()
        self._first.wait(FIRST_S)

    def close(self) -> None:
        """Look no more, and talk to no monitor; a look that takes long is left to itself after a while."""
        self._is_over = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        for link in tuple(self._links.values()):
            link.qmp.close()

    def first_look(self, most_s: float) -> None:
        """Wait until a look has been taken since the start, but not longer."""
        self._first.wait(most_s)

    def want(self) -> None:
        """Something has happened: look soon."""
        self._wanted.set()

    def look(self) -> Sight:
        """Look now; takes up to ``LIBVIRT_S``, and as long as each QEMU's monitor does."""
        with self._looking:
            began_s, before = time.monotonic(), self.sight
            found = self._look()
            with self._seen:
                self._news = {key: news for key, news in self._news.items() if news[1] >= began_s}
                self.sight = found = self._with_news(found)
                self._looks = began_s, time.monotonic()
                self._seen.notify_all()
        if (found.guests, found.problem) != (before.guests, before.problem):
            self.changed()
        return found

    def look_soon(self, wait_s: float) -> None:
        """Have a look taken that begins from now on, and wait for its end, but not longer: a QEMU or a libvirtd that
        hangs holds up nobody's order but its own.
        """
        now_s = time.monotonic()
        self.want()
        with self._seen:
            self._seen.wait_for(lambda: self._looks[0] >= now_s, wait_s)

    def learned(self, key: str, state: DomainState) -> None:
        """What an order has just made of a guest: a look that began before does not know it."""
        with self._seen:
            self._news[key] = state, time.monotonic()
            self.sight = self._with_news(self.sight)

    def _with_news(self, sight: Sight) -> Sight:
        if not self._news:
            return sight
        return replace(
            sight,
            guests=tuple(
                replace(each, state=self._news[each.key][0]) if each.key in self._news else each
                for each in sight.guests
            ),
        )

    def _go_on(self) -> None:
        while not self._is_over:
            try:
                self.look()
                self.fault = ""
            except Exception as error:
                # Who looks no more would take dead guests for living ones, and new ones for the host's own pages.
                self.fault = f"a look at the guests failed: {plain(repr(error), REFUSAL_CHARACTERS)}"
            self._first.set()
            self._asks = self._wanted.wait(self._wait_s)
            self._wanted.clear()

    @property
    def _wait_s(self) -> float:
        """Until the next look; a libvirtd that has gone is looked for as soon as it may be back."""
        if not self.uri or self._connection is not None:
            return LOOK_S
        return min(LOOK_S, max(RECONNECT_S, self._again_s - time.monotonic()))

    def _look(self) -> Sight:
        running = processes(self.proc)
        by_qmp = tuple(self._by_qmp(running))
        found = self._of_libvirt(running)
        self._note_ends(running)
        mine = tuple(each for each in found.guests if each.by_libvirt)
        keys = {each.key for each in mine}
        return replace(found, guests=(*mine, *(each for each in by_qmp if each.key not in keys)))

    def _note_ends(self, running: Iterable[QemuProcess]) -> None:
        alive = {each.identity for each in running}
        for guest in self.sight.guests:
            if guest.process is not None and guest.process.identity not in alive:
                self.ended[guest.process.pid] = guest.key
        while len(self.ended) > MOST_GUESTS:
            del self.ended[next(iter(self.ended))]

    # --- without libvirt ---------------------------------------------------------------------------------------------

    def monitor(self, key: str) -> Qmp | None:
        """The monitor of a guest that runs without libvirt."""
        return next((each.qmp for each in self._links.values() if each.guest.key == key and not each.qmp.is_over), None)

    def _by_qmp(self, running: Iterable[QemuProcess]) -> Iterator[Guest]:
        processes_ = {each.pid: each for each in running}
        offered = {
            path: None
            for each in processes_.values()
            if not each.by_libvirt
            for path in each.monitors
            if OWN_SOCKET in path.name
        }
        self._tries = 0
        for path in (*self.monitors, *offered):
            link = self._link(path, processes_)
            if link is None:
                continue
            try:
                state = _RUN_STATES.get(link.qmp.status, DomainState.RUNNING)
            except QmpError:
                link.qmp.close()
                continue
            yield replace(link.guest, state=state)

    def _link(self, path: Path, running: Mapping[int, QemuProcess]) -> _Link | None:
        """The talk at a socket, begun if need be."""
        known = self._links.get(path)
        if known is not None and not known.qmp.is_over:
            return known
        self._links.pop(path, None)
        if time.monotonic() < self._retry_s.get(path, 0.0) or self._tries >= MOST_TRIES:
            return None
        self._tries += 1
        self._retry_s[path] = time.monotonic() + RETRY_S
        while len(self._retry_s) > MOST_GUESTS:
            del self._retry_s[next(iter(self._retry_s))]
        try:
            self._links[path] = link = self._talk(path, running)
        except QmpError as error:
            self.refusals[path] = plain(str(error), REFUSAL_CHARACTERS)
            while len(self.refusals) > MOST_REFUSALS:
                del self.refusals[next(iter(self.refusals))]
            return None
        self.refusals.pop(path, None)
        return link

    def _talk(self, path: Path, running: Mapping[int, QemuProcess]) -> _Link:
        key = ""

        def heard(name: str, data: bytes) -> None:
            if name == "MEMORY_FAILURE":
                self._failed_by_qmp(key or f"qmp:{path}", data)
            self.want()

        qmp = Qmp(path, heard, self.want)
        try:
            uuid = uuid_of(qmp.uuid)
            if uuid in self._taken(path):
                raise QmpError(f"{path}: it says the UUID of another guest ({uuid}), and is not believed")
            key = uuid or f"qmp:{path}"
            guest = Guest(
                key=key,
                name=plain(qmp.name) or path.stem,
                uuid=uuid,
                vcpus=qmp.vcpus,
                memory_pages=min(MOST_MEMORY_BYTES, max(0, qmp.memory_bytes)) >> PAGE_SHIFT,
                process=running.get(qmp.pid),
                by_libvirt=False,
                persistent=False,
            )
        except QmpError:
            qmp.close()  # who is not talked to is let go: the socket serves one client
            raise
        return _Link(qmp, guest)

    def _taken(self, path: Path) -> frozenset[str]:
        """The UUIDs that a QEMU at this socket cannot have: what it says of itself is not believed against libvirt's
        word, nor against who was there before.
        """
        known = {each.key for each in self.sight.guests if each.by_libvirt}
        return frozenset(known | {link.guest.key for at, link in self._links.items() if at != path})

    def _failed_by_qmp(self, key: str, data: bytes) -> None:
        found = memory_failure(data)
        guest = self.sight.guest(key)
        if found is not None and (guest is None or not guest.by_libvirt):
            self.failed(key, "QMP", found.recipient == "guest", found.action, found.flags.action_required)

    # --- with libvirt ------------------------------------------------------------------------------------------------

    def _failed_by_libvirt(self, uuid: str, recipient: int, action: int, flags: int) -> None:
        what = Action(action).name.lower() if action in _ACTIONS else f"action {action}"
        consumed = bool(flags & FailureFlag.ACTION_REQUIRED)
        self.failed(uuid, "libvirt", recipient == Recipient.GUEST, what, consumed)

    def _of_libvirt(self, running: Iterable[QemuProcess]) -> Sight:
        before, by_uuid = self.sight, _by_uuid(running)
        if not self.uri:
            return Sight(at_s=time.monotonic(), versions=self._versions)
        if not self._asks and self._is_as_it_came(by_uuid):
            return self._came
        try:
            return self._patience.call(lambda: self._by_libvirt(before, by_uuid), LIBVIRT_S)
        except HypervisorError as error:
            # What came too late for an earlier look is newer than what that one showed instead.
            return _aged(self._came if self._came.at_s > before.at_s else before, by_uuid, str(error))

    def _is_as_it_came(self, by_uuid: Mapping[str, QemuProcess]) -> bool:
        """Whether nothing has happened since libvirt was last asked, as far as can be seen without it."""
        came = self._came
        if self._connection is None or self.sight.problem or time.monotonic() - came.at_s >= ASK_S:
            return False
        known = {each.key: each.process for each in came.guests if each.process is not None}
        return known == {uuid: each for uuid, each in by_uuid.items() if each.by_libvirt}

    def _by_libvirt(self, before: Sight, by_uuid: dict[str, QemuProcess]) -> Sight:
        """In a thread that may hang; there is one at a time, and only it uses the connection."""
        try:
            connection = self._connected()
            if connection is None:
                return _aged(before, by_uuid)
            with connection.domains() as domains:
                guests = tuple(found for each in domains[:MOST_GUESTS] if (found := self._guest(each, by_uuid)))
        except (HypervisorError, LibvirtError) as error:
            self._let_go()
            return _aged(before, by_uuid, f"libvirt cannot be asked: {error}")
        known = {(each.key, each.process.pid) for each in guests if each.process is not None}
        self._described = {key: said for key, said in self._described.items() if key in known}
        self._came = Sight(guests=guests, versions=self._versions, at_s=time.monotonic())
        return self._came

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
        connection.on_memory_failure(self._failed_by_libvirt)
        connection.on_close(self.want)
        return connection

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._again_s = time.monotonic() + self._pause_s
        self._pause_s = min(LONGEST_RECONNECT_S, self._pause_s * 2)

    def _guest(self, domain: LibvirtDomain, running: dict[str, QemuProcess]) -> Guest | None:
        """A domain as it is now; None if it has ended since it was listed (one that is transient is forgotten then)."""
        try:
            return self._described_guest(domain, running)
        except LibvirtError as error:
            if error.code == Code.NO_DOMAIN:
                return None
            raise

    def _described_guest(self, domain: LibvirtDomain, running: dict[str, QemuProcess]) -> Guest:
        uuid, (state, reason) = domain.uuid, domain.state
        maximum_kib, vcpus = domain.size
        name = domain.name
        process = self._process(name, uuid, running) if state != State.SHUTOFF else None
        found = _state(state, reason)
        if found in _ENDED and domain.is_saved:
            found = DomainState.SAVED
        return Guest(
            key=uuid,
            name=name,
            uuid=uuid,
            state=found,
            vcpus=vcpus,
            memory_pages=maximum_kib // _KIB_PER_PAGE,
            process=process,
            persistent=domain.is_persistent,
            details=self._details(domain, uuid, process),
        )

    def _process(self, name: str, uuid: str, running: Mapping[str, QemuProcess]) -> QemuProcess | None:
        """The QEMU that runs a machine: by libvirt's own file, for a command line is its process's to write. Without
        that file, by the UUID that just one QEMU has.
        """
        if "/" not in name:
            try:
                with (self.proc.parent / PID_FILES / f"{name}.pid").open("rb") as file:
                    pid = int(file.read(16))
            except (OSError, ValueError):
                return running.get(uuid)
            said = running.get(uuid)
            if said is not None and said.pid == pid:
                return said
            began = start_of(self.proc / str(pid))
            return None if began is None else QemuProcess(pid=pid, began=began, uuid=uuid, name=name, by_libvirt=True)
        return running.get(uuid)

    def _details(self, domain: LibvirtDomain, uuid: str, process: QemuProcess | None) -> Details:
        """Its description is read once for each process: what matters here does not change while it runs."""
        if process is None:
            return NOTHING_SAID
        key = uuid, process.pid
        if key not in self._described:
            self._described[key] = details(domain.xml)
        return self._described[key]


def _by_uuid(running: Iterable[QemuProcess]) -> dict[str, QemuProcess]:
    """QEMUs by the UUIDs that they go by; one that two claim is nobody's: to name the wrong one is worse than none."""
    found: dict[str, QemuProcess] = {}
    twice: set[str] = set()
    for each in running:
        if each.uuid in found:
            twice.add(each.uuid)
        elif each.uuid:
            found[each.uuid] = each
    return {uuid: each for uuid, each in found.items() if uuid not in twice}


_ACTIONS: Final = frozenset(map(int, Action))

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
    """What was seen before, where libvirt does not answer: a guest whose QEMU has ended is down all the same, and one
    that was not seen before is known by its QEMU alone.
    """
    known = {each.key for each in before.guests}
    guests = (
        *(
            each if each.process is None or running.get(each.uuid) == each.process else _down(each)
            for each in before.guests
        ),
        *(
            Guest(key=uuid, name=each.name, uuid=uuid, process=each)
            for uuid, each in running.items()
            if each.by_libvirt and uuid not in known
        ),
    )
    return Sight(guests=guests, problem=problem or before.problem, versions=before.versions, at_s=before.at_s)


def _down(guest: Guest) -> Guest:
    return Guest(
        key=guest.key, name=guest.name, uuid=guest.uuid, state=DomainState.SHUT_DOWN, vcpus=guest.vcpus,
        memory_pages=guest.memory_pages, by_libvirt=guest.by_libvirt, persistent=guest.persistent,
    )  # fmt: skip
