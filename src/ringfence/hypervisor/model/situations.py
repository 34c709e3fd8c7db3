"""The host as a value: what the port and the seat are shown of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.telemetry import frames_named, running_of
from ringfence.record.evidence import Record
from ringfence.world.domain import Dom0State
from ringfence.world.frames import FrameFacts
from ringfence.world.situation import AlreadyDone, Destination, Platform, Running, Situation

KNOWN_KEPT: Final = 4096
"""Records of which the host remembers who ran and what it did: far more than can wait to be fetched."""


class Known(msgspec.Struct, frozen=True):
    """What the hypervisor knows of a record beyond its bytes."""

    running: Running = Running()
    done: tuple[AlreadyDone, ...] = ()
    earlier_boot: bool = False


class Situations:
    """Builds situations. ``dom0`` and ``operations`` give what changes above the domains."""

    def __init__(
        self,
        core: Core,
        life: Life,
        rates: tuple[int, int],
        dom0: Callable[[], Dom0State],
        above: Callable[[], tuple[Destination | None, int]],
    ) -> None:
        self._core = core
        self._life = life
        self._dom0 = dom0
        self._above = above
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._platform = _platform(core, *rates)

    def remember(self, raw: bytes, known: Known) -> None:
        """Keeps what is known of a record."""
        self._known[raw] = known
        while len(self._known) > KNOWN_KEPT:
            self._known.popitem(last=False)

    def of(self, record: Record | None, running: Running | None = None) -> Situation:
        """The host now. ``running`` is who ran on the CPU that reported, where the caller knows better."""
        destination, operations = self._above()
        known = Known() if record is None else self._known.get(record.raw, Known(running=running_of(record)))
        return Situation(
            now_ms=self._core.now_ms,
            dom0=self._dom0(),
            domains=tuple([domain.shown or domain.seen() for domain in self._life.domains]),
            frames=() if record is None else self._frames(record),
            running=known.running if running is None else running,
            platform=self._platform,
            earlier_boot=known.earlier_boot,
            already_done=known.done,
            destination=destination,
            operations_running=operations,
            free_pages=self._life.frames.free_pages,
        )

    def _frames(self, record: Record) -> tuple[FrameFacts, ...]:
        listed = dict.fromkeys(self._life.mappings.facts(frame) for frame in frames_named(record))
        return tuple(listed)


def _platform(core: Core, migration_pages_per_s: int, disk_pages_per_s: int) -> Platform:
    settings = core.machine.settings
    topology = settings.topology
    if settings.platform.ser_p:
        poisons, because = True, "MCG_CAP.SER_P is set"
    elif settings.platform.succor:
        poisons, because = True, "CPUID Fn8000_0007_EBX[1] (SUCCOR) is set"
    else:
        poisons, because = False, "neither MCG_CAP.SER_P nor SUCCOR is set"
    return Platform(
        poisons=poisons,
        poisons_because=because,
        shared_caches=tuple((cpu, frozenset(topology.of_socket(topology.place(cpu).socket))) for cpu in topology.cpus),
        migration_pages_per_s=migration_pages_per_s,
        disk_pages_per_s=disk_pages_per_s,
        skips_broken_pages=True,
    )
