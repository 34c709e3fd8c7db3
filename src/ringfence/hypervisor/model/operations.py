"""What takes time: save, restore, migrate, shut down, restart a domain; copy a page; drain the host.

How long: pages against what disk and link carry. A copy reads every page that is not marked as broken, so a page that
has gone bad unseen is consumed then, by Dom0 (Xen and the toolstack send a broken page as "no data").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Final, Protocol

from ringfence.hypervisor.model.accesses import Accesses
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.domains import FIRST_VCPU, DomainSpec, ModelDomain
from ringfence.hypervisor.model.life import Life
from ringfence.world.domain import Checkpoint, DomainState
from ringfence.world.identities import DOM0, PAGE_SHIFT, CpuId, DomainId, Frame, PhysAddr
from ringfence.world.situation import Context, Destination, Running
from ringfence.world.steps import Result, Status

OnEnd = Callable[[Result], None]

_IS_BUSY: Final = attrgetter("busy")

BOOT_MS: Final = 3_000
"""A guest's way from its start to work, when it is restarted."""
SHUTDOWN_MS: Final = 5_000
"""A guest's orderly shutdown."""
EXCHANGE_MS: Final = 5
"""Copying one page, with the domain stopped for it."""
MOST_PASSES: Final = 4
"""A live migration goes over what was written meanwhile so often, then it stops the domain and sends the rest."""


class OtherHost(Protocol):
    """A host that guests can move to."""

    @property
    def destination(self) -> Destination:
        """How it stands."""
        ...

    def receive(self, spec: DomainSpec) -> bool:
        """Takes a guest in; False if it cannot."""
        ...


@dataclass(frozen=True, slots=True)
class Rates:
    """Pages a second that the link and the disk carry."""

    migration: int
    disk: int


class Operations:
    """Operations on domains that take time. ``bad_lines`` are the addresses where something may be wrong."""

    def __init__(
        self, core: Core, life: Life, accesses: Accesses, rates: Rates, bad_lines: Callable[[], tuple[PhysAddr, ...]]
    ) -> None:
        self._core = core
        self._life = life
        self._accesses = accesses
        self._rates = rates
        self._bad_lines = bad_lines
        self.other: OtherHost | None = None

    @property
    def running(self) -> int:
        """How many are running."""
        return sum(map(_IS_BUSY, self._life.domains))

    def standing(self) -> tuple[Destination | None, int]:
        """The other host, and how many operations are running: for situations."""
        return (None if self.other is None else self.other.destination), self.running

    # --- each operation ------------------------------------------------------------------------------------------

    def save(self, number: DomainId, on_end: OnEnd) -> Result:
        """Stops a domain and writes its memory to disk."""
        domain = self._usable(number)
        if isinstance(domain, Result):
            return domain
        ran = domain.state is DomainState.RUNNING
        self._life.pause(domain, "it is being saved")
        return self._begin(domain, self._disk_ms(domain), lambda: self._saved(domain, ran=ran), on_end)

    def restore(self, number: DomainId, on_end: OnEnd) -> Result:
        """Brings a domain back as it was at its last checkpoint, together with its disks."""
        domain = self._life.get(number)
        if domain is None or domain.is_dom0:
            return Result(Status.REFUSED, f"there is no guest {number}")
        if domain.busy:
            return Result(Status.REFUSED, "another operation on it is running")
        if domain.checkpoint is None:
            return Result(Status.REFUSED, "it has no checkpoint")
        if not domain.checkpoint.disks_of_same_moment:
            return Result(Status.REFUSED, "its disks went on since the checkpoint: a restore would corrupt them")
        if domain.lives:
            self._life.pause(domain, "it is being restored")
        return self._begin(domain, self._disk_ms(domain), lambda: self._renew(domain, "restored"), on_end)

    def migrate(self, number: DomainId, destination: str, on_end: OnEnd) -> Result:
        """Moves a domain to the other host while it runs."""
        domain = self._usable(number)
        if isinstance(domain, Result):
            return domain
        other = self.other
        if other is None or other.destination.name != destination:
            return Result(Status.REFUSED, f"there is no host {destination!r} to move to")
        if not other.destination.healthy:
            return Result(Status.REFUSED, f"{destination} is not healthy")
        if not domain.seen().may_migrate:
            return Result(Status.REFUSED, "it is tied to this host")
        if self._rates.migration < 1:
            return Result(Status.REFUSED, "no link to another host")
        return self._begin(domain, self._migration_ms(domain), lambda: self._moved(domain, other), on_end)

    def shut_down(self, number: DomainId, on_end: OnEnd) -> Result:
        """Asks a domain to shut down in order; a guest that does not run, or does not listen, does not."""
        domain = self._usable(number)
        if isinstance(domain, Result):
            return domain
        if domain.spec is not None and domain.spec.behaviour == "ignores":
            return self._begin(domain, SHUTDOWN_MS, lambda: "it did not react to the request", on_end)

        def down() -> str | None:
            if domain.state is DomainState.PAUSED:
                return "it is paused: it cannot shut down"
            self._life.end(domain, DomainState.SHUT_DOWN, "it was asked to shut down")
            return None

        return self._begin(domain, SHUTDOWN_MS, down, on_end)

    def restart(self, number: DomainId, on_end: OnEnd) -> Result:
        """Ends a domain and boots it from its disks."""
        domain = self._life.get(number)
        if domain is None or domain.is_dom0 or domain.spec is None:
            return Result(Status.REFUSED, f"there is no guest {number}")
        if domain.busy or domain.state is DomainState.MIGRATED:
            return Result(Status.REFUSED, "another operation on it is running, or it is on another host")
        if domain.lives:
            self._life.pause(domain, "it is being restarted")
        return self._begin(domain, BOOT_MS, lambda: self._renew(domain, "restarted"), on_end)

    def exchange(self, number: DomainId, frame: Frame, on_end: OnEnd) -> Result:
        """Copies a page that is still good to another frame, and takes the old one out of use."""
        domain = self._usable(number)
        if isinstance(domain, Result):
            return domain
        owner = self._life.frames.owner(frame)
        if owner is None or owner.domain != number:
            return Result(Status.REFUSED, f"domain {number} does not have frame {frame:#x}")
        if owner.whole_superpage:
            return Result(Status.REFUSED, "it is part of a superpage that cannot be split")
        if self._life.frames.is_broken(frame):
            return Result(Status.REFUSED, "the page is lost: there is nothing good to copy")
        if not self._life.frames.free_pages:
            return Result(Status.REFUSED, "no page is free")

        def copy() -> str | None:
            if not self._copy((frame,)):
                return "the page could not be read"
            try:
                self._life.exchange(domain, frame)
            except (KeyError, MemoryError) as error:
                return str(error)
            return None

        return self._begin(domain, EXCHANGE_MS, copy, on_end)

    def drain(self, on_end: OnEnd) -> Result:
        """Moves every guest that can be moved; done when the last has moved, failed if one could not."""
        other = self.other
        if other is None:
            return Result(Status.REFUSED, "there is no other host")
        waiting: set[DomainId] = set()
        failed: list[str] = []

        def ended(domain: DomainId, result: Result) -> None:
            waiting.discard(domain)
            if result.status is not Status.DONE:
                failed.append(f"domain {domain}: {result.because}")
            if not waiting:
                on_end(_of_drain(failed))

        name = other.destination.name
        for domain in [each for each in self._life.domains if each.lives and not each.is_dom0]:
            result = self.migrate(domain.id, name, partial(ended, domain.id))
            if result.status is Status.RUNNING:
                waiting.add(domain.id)
            else:
                failed.append(f"domain {domain.id}: {result.because}")
        if waiting:
            return Result(Status.RUNNING, f"{len(waiting)} guests are moving to {name}")
        return _of_drain(failed)

    # --- within --------------------------------------------------------------------------------------------------

    def _usable(self, number: DomainId) -> ModelDomain | Result:
        domain = self._life.get(number)
        if domain is None or domain.is_dom0:
            return Result(Status.REFUSED, f"there is no guest {number}")
        if not domain.lives:
            return Result(Status.REFUSED, f"domain {number} is {domain.state}")
        if domain.busy:
            return Result(Status.REFUSED, "another operation on it is running")
        return domain

    def _begin(self, domain: ModelDomain, ms: int, act: Callable[[], str | None], on_end: OnEnd) -> Result:
        """Runs ``act`` after its time; what it returns is why it failed. A domain that ended meanwhile is a failure."""
        domain.busy = True
        incarnation, lived = domain.incarnation, domain.lives

        def finish() -> None:
            domain.busy = False
            if domain.incarnation != incarnation or domain.lives != lived:
                on_end(Result(Status.FAILED, f"the domain ended meanwhile: it is {domain.state}"))
                return
            why = act()
            on_end(Result(Status.DONE) if why is None else Result(Status.FAILED, why))

        self._core.after_ms(ms, finish)
        return Result(Status.RUNNING, f"takes about {ms} ms")

    def _saved(self, domain: ModelDomain, *, ran: bool) -> str | None:
        if not self._copy(self._suspicious(domain)):
            if ran:
                self._life.resume(domain, "it could not be saved")
            return "a page of it could not be read"
        domain.checkpoint = Checkpoint(taken_ms=self._core.now_ms, disks_of_same_moment=True)
        self._life.end(domain, DomainState.SAVED, "saved")
        return None

    def _moved(self, domain: ModelDomain, other: OtherHost) -> str | None:
        if not self._copy(self._suspicious(domain)):
            return "a page of it could not be read"
        if domain.spec is None or not other.receive(domain.spec):
            return f"{other.destination.name} could not take it"
        self._life.end(domain, DomainState.MIGRATED, f"moved to {other.destination.name}")
        return None

    def _renew(self, domain: ModelDomain, because: str) -> str | None:
        try:
            self._life.renew(domain, because)
        except MemoryError as error:
            self._life.end(domain, DomainState.DESTROYED, f"it could not be {because}: {error}")
            return str(error)
        return None

    def _copy(self, frames: tuple[Frame, ...]) -> bool:
        """Dom0's toolstack reads pages of a domain, on the CPU of its first vCPU."""
        cpu: CpuId = self._life.scheduler.cpu_of(DOM0, FIRST_VCPU)
        acting = Running(cpu=cpu, context=Context.GUEST, domain=DOM0, vcpu=FIRST_VCPU)
        return self._accesses.copy_out(frames, cpu, acting)

    def _suspicious(self, domain: ModelDomain) -> tuple[Frame, ...]:
        """The pages of a domain that are not good and not marked: of all others, reading does nothing."""
        frames = dict.fromkeys(Frame(line >> PAGE_SHIFT) for line in self._bad_lines())
        return tuple(
            frame
            for frame in frames
            if not self._life.frames.is_broken(frame)
            and (owner := self._life.frames.owner(frame)) is not None
            and owner.domain == domain.id
        )

    def _disk_ms(self, domain: ModelDomain) -> int:
        return max(1, domain.memory_pages * 1000 // max(1, self._rates.disk))

    def _migration_ms(self, domain: ModelDomain) -> int:
        """Each pass sends what was written during the one before."""
        dirty = domain.seen().dirty_pages_per_s or 0
        pages, total_ms = domain.memory_pages, 0
        for _ in range(MOST_PASSES):
            pass_ms = pages * 1000 // self._rates.migration
            total_ms += pass_ms
            pages = min(domain.memory_pages, dirty * pass_ms // 1000)
        return max(1, total_ms + pages * 1000 // self._rates.migration)


def _of_drain(failed: list[str]) -> Result:
    if failed:
        return Result(Status.FAILED, "; ".join(failed))
    return Result(Status.DONE, "no guest is left that could move")
