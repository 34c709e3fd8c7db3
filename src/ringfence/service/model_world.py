"""The model host as the long-running process keeps it: paced by the wall clock, with guests, and errors on their time.

The model lives in the process and ends with it: the next start of the process is the host's next boot. When it halts,
it is reset after a while as a watchdog would do it, and its guests are started again, as operators would.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ringfence.decision.policy import Policy
from ringfence.hypervisor.model import observer as facts
from ringfence.hypervisor.model.clock import HOUR, MILLISECOND, Clock
from ringfence.hypervisor.model.host import HostSettings, ModelHost
from ringfence.hypervisor.model.machine import Settings
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.hypervisor.model.topology import Topology
from ringfence.journal.events import STEPS
from ringfence.service import demo
from ringfence.service.simulation import acts
from ringfence.service.simulation.acts import Act, Script
from ringfence.service.simulation.instructions import MADE_TO_FAIL
from ringfence.service.simulation.scenario import Scenario, named
from ringfence.service.simulation.script import script
from ringfence.service.simulation.strikes import Strikes
from ringfence.service.treatment import Treatment
from ringfence.service.wiring import seat
from ringfence.world.domain import LIVING
from ringfence.world.identities import DOM0, DomainId, GuestFrame

SLICE_MS: Final = 20
"""So much time passes at once at most, then Dom0 has its turn: a hundredth of the time that Dom0 has to answer."""
CATCH_UP_MS: Final = 10_000
"""Time in which the process did not run (stopped, no CPU) is caught up to this bound; the rest never was."""
RESET_MS: Final = 10_000
"""From a halt to the reset: what a hardware watchdog is commonly set to, or less."""
REVIVE_MS: Final = 60_000
"""From a guest's end to its next start by an operator."""
MOST_WAIT_S: Final = 0.25
"""The world is looked at so often even if nothing is due."""
HOUR_MS: Final = 3_600_000
"""Acts are drawn for so long at a time: a bound on how many are held."""
DOM0_PAGES: Final = 1 << 15
XEN_PAGES: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class Play:
    """What is played: a scenario's host and guests, and the acts of each hour from 0 on, at times within it.

    The acts that only a simulation can do (killing Ringfence, taking the CPU from it, people's orders) do not happen:
    the process is real, and so are the people.
    """

    scenario: Scenario
    hours: Callable[[int], Script]


def nothing() -> Play:
    """A healthy host with a handful of guests."""
    return Play(demo.SCENARIO, lambda _: ())


def play(name: str, seed: int) -> Play:
    """What is played under a name: ``demo``, a scenario's name, or the path of a scenario's file.

    Raises SourceError or PolicyError for a file that is no scenario.
    """
    if name == demo.SCENARIO.name:
        return Play(demo.SCENARIO, lambda hour: () if hour else tuple(scene.act for scene in demo.SCENES))
    scenario = named(name)
    return Play(scenario, lambda hour: script(scenario, seed + hour, 1.0))


@dataclass(slots=True)
class _Watch:
    """What the world sees of its host."""

    lost: set[range] = field(default_factory=set)
    ended: list[DomainId] = field(default_factory=list)
    errors: int = 0

    def struck(self) -> None:
        """As ``strikes.Onlooker.struck``."""
        self.errors += 1

    def see(self, fact: facts.Fact) -> None:
        """A fact (``observer.Observer``)."""
        match fact:
            case facts.Rebooted():
                self.lost.clear()
                self.ended.clear()
            case facts.MappingsChanged(frame=frame):
                self.lost.add(range(frame, frame + 1))
            case facts.DomainChanged(domain=domain, after=after) if domain != DOM0:
                if after not in LIVING:
                    self.ended.append(domain)
                elif domain in self.ended:
                    self.ended.remove(domain)
            case _:
                pass


class ModelWorld:
    """One model host and what happens to it. ``boot`` is the number of its first boot; ``now_s`` paces it."""

    def __init__(
        self, played: Play, policy: Policy, *, seed: int, boot: int, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._scenario, self._hours, self._policy = played.scenario, played.hours, policy
        self._now_s = now_s
        self._clock = Clock()
        self._watch = _Watch()
        self._seat = seat(policy, boot)
        self.host: Final = self._host("model", seed, boot, self._seat, self._watch.see)
        self._other: ModelHost | None = None
        if self._scenario.other_host:
            self._other = self._host("other", seed + 1, 1, seat(policy, 1), facts.nobody)
            self.host.connect(self._other)
        self._ids: dict[str, DomainId] = {}
        self._strikes = Strikes(self.host, self._watch, self._ids)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._gone_until = self._hurt_until = 0
        self._reset_ms: int | None = None
        for guest in self._scenario.guests:
            self._ids[guest.name] = self.host.create(guest)
        self._set_dom0()
        self._draw(0)
        self._origin_s = now_s()

    def _host(self, name: str, seed: int, boot: int, its_seat: Treatment, watch: facts.Observer) -> ModelHost:
        wanted = self._scenario.machine
        machine = Settings(
            platform=PLATFORMS[wanted.platform],
            topology=Topology(sockets=wanted.sockets, cores=wanted.cores, threads=wanted.threads),
            memory_bytes=wanted.memory_gib << 30,
            patrol=wanted.patrol,
            patrol_pass_ns=round(wanted.patrol_hours * HOUR),
        )
        settings = HostSettings(
            name=name, first_boot=boot, personality=self._scenario.personality, machine=machine,
            dom0_pages=DOM0_PAGES, xen_pages=XEN_PAGES,
        )  # fmt: skip
        return ModelHost(settings, seed=seed, seat=its_seat, clock=self._clock, observer=watch)

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def errors(self) -> int:
        """How many errors were put in."""
        return self._watch.errors

    @property
    def reset_ms(self) -> int | None:
        """When the halted host is reset, on its clock; None while it runs."""
        return self._reset_ms

    def reload(self, policy: Policy) -> None:
        """The hypervisor's seat goes by this policy from now on."""
        self._policy = policy
        self._seat.reload(policy)

    def close(self) -> None:
        """As ``writer.World.close``: it has no thread."""

    def wait_s(self, wake_ms: int | None) -> float:
        """How long nothing is due, seconds: neither here nor, at ``wake_ms`` on the host's clock, in Dom0's seat."""
        now_ms = self._target_ms()
        due = [now_ms + MOST_WAIT_S * 1000]
        due += [wake_ms] if wake_ms is not None else []
        due += [self._agenda[0][0]] if self._agenda else []
        if (next_ns := self._clock.next_ns) is not None:
            due.append(next_ns / MILLISECOND)
        return max(0.0, (min(due) - now_ms) / 1000)

    def go_on(self) -> bool:
        """Let time pass, one slice at most; whether there is more of it to come at once."""
        now_ms, target_ms = self._now_ms, int(self._target_ms())
        next_ms = min(target_ms, now_ms + SLICE_MS)
        if self._agenda:
            next_ms = min(next_ms, max(self._agenda[0][0], now_ms))
        self.host.advance(max(0, next_ms - now_ms))
        while self._agenda and self._agenda[0][0] <= self._now_ms:
            heapq.heappop(self._agenda)[2]()
        self._look()
        return self._now_ms < target_ms

    def _target_ms(self) -> float:
        """Where the host's clock should be by the wall clock."""
        target_ms = (self._now_s() - self._origin_s) * 1000
        behind_ms = target_ms - self._now_ms
        if behind_ms > CATCH_UP_MS:
            self._origin_s += (behind_ms - CATCH_UP_MS) / 1000
            return self._now_ms + CATCH_UP_MS
        return target_ms

    @property
    def _now_ms(self) -> int:
        return self.host.now_ms()

    def _after(self, ms: int, what: Callable[[], None]) -> None:
        self._at(self._now_ms + ms, what)

    def _at(self, at_ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at_ms, next(self._number), what))

    def _draw(self, hour: int) -> None:
        """The acts of one hour, and the drawing of the next one's."""
        begins_ms = hour * HOUR_MS
        for act in self._hours(hour):
            self._at(begins_ms + act.at_ms, lambda act=act: self._act(act))  # type: ignore[misc]  # bound now, called once
        self._at(begins_ms + HOUR_MS, lambda: self._draw(hour + 1))

    # --- the host's end, and the guests' -----------------------------------------------------------------------------

    def _look(self) -> None:
        """Whoever has ended is started again later; so is the host."""
        if self.host.halted:
            if self._reset_ms is None:
                self._reset_ms = self._now_ms + RESET_MS
                self._after(RESET_MS, self._reset)
            return
        ended, self._watch.ended = self._watch.ended, []
        for name in [name for name, number in self._ids.items() if number in ended]:
            del self._ids[name]
            self._after(REVIVE_MS, lambda name=name: self._revive(name))  # type: ignore[misc]  # bound now, called once

    def _reset(self, *, cold: bool = False) -> None:
        self._reset_ms = None
        self._seat = seat(self._policy, self.host.boot + 1)
        self.host.reboot(cold=cold, seat=self._seat)
        self._gone_until = self._hurt_until = 0
        self._ids.clear()
        for guest in self._scenario.guests:
            self._revive(guest.name)
        self._set_dom0()

    def _revive(self, name: str) -> None:
        """An operator starts a guest, unless it lives here already, or the host takes no new guest."""
        if self.host.halted or name in self._ids:
            return
        for stray in self._living(self._other, name):
            if self._other is not None:
                self._other.destroy(stray)
        known = next(self._living(self.host, name), None)
        if known is not None:
            self._ids[name] = known
            return
        spec = next(guest for guest in self._scenario.guests if guest.name == name)
        try:
            self._ids[name] = self.host.create(spec)
        except ValueError:
            self._after(REVIVE_MS, lambda: self._revive(name))

    @staticmethod
    def _living(host: ModelHost | None, name: str) -> Iterator[DomainId]:
        if host is not None:
            yield from (each.id for each in host.situation(None).domains if each.name == name and each.lives)

    def _set_dom0(self) -> None:
        if not self.host.halted:
            self.host.set_dom0_handler(self._scenario.handler and self._now_ms >= self._gone_until)
            if self._hurt_until:
                self.host.hurt_dom0(self._now_ms < self._hurt_until)

    # --- acts --------------------------------------------------------------------------------------------------------

    def _act(self, act: Act) -> None:
        """Let an act happen, if it can now."""
        if self.host.halted:
            return
        match act:
            case acts.MemoryHit():
                self._strikes.hit(act)
            case acts.UnitHit():
                self._strikes.hit_unit(act)
            case acts.GuestReads():
                self._strikes.read_again()
            case acts.HandlerGone():
                self._gone_until = self._now_ms + act.for_ms
                self._set_dom0()
                self._after(act.for_ms, self._set_dom0)
            case acts.Dom0Hurt():
                self._hurt_until = self._now_ms + act.for_ms
                self._set_dom0()
                self._after(act.for_ms, self._set_dom0)
            case acts.StepsFail():
                self.host.fail_next(STEPS[act.step], MADE_TO_FAIL, act.times)
            case acts.SinkBroken():
                sink = facts.Sink(act.sink)
                self.host.break_sink(sink)
                self._after(act.for_ms, lambda: self.host.break_sink(sink, broken=False))
            case acts.Rebooted():
                self._reset(cold=act.cold)
            case acts.GuestCrashes() | acts.Destroyed() | acts.Checkpointed() | acts.Ballooned():
                self._to_guest(act)
            case acts.Kill() | acts.Busy() | acts.Approved() | acts.Instructed() | acts.Migrated() | acts.Paused():
                pass  # the process is real, and so are the people

    def _to_guest(self, act: acts.GuestCrashes | acts.Destroyed | acts.Checkpointed | acts.Ballooned) -> None:
        domain = self._ids.get(act.domain)
        if domain is None:
            return
        match act:
            case acts.GuestCrashes():
                self.host.crash(domain)
            case acts.Destroyed():
                self.host.destroy(domain)
            case acts.Checkpointed():
                self.host.checkpoint(domain, disks_of_same_moment=act.disks_of_same_moment)
            case acts.Ballooned():
                known = self.host.situation(None).domain(domain)
                if known is not None and known.lives:
                    self._balloon_out(domain, GuestFrame(act.page))

    def _balloon_out(self, domain: DomainId, page: GuestFrame) -> None:
        with suppress(KeyError):  # it has given that page up already
            self.host.balloon_out(domain, page)
