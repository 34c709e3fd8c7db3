"""Where Ringfence can be killed: before and after every call of its port and its journal that does or delivers a thing.

What only looks (the time, the situation, the capabilities) does nothing, so a kill there is one at its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from ringfence.hypervisor.port import Arrival, Capability, Hypervisor, Token
from ringfence.journal.events import Event
from ringfence.journal.store import Journal
from ringfence.record.evidence import Record
from ringfence.world.identities import CaseId, DomainId, Frame
from ringfence.world.situation import Situation
from ringfence.world.steps import Order, Result
from ringfence.world.treatment import Dom0Says


class KilledError(BaseException):
    """Ringfence was killed here. No ``except Exception`` may hold it up, as none holds SIGKILL up."""


class Meter:
    """Counts calls; at the planned one it kills."""

    def __init__(self) -> None:
        self.calls = 0
        self.kill_at: int | None = None

    def tick(self) -> None:
        """A call begins, or has ended. Raises KilledError where it was planned."""
        self.calls += 1
        if self.kill_at is not None and self.calls >= self.kill_at:
            self.kill_at = None
            raise KilledError


class Halting(Protocol):
    """A host that can stop under a call."""

    @property
    def halted(self) -> bool:
        """Whether it has."""
        ...


class Spectator(Protocol):
    """Who sees what passes through the port, as it passes."""

    def arrived(self, arrivals: tuple[Arrival, ...]) -> None:
        """These were shown."""
        ...

    def acknowledged(self, token: Token) -> None:
        """This is about to be acknowledged."""
        ...

    def ordered(self, order: Order) -> None:
        """This is about to be carried out."""
        ...

    def answered(self, case: CaseId, domain: DomainId, says: Dom0Says, result: Result) -> None:
        """Dom0 answered."""
        ...


class MeteredHost:
    """The port of a model host, as Ringfence has it in a simulation. When the host halts, Dom0 is dead at once."""

    def __init__(self, host: Hypervisor, power: Halting, meter: Meter, spectator: Spectator) -> None:
        self._host, self._power, self._meter, self._spectator = host, power, meter, spectator

    @property
    def name(self) -> str:
        """As ``Hypervisor.name``."""
        return self._host.name

    @property
    def capabilities(self) -> Capability:
        """As ``Hypervisor.capabilities``."""
        return self._host.capabilities

    @property
    def boot(self) -> int:
        """As ``Hypervisor.boot``."""
        return self._host.boot

    def now_ms(self) -> int:
        """As ``Hypervisor.now_ms``."""
        return self._host.now_ms()

    def situation(self, record: Record | None) -> Situation:
        """As ``Hypervisor.situation``."""
        return self._host.situation(record)

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``Hypervisor.arrivals``."""
        self._meter.tick()
        found = self._host.arrivals()
        self._spectator.arrived(found)
        self._ended()
        return found

    def acknowledge(self, token: Token) -> None:
        """As ``Hypervisor.acknowledge``."""
        self._meter.tick()
        self._spectator.acknowledged(token)
        self._host.acknowledge(token)
        self._ended()

    def carry_out(self, order: Order) -> Result:
        """As ``Hypervisor.carry_out``."""
        self._meter.tick()
        self._spectator.ordered(order)
        result = self._host.carry_out(order)
        self._ended()
        return result

    def probe(self, order: Order) -> Result:
        """As ``Hypervisor.probe``."""
        self._meter.tick()
        result = self._host.probe(order)
        self._ended()
        return result

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``Hypervisor.answer``."""
        self._meter.tick()
        result = self._host.answer(case, domain, says)
        self._spectator.answered(case, domain, says, result)
        self._ended()
        return result

    def heed_lost(self, frames: Iterable[Frame]) -> None:
        """As ``Hypervisor.heed_lost``."""
        self._host.heed_lost(frames)

    def evidence_saved(self, case: CaseId) -> None:
        """As ``Hypervisor.evidence_saved``."""
        self._meter.tick()
        self._host.evidence_saved(case)
        self._ended()

    def _ended(self) -> None:
        if self._power.halted:
            raise KilledError
        self._meter.tick()


WAL_PAGES: Final = 64
"""A simulated WAL is brought home so often: it stays in the CPU's cache, which costs little without fsync."""


class MeteredJournal(Journal):
    """The production journal on a real file, without fsync: nothing here has to survive the machine that simulates."""

    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path, fsync=False, reserve_bytes=0)
        self._meter = meter
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")

    def append(self, *events: Event) -> int:
        """As ``Journal.append``."""
        self._meter.tick()
        number = super().append(*events)
        self._meter.tick()
        return number

    def put_snapshot(self, number: int, event_crc: int, version: int, data: bytes) -> Iterator[None]:
        """As ``Journal.put_snapshot``."""
        for _ in super().put_snapshot(number, event_crc, version, data):
            self._meter.tick()
            yield
        self._meter.tick()
