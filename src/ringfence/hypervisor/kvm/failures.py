"""What QEMU says of memory failures, by three ways, each made a record with the frame that it is about.

libvirt's event and QMP's MEMORY_FAILURE have neither address nor severity (qapi/run-state.json); QEMU's own line, in
libvirt's log of the guest, has the guest-physical address. The frame is the host kernel's word: it has just sent
SIGBUS to that QEMU because of it. All of them say what became of a page, as the kernel's own reports do, and are
joined with these by the page (``sources.joining``, rule ``page``).
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from ringfence.hypervisor.kvm.guests import Guest, Guests
from ringfence.hypervisor.kvm.kernel_words import KernelWords
from ringfence.hypervisor.kvm.owners import Owners
from ringfence.hypervisor.kvm.pagemap import Pagemaps, page_of
from ringfence.hypervisor.kvm.qemu_processes import threads_of
from ringfence.record.evidence import Claim, ClaimedSeverity, ClaimKind, Format, MemoryReport, Origin, Record
from ringfence.record.text import qemu
from ringfence.world.identities import PAGE_BYTES, PAGE_SHIFT

MOST_WAITING: Final = 256
"""Failures that wait to be made records; the oldest go first and are counted (``dropped``)."""
MOST_OF_ONE: Final = 32
"""Of these of one guest: a QEMU that says so without end displaces nobody else's."""
REMEMBERED: Final = 1024
RESOLVE_S: Final = 2.0
"""The kernel's line about the signal is in its log before QEMU gets the signal: it is only to be read."""
NEAR_S: Final = 5.0
"""A failure is of a page for which QEMU was signalled so shortly before."""
LATE_S: Final = 60.0
"""A log is read so soon after a line was written; one that says another time of itself is not believed."""
ECHO_S: Final = 10.0
"""A guest that Ringfence has injected a vMCE into: what QEMU says of it within this time is that."""
MOST_LOG_BYTES: Final = 1 << 20
"""Of a guest's log, read at once."""
CLOCKS_S: Final = 60.0
"""The kernel's log has a clock of its own, which goes wrong by seconds a day against that of QEMU's lines."""
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)Z ")
_HOST_ADDRESS = re.compile(r"QEMU addr (0x[0-9a-f]{1,16})")
LOGS: Final = Path("/var/log/libvirt/qemu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One thing that was said. ``by`` is who said it, ``action`` what QEMU did ("inject", "ignore", "fatal",
    "reset"); ``at_s`` since 1970. Addresses are None where the way has none.
    """

    key: str
    by: str
    to_guest: bool
    action: str
    consumed: bool
    at_s: float
    text: str
    host_address: int | None = None
    guest_address: int | None = None
    frame: int | None = None


@dataclass(slots=True)
class Failures:
    """The failures of this host's guests. ``heard`` is called from any thread; ``take`` may block, and is one
    reader's.
    """

    guests: Guests
    words: KernelWords
    owners: Owners
    maps: Pagemaps = field(default_factory=Pagemaps)
    logs: Path = LOGS
    proc: Path = Path("/proc")
    dropped: int = 0
    _waiting: deque[Failure] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    _known: deque[Failure] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _own: deque[tuple[str, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _read: dict[Path, int] = field(default_factory=dict)
    _until_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _notify: Callable[[], None] = lambda: None

    def listen(self, notify: Callable[[], None]) -> None:
        """Call ``notify``, in any thread, when there is something to take."""
        self._notify = notify

    def heard(self, failure: Failure) -> None:
        """Something was said. What is the echo of a vMCE of our own is remembered as nothing else."""
        with self._lock:
            now_s = time.monotonic()
            is_like_ours = failure.action == "inject" and not failure.consumed
            if is_like_ours and any(key == failure.key and now_s - at_s < ECHO_S for key, at_s in self._own):
                return
            _make_room(self._known, failure.key)
            self._known.append(failure)
            if sum(each.key == failure.key for each in self._waiting) >= MOST_OF_ONE:
                self.dropped += 1
                return
            self.dropped += len(self._waiting) == MOST_WAITING
            self._waiting.append(failure)
        self._notify()

    def expect_echo(self, key: str) -> None:
        """A vMCE is about to be injected into this guest, by us."""
        with self._lock:
            self._own.append((key, time.monotonic()))

    def told(self, key: str, frame: int, since_s: float) -> bool:
        """Whether QEMU has told this guest of this page, or (of which page is not known) of one since a time
        (of time.time).
        """
        return "inject" in self.said(key, frame, since_s)

    def said(self, key: str, frame: int, since_s: float) -> frozenset[str]:
        """What QEMU has said that it did for this guest about this page, as ``told``; empty: it has said nothing."""
        with self._lock:
            return frozenset(
                each.action
                for each in self._known
                if each.key == key and each.to_guest and each.action in _DEEDS
                and (each.frame == frame if each.frame is not None else each.at_s >= since_s)
            )  # fmt: skip

    def logged(self, key: str, host_address: int, since_s: float) -> bool:
        """Whether the log that libvirt keeps of a guest says that QEMU told it of what stands at one of its own
        addresses, about ``since_s`` (of time.time) or later: also while nobody listened. May read a mebibyte.
        """
        guest = self.guests.sight.guest(key)
        if guest is None or not guest.by_libvirt or "/" in guest.name or not host_address:
            return False
        path = self.logs / f"{guest.name}.log"
        found = (of_line(line, key, path) for line in _last_lines(path) if _said_s(line) >= since_s - CLOCKS_S)
        return any(
            each is not None and each.action == "inject" and each.host_address is not None
            and page_of(each.host_address) == page_of(host_address)
            for each in found
        )  # fmt: skip

    def was_consumed(self, key: str, since_s: float) -> bool:
        """Whether QEMU has said since then (of time.time) that this guest consumed an error."""
        with self._lock:
            return any(each.key == key and each.consumed and each.at_s >= since_s for each in self._known)

    def take(self) -> tuple[Record, ...]:
        """The records of what was said since the last time, each with the frame that it is of, where that is found."""
        for failure in self._from_logs():
            self.heard(failure)
        self._until_s = time.monotonic() + RESOLVE_S  # for all of them: one guest's do not hold up another's
        with self._lock:
            waiting = tuple(self._waiting)
            self._waiting.clear()
        return tuple(record(self._resolved(each), self._name(each.key)) for each in waiting)

    def _name(self, key: str) -> str:
        guest = self.guests.sight.guest(key)
        return key if guest is None else guest.name

    def _resolved(self, failure: Failure) -> Failure:
        guest = self.guests.sight.guest(failure.key)
        if guest is None or guest.process is None or not failure.to_guest:
            return failure
        found = self._located(failure, guest)
        with self._lock:
            for at, each in enumerate(self._known):
                if each is failure:
                    self._known[at] = found
        return found

    def _located(self, failure: Failure, guest: Guest) -> Failure:
        assert guest.process is not None  # noqa: S101 (the caller has looked)
        pid = guest.process.pid
        frame, host, address = None, failure.host_address, failure.guest_address
        if host is not None:
            at = self.maps.frame_at(pid, page_of(host))
            frame = at[0] if at is not None and at[1] else None
        frame = frame if frame is not None else self._signalled(pid)
        if frame is not None and address is None:
            holders = [each for each in self.owners.look(frame).holders if each.pid == pid]
            host = holders[0].host_address if holders else host
            address = holders[0].guest_address if holders else None
        return Failure(
            key=failure.key, by=failure.by, to_guest=failure.to_guest, action=failure.action, consumed=failure.consumed,
            at_s=failure.at_s, text=failure.text, host_address=host, guest_address=address, frame=frame,
        )  # fmt: skip

    def _signalled(self, pid: int) -> int | None:
        """The frame for which the kernel has just signalled a QEMU."""
        since_s = time.monotonic() - NEAR_S
        while True:
            self.words.turn()
            found = self.words.newest_of(threads_of(pid, self.proc), since_s)
            if found is not None or time.monotonic() > self._until_s:
                return found
            time.sleep(0.05)

    # --- QEMU's own lines --------------------------------------------------------------------------------------------

    def _from_logs(self) -> Iterator[Failure]:
        """New lines of the logs that libvirt keeps of the guests that run; from where they ended at the first look."""
        while len(self._read) > REMEMBERED:
            del self._read[next(iter(self._read))]
        for guest in self.guests.sight.guests:
            if guest.process is None or not guest.by_libvirt or "/" in guest.name:
                continue
            path = self.logs / f"{guest.name}.log"
            for line in self._new_lines(path):
                if (failure := of_line(line, guest.key, path)) is not None:
                    yield failure

    def _new_lines(self, path: Path) -> list[str]:
        try:
            size = path.stat().st_size
            at = self._read.setdefault(path, size)
            if size <= at:
                self._read[path] = size  # it was rotated, or is as it was
                return []
            with path.open("rb") as file:
                file.seek(at)
                data = file.read(MOST_LOG_BYTES)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == MOST_LOG_BYTES else b"")
        self._read[path] = at + len(whole)
        return whole.decode("utf-8", "replace").splitlines()


_DEEDS: Final = frozenset({"inject", "ignore", "fatal", "reset"})
"""What QEMU does at last about a failure (qapi/run-state.json, MemoryFailureAction); other words come before that."""


def _last_lines(path: Path) -> list[str]:
    """The end of a log: the last mebibyte at the most."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MOST_LOG_BYTES))
            return file.read(MOST_LOG_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _said_s(line: str) -> float:
    """When QEMU said a line, since 1970, as libvirt has it say (``-msg timestamp=on``); long ago if it does not say."""
    match = _STAMP.match(line)
    if match is None:
        return 0.0
    try:
        return datetime.fromisoformat(f"{match[1]}+00:00").timestamp()
    except ValueError:
        return 0.0


def _make_room(known: deque[Failure], key: str) -> None:
    of_it = [each for each in known if each.key == key]
    if len(of_it) >= MOST_OF_ONE:
        known.remove(of_it[0])


def of_line(line: str, key: str, path: Path) -> Failure | None:
    """What QEMU says in its log of a guest's page; None if the line is of something else."""
    found = qemu.read(line, False)
    if found is None or found.memory is None or found.memory.guest_address is None:
        return None
    host = _HOST_ADDRESS.search(line)
    said_s, now_s = _said_s(line), time.time()
    return Failure(
        key=key, by=str(path), to_guest=True, action="inject" if found.part == "injected" else "large page",
        consumed="BUS_MCEERR_AR" in line, text=line.strip()[:500],
        at_s=said_s if now_s - LATE_S <= said_s <= now_s else now_s,
        host_address=None if host is None else int(host[1], 16), guest_address=found.memory.guest_address,
    )  # fmt: skip


def record(failure: Failure, name: str) -> Record:
    """A failure as evidence. One whose page is not found says nothing of how bad it is: it is shown, and no error of
    its own.
    """
    origin = Origin(failure.by)
    what = "told the guest" if failure.to_guest and failure.action == "inject" else failure.action
    claims = (
        Claim(ClaimKind.HYPERVISOR, failure.text, origin),
        Claim(ClaimKind.OWNER, f"guest {name}", origin),
        *((Claim(ClaimKind.INJECTION, f"QEMU {what}", origin),) if failure.to_guest else ()),
    )
    frame, memory = failure.frame, None
    assumptions: tuple[str, ...] = ()
    if frame is not None:
        memory = MemoryReport(
            severity=ClaimedSeverity.RECOVERABLE,
            error="the guest consumed the error" if failure.consumed else "the guest had not consumed it",
            page_frame=frame,
            physical_address=frame << PAGE_SHIFT,
            grain_bytes=PAGE_BYTES,
            guest_address=failure.guest_address,
        )
        assumptions = ("the page frame is by the kernel's word on this QEMU, or by its page map",)
    return Record(
        origin=origin, format=Format.QEMU, raw=failure.text.encode(), time=failure.at_s, memory=memory, claims=claims,
        assumptions=assumptions,
    )  # fmt: skip
