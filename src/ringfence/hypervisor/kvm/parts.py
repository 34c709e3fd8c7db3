"""The parts of a KVM host that its backend and its source of evidence share, put together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from ringfence.hypervisor.kvm.failures import LOGS, Failure, Failures
from ringfence.hypervisor.kvm.guest_memory import Ask
from ringfence.hypervisor.kvm.guests import Guest, Guests
from ringfence.hypervisor.kvm.kernel_pages import KernelPages
from ringfence.hypervisor.kvm.kernel_words import KernelWords
from ringfence.hypervisor.kvm.libvirt import Connection, LibvirtError
from ringfence.hypervisor.kvm.owners import Owners
from ringfence.hypervisor.kvm.pagemap import Pagemaps
from ringfence.hypervisor.kvm.patience import Patience

MONITOR_S: Final = 10.0
"""For one answer of a human monitor through libvirt: whose page it is, is known without it; its number there is not.
Nobody who decides waits for it so long (``owners.NUMBER_S``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says of KVM. ``libvirt`` and ``destination`` are URIs, empty for none; ``monitors`` are
    QMP sockets. ``asks_monitors``: QEMU's human monitor may be asked through libvirt, which taints the domain.
    ``injects``: it may put machine checks into guests.
    """

    libvirt: str = "qemu:///system"
    destination: str = ""
    migration_pages_per_s: int = 25_600
    monitors: tuple[Path, ...] = ()
    asks_monitors: bool = True
    injects: bool = False


@dataclass(slots=True)
class Parts:
    """All of them, of the host whose files are below ``root`` (tests: a directory). ``start`` once."""

    settings: Settings
    root: Path = Path("/")
    pages: KernelPages = field(init=False)
    words: KernelWords = field(init=False)
    guests: Guests = field(init=False)
    owners: Owners = field(init=False)
    failures: Failures = field(init=False)
    patience: Patience = field(default_factory=lambda: Patience("libvirt"))
    _idle: list[Connection] = field(default_factory=list)
    _started: bool = False

    def __post_init__(self) -> None:
        proc = self.root / "proc"
        maps = Pagemaps(proc)
        self.pages = KernelPages(self.root)
        self.words = KernelWords(self.root / "dev/kmsg")
        self.guests = Guests(self.settings.libvirt, self.settings.monitors, proc=proc)
        self.owners = Owners(lambda: self.guests.sight.guests, self.words.story, self.ask, self.pages, maps, proc)
        self.failures = Failures(self.guests, self.words, self.owners, maps, self.root / LOGS.relative_to("/"), proc)
        self.guests.failed = self._failed

    def start(self) -> None:
        """Begin to look; the first look is taken now."""
        if not self._started:
            self._started = True
            self.words.turn()
            self.guests.start()
            self.owners.start()

    def close(self) -> None:
        """Look no more, and leave no thread behind; ``start`` begins anew."""
        self._started = False
        self.owners.close()
        self.guests.close()
        while self._idle:
            self._idle.pop().close()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong now, a sentence each: libvirt that does not answer, monitors that cannot be had."""
        sight = self.guests.sight
        found = [f"{sight.problem}; the guests are shown as they were"] if sight.problem else []
        faults = (each for each in (self.guests.fault, self.owners.fault) if each)
        return (*found, *faults, *tuple(self.guests.refusals.values()))

    def ask(self, guest: Guest) -> Ask | None:
        """How a guest's human monitor is asked; None if it must not or cannot be."""
        if not guest.by_libvirt:
            qmp = self.guests.monitor(guest.key)
            return None if qmp is None else qmp.human
        if not self.settings.asks_monitors:
            return None

        def asked(command: str) -> str:
            return self.patience.call(partial(self._asked, guest.key, command), MONITOR_S)

        return asked

    def _asked(self, key: str, command: str) -> str:
        """One command, over a connection that the next ones use as well: a page takes several. While a guest's QEMU
        hangs, its call has that connection for itself.
        """
        connection = self._connection()
        try:
            with connection.domain(key) as domain:
                answer = domain.monitor(command)
        except LibvirtError:
            connection.close()
            raise
        if self._idle:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def _connection(self) -> Connection:
        try:
            connection = self._idle.pop()
        except IndexError:
            return Connection(self.settings.libvirt)
        if connection.is_alive:
            return connection
        connection.close()
        return Connection(self.settings.libvirt)

    def _failed(self, key: str, by: str, to_guest: bool, action: str, consumed: bool) -> None:
        whose = "the guest's memory" if to_guest else "QEMU's own memory"
        how = "action required" if consumed else "action optional"
        self.failures.heard(
            Failure(
                key=key, by=by, to_guest=to_guest, action=action, consumed=consumed, at_s=time.time(),
                text=f"memory failure in {whose}: {action}, {how}",
            )
        )  # fmt: skip
