"""The stage on which a case of the comparison is played, and how it is told how the case ended.

What is told is the world's: the facts that an observer saw, the states of domains and pages afterwards, what Dom0
could fetch. Nothing is taken from a journal or a decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from ringfence.hypervisor.model import observer
from ringfence.hypervisor.model.host import HostSettings, ModelHost
from ringfence.hypervisor.port import Arrival, Ended, LeftOver, Telemetry
from ringfence.service.loop import Loop
from ringfence.world.domain import Domain, DomainState
from ringfence.world.frames import FrameUse
from ringfence.world.identities import PAGE_SHIFT, DomainId, Frame, GuestFrame, PhysAddr
from ringfence.world.steps import AskDom0, DegradeHost, HaltHost, RestartDomain, RestoreDomain, Status, Step
from ringfence.world.treatment import TreatingSeat

LONGEST_STEP_MS: Final = 1_000
"""Dom0 looks at least so often."""


class HostEnd(StrEnum):
    """What became of the host."""

    STANDS = "host stands"
    HALTS = "host halts in order"
    PANICS = "host panics"
    HANGS = "host hangs"


class GuestEnd(StrEnum):
    """What became of a guest, on a host that stands."""

    LIVES = "lives"
    STOPPED = "stays stopped"
    RESTORED = "restored"
    RESTARTED = "restarted"
    KILLED = "killed"
    """It was ended, and had not been told of anything."""
    DIES = "dies"
    """It was told, and ended all the same: by its own kernel or by the hypervisor."""


class PageEnd(StrEnum):
    """What became of the page that was hit, on a host that stands."""

    OUT_OF_USE = "page out of use"
    UNMAPPED = "page unmapped"
    """Nobody can reach it; it is out of use as soon as its owner lets go of it."""
    IN_USE = "page still in use"
    """Somebody can reach it: the next read consumes the error."""
    FREE = "page still free"
    """It is given to the next who wants memory."""


class Dom0End(StrEnum):
    """What Dom0 learned."""

    ASKED = "Dom0 asked"
    TOLD = "Dom0 told"
    NOT_TOLD = "Dom0 not told"


@dataclass(frozen=True, slots=True)
class GuestFate:
    """One guest's end. ``channels`` are the ways in which it was told."""

    name: str
    end: GuestEnd
    channels: tuple[observer.Channel, ...] = ()

    def __str__(self) -> str:
        told = f" told by {' and '.join(self.channels)}," if self.channels else ""
        return f"{self.name}{told} {self.end}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a case ended on one side. ``evidence_kept``: a record survives the reset (ERST). ``page`` None: the error has
    no page, or no host stands. ``no_new_guests``: the host is degraded. ``guests`` is empty where the host does not
    stand: they went with it.
    """

    host: HostEnd
    dom0: Dom0End
    guests: tuple[GuestFate, ...] = ()
    page: PageEnd | None = None
    evidence_kept: bool = False
    no_new_guests: bool = False

    @property
    def is_unseen(self) -> bool:
        """Whether nobody did anything about the error, or heard of it."""
        untouched = all(each.end is GuestEnd.LIVES and not each.channels for each in self.guests)
        idle = self.page in {None, PageEnd.IN_USE, PageEnd.FREE}
        return self.host is HostEnd.STANDS and self.dom0 is Dom0End.NOT_TOLD and untouched and idle

    def __str__(self) -> str:
        if self.host is not HostEnd.STANDS:
            kept = "evidence kept" if self.evidence_kept else "no evidence kept"
            return f"{self.host}, {kept}"
        if self.is_unseen:
            return "nobody notices"
        degraded = "no new guests" if self.no_new_guests else None
        return "; ".join(filter(None, (*map(str, self.guests), self.page, degraded, self.dom0)))


class WatchedHost(ModelHost):
    """A model host that keeps what Dom0 fetched, and what happened."""

    def __init__(self, settings: HostSettings, *, seed: int, seat: TreatingSeat | None) -> None:
        self.fetched: list[Arrival] = []
        self.facts: list[observer.Fact] = []
        super().__init__(settings, seed=seed, seat=seat, observer=self.facts.append)

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``ModelHost.arrivals``."""
        arrived = super().arrivals()
        self.fetched += arrived
        return arrived


FactKind = TypeVar("FactKind", bound=observer.Fact)


@dataclass(slots=True)
class Scene:
    """A host with guests on it: what a case plays on. Pages that it names are those whose end is told."""

    host: WatchedHost
    loop: Loop | None
    names: dict[str, DomainId]
    pages: list[Frame] = field(default_factory=list)

    def address(self, guest: str, page: GuestFrame) -> PhysAddr:
        """Where a page of a guest is; it is one of those that are hit."""
        return self.hits(self.host.address(self.names[guest], page))

    def hits(self, addr: PhysAddr) -> PhysAddr:
        """The page of an address is one of those that are hit."""
        self.pages.append(Frame(addr >> PAGE_SHIFT))
        return addr

    def wait(self, ms: int) -> None:
        """Let time pass. Dom0 does what it has to do whenever something happens."""
        end_ms = self.host.now_ms() + ms
        self._dom0()
        while (left_ms := end_ms - self.host.now_ms()) > 0 and not self.host.halted:
            self.host.advance_to_next(min(left_ms, LONGEST_STEP_MS))
            self._dom0()

    def _dom0(self) -> None:
        if self.host.halted:
            return
        if self.loop is not None:
            self.loop.turn()
            return
        # A daemon that reads the telemetry and does nothing else (mcelog).
        while arrivals := self.host.arrivals():
            for each in arrivals:
                if not isinstance(each, Ended):
                    self.host.acknowledge(each.token)

    def living(self, guest: str) -> Domain | None:
        """A guest as long as it lives, and the host with it."""
        known = self.host.situation(None).domain(self.names[guest])
        return known if known is not None and known.lives and not self.host.halted else None

    def read_unless_warned(self, guest: str, page: GuestFrame) -> None:
        """A guest reads a page, unless it was told of an error or has begun anew."""
        number = self.names[guest]
        told = any(fact.domain == number for fact in self.of(observer.GuestTold))
        if not told and self.renewed(number) is None and self.living(guest) is not None:
            self.host.read(number, page)

    def of(self, kind: type[FactKind]) -> Iterator[FactKind]:
        """The facts of a kind."""
        return (fact for fact in self.host.facts if isinstance(fact, kind))

    def done(self, step: type[Step]) -> Iterator[Step]:
        """The orders of a kind that were carried out, whoever gave them."""
        carried = (fact for fact in self.of(observer.Carried) if isinstance(fact.order.step, step))
        return (fact.order.step for fact in carried if fact.result.status is Status.DONE)

    def renewed(self, domain: DomainId) -> GuestEnd | None:
        """How a domain's memory was made anew, if it was."""
        for step in self.done(RestoreDomain):
            if isinstance(step, RestoreDomain) and step.domain == domain:
                return GuestEnd.RESTORED
        for step in self.done(RestartDomain):
            if isinstance(step, RestartDomain) and step.domain == domain:
                return GuestEnd.RESTARTED
        return None

    # --- the end

    def ending(self) -> Ending:
        """How it stands now."""
        host = self._host_end()
        stands = host is HostEnd.STANDS
        return Ending(
            host=host,
            dom0=self._dom0_end(),
            guests=tuple(self._fate(name, number) for name, number in self.names.items()) if stands else (),
            page=self._page_end() if stands else None,
            evidence_kept=bool(self.host.erst),
            no_new_guests=any(self.done(DegradeHost)),
        )

    def _host_end(self) -> HostEnd:
        halted = next(self.of(observer.Halted), None)
        if halted is None:
            return HostEnd.STANDS
        if any(self.done(HaltHost)):
            return HostEnd.HALTS
        return HostEnd.PANICS if halted.panic else HostEnd.HANGS

    def _dom0_end(self) -> Dom0End:
        if any(self.done(AskDom0)):
            return Dom0End.ASKED
        told = any(isinstance(each, Telemetry | LeftOver) for each in self.host.fetched)
        return Dom0End.TOLD if told else Dom0End.NOT_TOLD

    def _fate(self, name: str, number: DomainId) -> GuestFate:
        channels = tuple(dict.fromkeys(fact.channel for fact in self.of(observer.GuestTold) if fact.domain == number))
        known = self.host.situation(None).domain(number)
        if known is None or not known.lives:
            end = GuestEnd.DIES if channels else GuestEnd.KILLED
        elif (renewed := self.renewed(number)) is not None:
            end = renewed
        else:
            end = GuestEnd.STOPPED if known.state is DomainState.PAUSED else GuestEnd.LIVES
        return GuestFate(name, end, channels)

    def _page_end(self) -> PageEnd | None:
        """The least that became of any of the pages."""
        found = {self._end_of(frame) for frame in self.pages}
        order = (PageEnd.FREE, PageEnd.IN_USE, PageEnd.UNMAPPED, PageEnd.OUT_OF_USE)
        return next((each for each in order if each in found), None)

    def _end_of(self, frame: Frame) -> PageEnd:
        facts = self.host.frame_facts(frame)
        if facts.use is FrameUse.OFFLINE:
            return PageEnd.OUT_OF_USE
        if facts.use in {FrameUse.FREE, FrameUse.BALLOONED}:
            return PageEnd.FREE
        if facts.use is FrameUse.HYPERVISOR or facts.mappings:
            return PageEnd.IN_USE
        return PageEnd.UNMAPPED
