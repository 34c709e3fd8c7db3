"""Who has which CPU when: round robin on the clock, worked out instead of stepped through.

Each vCPU is pinned to a CPU. The runnable vCPUs of a CPU take turns of ``SLICE_NS``, and which of them has it follows
from the time alone. So a day in which nothing changes costs nothing, and each slice of it can still be told. What
changes (a vCPU pauses, a CPU stops) begins a new span.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ringfence.hypervisor.model.clock import MILLISECOND, Nanoseconds
from ringfence.hypervisor.model.observer import Ran
from ringfence.world.identities import CpuId, DomainId, VcpuId

SLICE_NS: Final = 10 * MILLISECOND
"""Xen's credit2 lets a vCPU run for at most 10 ms at a time (xen/common/sched/credit2.c, CSCHED2_MAX_TIMER)."""
SPANS_KEPT: Final = 4096
"""Closed spans that can still be asked for; the oldest go."""

Vcpu = tuple[DomainId, VcpuId]


@dataclass(frozen=True, slots=True)
class _Span:
    """From one change of a CPU's vCPUs to the next."""

    cpu: CpuId
    from_ns: Nanoseconds
    to_ns: Nanoseconds
    turn: tuple[Vcpu, ...]


class Scheduler:
    """The CPUs and who takes turns on each. ``now`` is the clock; ``watch`` sees each span that closes."""

    def __init__(
        self, cpus: tuple[CpuId, ...], *, now: Callable[[], Nanoseconds], watch: Callable[[Ran], None]
    ) -> None:
        self._now = now
        self._watch = watch
        self._pinned: dict[Vcpu, CpuId] = {}
        self._stopped: set[DomainId] = set()
        self._offline: set[CpuId] = set()
        self._cpus = cpus
        self._only: DomainId | None = None
        self._open: dict[CpuId, tuple[Nanoseconds, tuple[Vcpu, ...]]] = {cpu: (now(), ()) for cpu in cpus}
        self._closed: deque[_Span] = deque(maxlen=SPANS_KEPT)

    # --- changes -------------------------------------------------------------------------------------------------

    def add(self, domain: DomainId, vcpus: int) -> None:
        """A domain's vCPUs take part from now on, each pinned to the CPU with the fewest; it starts stopped."""
        self._stopped.add(domain)
        for number in range(vcpus):
            self._pinned[domain, VcpuId(number)] = self._emptiest()

    def remove(self, domain: DomainId) -> None:
        """A domain has ended."""
        self._pinned = {vcpu: cpu for vcpu, cpu in self._pinned.items() if vcpu[0] != domain}
        self._stopped.discard(domain)
        self._renew()

    def stop(self, domain: DomainId) -> None:
        """None of its vCPUs runs any more."""
        self._stopped.add(domain)
        self._renew()

    def go(self, domain: DomainId) -> None:
        """Its vCPUs run again."""
        self._stopped.discard(domain)
        self._renew()

    def take_offline(self, cpu: CpuId) -> None:
        """A CPU is out of use: its vCPUs move."""
        self._offline.add(cpu)
        for vcpu in [vcpu for vcpu, where in self._pinned.items() if where == cpu]:
            self._pinned[vcpu] = self._emptiest()
        self._renew()

    def take_online(self, cpu: CpuId) -> None:
        """A CPU is in use again: vCPUs come to it as they are pinned anew."""
        self._offline.discard(cpu)
        self._renew()

    def only(self, domain: DomainId | None) -> None:
        """Nobody but this domain runs (None: all run again)."""
        self._only = domain
        self._renew()

    def halt(self) -> None:
        """Nothing runs any more."""
        self._pinned.clear()
        self._renew()

    # --- questions -----------------------------------------------------------------------------------------------

    @property
    def online(self) -> tuple[CpuId, ...]:
        """The CPUs that are in use."""
        return tuple(cpu for cpu in self._cpus if cpu not in self._offline)

    def cpu_of(self, domain: DomainId, vcpu: VcpuId) -> CpuId:
        """Where a vCPU is pinned to. Raises KeyError."""
        return self._pinned[domain, vcpu]

    def running(self, cpu: CpuId) -> Vcpu | None:
        """Who has a CPU at this instant, None if it is idle."""
        _, turn = self._open[cpu]
        return turn[self._now() // SLICE_NS % len(turn)] if turn else None

    def runs(self, domain: DomainId) -> bool:
        """Whether a domain is let run (it may have to wait for its turn)."""
        return any(vcpu[0] == domain for _, turn in self._open.values() for vcpu in turn)

    def next_turn_ns(self, domain: DomainId, vcpu: VcpuId) -> int | None:
        """In how many nanoseconds a vCPU has its CPU: 0 if it has it now, None if it is not let run."""
        cpu = self._pinned.get((domain, vcpu))
        if cpu is None or (domain, vcpu) not in self._open[cpu][1]:
            return None
        turn = self._open[cpu][1]
        now = self._now()
        slices = (turn.index((domain, vcpu)) - now // SLICE_NS) % len(turn)
        return 0 if not slices else slices * SLICE_NS - now % SLICE_NS

    def ran(self, domain: DomainId, from_ns: int, to_ns: int) -> tuple[Ran, ...]:
        """What a domain's vCPUs ran between two instants: one entry a span, from its first slice to its last."""
        return tuple(
            ran
            for span in (*self._closed, *self._present())
            for ran in _slices(span, from_ns, to_ns)
            if ran.domain == domain
        )

    # --- within --------------------------------------------------------------------------------------------------

    def _present(self) -> Iterator[_Span]:
        for cpu, (since, turn) in self._open.items():
            yield _Span(cpu, since, self._now(), turn)

    def _emptiest(self) -> CpuId:
        used = list(self._pinned.values())
        return min(self.online, key=lambda cpu: (used.count(cpu), cpu))

    def _turn(self, cpu: CpuId) -> tuple[Vcpu, ...]:
        return tuple(
            vcpu
            for vcpu, where in self._pinned.items()
            if where == cpu and vcpu[0] not in self._stopped and self._only in {None, vcpu[0]}
        )

    def _renew(self) -> None:
        now = self._now()
        for cpu in self._cpus:
            since, before = self._open[cpu]
            after = self._turn(cpu)
            if before == after:
                continue
            self._open[cpu] = (now, after)
            if before and now > since:
                span = _Span(cpu, since, now, before)
                self._closed.append(span)
                for ran in _slices(span, since, now):
                    self._watch(ran)


def _slices(span: _Span, from_ns: int, to_ns: int) -> Iterator[Ran]:
    """Who had a slice within a part of a span: from the beginning of the first such slice to the end of the last."""
    start, end = max(span.from_ns, from_ns), min(span.to_ns, to_ns)
    if start >= end:
        return
    first, last = start // SLICE_NS, (end - 1) // SLICE_NS
    for place, (domain, vcpu) in enumerate(span.turn):
        earliest = first + (place - first) % len(span.turn)
        latest = last - (last - place) % len(span.turn)
        if earliest > latest:
            continue
        yield Ran(
            domain=domain,
            vcpu=vcpu,
            cpu=span.cpu,
            from_ns=Nanoseconds(max(start, earliest * SLICE_NS)),
            to_ns=Nanoseconds(min(end, (latest + 1) * SLICE_NS)),
        )
