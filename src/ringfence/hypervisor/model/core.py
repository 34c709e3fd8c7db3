"""What all parts of the model hypervisor share: the machine under it, time, chance, who watches, and its console."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from ringfence.hypervisor.model.clock import MILLISECOND, Clock, Nanoseconds
from ringfence.hypervisor.model.machine import Machine
from ringfence.hypervisor.model.observer import Fact, Observer, Sink
from ringfence.hypervisor.model.personality import Behaviour
from ringfence.world.identities import CpuId
from ringfence.world.situation import Running

CONSOLE_LINES: Final = 2000
"""What the console keeps of one boot: Xen's ring holds about so much (conring_size 128 KiB)."""

TEXT_SINKS: Final = (Sink.SERIAL, Sink.SCREEN, Sink.LOG)


@dataclass(slots=True)
class Core:
    """One boot of the hypervisor and what outlives it.

    ``boot`` counts the boots: what one boot has planned does not happen in the next. ``stopped``: the machine has
    halted. ``caught``: who ran on a CPU when its access ended in a machine check. ``acting``: what a CPU does just now
    that no guest's slice says (the hypervisor reads memory, Dom0's toolstack copies pages).
    """

    machine: Machine
    clock: Clock
    random: Random
    behaviour: Behaviour
    watch: Observer
    boot: int = 0
    stopped: bool = False
    caught: dict[CpuId, Running] = field(default_factory=dict)
    acting: dict[CpuId, Running] = field(default_factory=dict)
    broken_sinks: set[Sink] = field(default_factory=set)
    _console: dict[Sink, deque[str]] = field(
        default_factory=lambda: {sink: deque(maxlen=CONSOLE_LINES) for sink in TEXT_SINKS}
    )

    @property
    def now_ns(self) -> Nanoseconds:
        """The present instant."""
        return self.clock.now_ns

    @property
    def now_ms(self) -> int:
        """The same in whole milliseconds."""
        return self.clock.now_ns // MILLISECOND

    def begin_boot(self) -> None:
        """The next boot: what the last one had planned and caught is void."""
        self.boot += 1
        self.stopped = False
        self.caught.clear()
        self.acting.clear()

    def tell(self, fact: Fact) -> None:
        """Lets the observer see a fact."""
        self.watch(fact)

    def after_ms(self, ms: int, action: Callable[[], None]) -> None:
        """Plans something for this boot; it does not happen if the machine has halted or was reset by then."""
        self.after_ns(ms * MILLISECOND, action)

    def after_ns(self, ns: int, action: Callable[[], None]) -> None:
        """The same in nanoseconds."""
        boot = self.boot

        def act() -> None:
            if self.boot == boot and not self.stopped:
                action()

        self.clock.after(ns, act)

    def at_ms(self, when_ms: int, action: Callable[[], None]) -> None:
        """The same at an instant; at once if that has passed."""
        self.after_ns(max(0, when_ms * MILLISECOND - self.now_ns), action)

    def print(self, line: str) -> None:
        """A line on the console: it goes to every text sink that works."""
        for sink in TEXT_SINKS:
            if sink not in self.broken_sinks:
                self._console[sink].append(f"(XEN) {line}")

    def printed(self, sink: Sink) -> str:
        """What a text sink has of the console; empty for ERST."""
        return "".join(f"{line}\n" for line in self._console.get(sink, ()))

    def put(self, sink: Sink, text: str) -> None:
        """Last words on one text sink."""
        self._console[sink].extend(text.splitlines())
