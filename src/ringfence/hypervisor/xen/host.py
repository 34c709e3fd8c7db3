"""Xen, seen from Dom0: the port for a real machine. Xen acts alone at a machine check; what remains is Dom0's to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, assert_never

from ringfence.arch.mcg import SER_P
from ringfence.errors import HypervisorError
from ringfence.hypervisor import last_resorts
from ringfence.hypervisor.boot import Boot
from ringfence.hypervisor.mca_abi import LogicalCpu
from ringfence.hypervisor.port import Arrival, Capability, Ended, Token
from ringfence.hypervisor.telemetry import Dom0Reader, frames_named, running_of
from ringfence.hypervisor.xen import pages
from ringfence.hypervisor.xen.checkpoints import Checkpoints, disks_of
from ringfence.hypervisor.xen.deeds import already_done, is_of_earlier_boot
from ringfence.hypervisor.xen.domains import Domains
from ringfence.hypervisor.xen.domctl import Domctl
from ringfence.hypervisor.xen.event_channel import Silence
from ringfence.hypervisor.xen.guest_store import GuestStore
from ringfence.hypervisor.xen.parts import Parts
from ringfence.hypervisor.xen.privcmd import MCA
from ringfence.hypervisor.xen.retiring import Retiring
from ringfence.hypervisor.xen.sysctl import DomainFlag, Sysctl
from ringfence.hypervisor.xen.telemetry import Queues
from ringfence.quick import changed
from ringfence.record.evidence import Record
from ringfence.world.domain import Dom0State, Domain, DomainKind, DomainState
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, StepId
from ringfence.world.situation import Destination, Platform, Running, Situation
from ringfence.world.steps import (
    AskDom0,
    DegradeHost,
    DestroyDomain,
    DrainHost,
    ExchangeFrame,
    HaltHost,
    HealHost,
    InjectVmce,
    IsolateFrame,
    LastWords,
    MigrateDomain,
    NotifyDom0,
    NotifyGuest,
    OfflineCpu,
    OfflineFrame,
    OnlineCpu,
    OnlineFrame,
    Order,
    PauseDomain,
    RestartDomain,
    RestoreDomain,
    Result,
    SaveDomain,
    SaveEvidence,
    ShutDownDomain,
    Status,
    UnpauseDomain,
)
from ringfence.world.treatment import Dom0Says, StepEnded

CAPABILITIES: Final = (
    Capability.PAUSE
    | Capability.SAVE
    | Capability.RESTORE
    | Capability.SHUT_DOWN
    | Capability.RESTART
    | Capability.DESTROY
    | Capability.OFFLINE_FRAME
    | Capability.OFFLINE_CPU
    | Capability.HALT
    | Capability.FRAME_OWNER
)
"""No hypercall takes mappings away, or injects a vMCE for Dom0: Xen does these itself, or not. Why pages of PV guests
are not exchanged: docs/decisions/0017. MIGRATE is added where another host is configured, NOTIFY_GUEST where agents in
guests are heard (docs/guest.md): which guests have one, their handler says."""

DISK_PAGES_PER_S: Final = 25_600
"""What the disk of saved domains is taken to carry, 100 MB/s, for feasibility (B.6): nobody has measured it here."""

MEETS_MS: Final = 2_000
"""So often Xen is asked for new domains, for the sake of their agents: one hypercall."""

_MCA_BUFFER_AT: Final = 4096
_MOST_CPU: Final = 0xFFFF_FFFF


class XenHost:
    """A PV Dom0 on Xen. Implements ``port.Hypervisor``. One thread uses it; ``ready`` is for another to wait on.

    ``version`` is Xen's ("4.20.3"). Raises HypervisorError if Xen does not answer this domain.
    """

    def __init__(self, boot: Boot, state_dir: Path, parts: Parts, version: str) -> None:
        self._boot, self._parts, self._version = boot, parts, version
        self._gate, self._operations = parts.gate, parts.operations
        self._sysctl = Sysctl(parts.gate)
        self._domctl = Domctl(parts.gate)
        self._checkpoints = Checkpoints(state_dir / "saved", boot.id)
        self._domains = Domains(parts.store, self._checkpoints, self.now_ms)
        self._retiring = Retiring(self._sysctl)
        self._saves: set[StepId] = set()
        self._meets_ms = 0
        self._cpu_orders: dict[StepId, OfflineCpu | OnlineCpu] = {}
        self._reader = Dom0Reader(self._hypercall_mca, parts.gate.address + _MCA_BUFFER_AT)
        cpus = self._reader.cpus()
        if not cpus:
            raise HypervisorError(
                "Xen does not answer hypercall 48 (machine checks)",
                advice="It does so for a PV Dom0 only: boot Xen without dom0=pvh, and run Ringfence as root.",
            )
        self._queues = Queues(self._reader, cpus)
        self._listens = not isinstance(parts.channel, Silence)
        self._platform = _platform(cpus, parts)
        self._moves_pv = self._sysctl.physinfo().has_shadow

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``: "Xen 4.20.3"."""
        return f"Xen {self._version}"

    @property
    def capabilities(self) -> Capability:
        """As ``port.Hypervisor.capabilities``."""
        given = CAPABILITIES if self._parts.elsewhere is None else CAPABILITIES | Capability.MIGRATE
        return given if self._parts.guests is None else given | Capability.NOTIFY_GUEST

    @property
    def boot(self) -> int:
        """As ``port.Hypervisor.boot``."""
        return self._boot.number

    def now_ms(self) -> int:
        """As ``port.Hypervisor.now_ms``."""
        return self._boot.now_ms()

    @property
    def ready(self) -> int:
        """The file that becomes readable when Xen has something to tell."""
        return self._parts.channel.file

    @property
    def is_busy(self) -> bool:
        """Whether an operation runs whose end will be an arrival."""
        return self._operations.is_busy or (self._parts.guests is not None and self._parts.guests.is_busy)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong now, a sentence each: guests' agents that cannot be heard."""
        guests = self._parts.guests
        return (guests.problem,) if guests is not None and guests.problem else ()

    # --- what arrives ----------------------------------------------------------------------------------------------

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``port.Hypervisor.arrivals``: the oldest entry of each queue, until it is acknowledged."""
        self._parts.channel.take()
        ended = tuple(Ended(StepEnded(order, result)) for order, result in self._ended())
        if not self._listens:
            # The kernel's driver empties the queues: who fetched here would take from it what it has begun to read.
            return ended
        return (*self._queues.arrivals(urgent=True), *ended, *self._queues.arrivals(urgent=False))

    def _ended(self) -> tuple[tuple[StepId, Result], ...]:
        found = []
        for order, result in self._operations.ended():
            if order in self._saves:
                self._saves.discard(order)
                self._checkpoints.ended(order, done=result.status is Status.DONE)
            found.append((order, self._cpu_seen(order, result)))
        told = () if self._parts.guests is None else self._told(self._parts.guests)
        return (*found, *told, *self._retiring.ended(self.now_ms()))

    def _told(self, guests: GuestStore) -> tuple[tuple[StepId, Result], ...]:
        """What agents have answered. Domains come without a word: where nothing else asks for the situation, it is here
        that an agent of a new one is heard.
        """
        now_ms = self.now_ms()
        if now_ms >= self._meets_ms:
            self._meets_ms = now_ms + MEETS_MS
            guests.keep(self._domains.here(tuple(self._sysctl.domains())))
        return guests.ended(now_ms)

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``."""
        self._queues.acknowledge(token)

    def _hypercall_mca(self, _caller: DomainId, argument: bytes, size: int) -> tuple[int, bytes, bytes]:
        at = self._gate.write(0, argument)
        self._gate.write(_MCA_BUFFER_AT, bytes(size))
        try:
            result = self._gate.call(MCA, at)
        except OSError as error:
            return -(error.errno or 1), argument, bytes(size)
        return result, self._gate.read(0, len(argument)), self._gate.read(_MCA_BUFFER_AT, size)

    # --- the situation ---------------------------------------------------------------------------------------------

    def situation(self, record: Record | None) -> Situation:
        """As ``port.Hypervisor.situation``."""
        domains = self._domains.seen(tuple(self._sysctl.domains()))
        frames = () if record is None else tuple(frames_named(record))
        facts = tuple(
            pages.numbered(pages.facts(frame, record, domains, self._domctl.owns), domains, self._parts.numbers)
            for frame in frames
            if record is not None
        )
        domains = tuple(each if self._may_move(each) else changed(each, may_migrate=False) for each in domains)
        if self._parts.guests is not None:
            domains = self._parts.guests.seen(domains, self.now_ms())
        return Situation(
            now_ms=self.now_ms(),
            dom0=Dom0State(has_handler=True),
            domains=domains,
            frames=facts,
            running=Running() if record is None else running_of(record),
            platform=self._platform,
            earlier_boot=record is not None and is_of_earlier_boot(record),
            already_done=() if record is None else already_done(record, domains),
            destination=self._destination(),
            free_pages=self._sysctl.physinfo().free_pages,
        )

    def _may_move(self, domain: Domain) -> bool:
        """Whether Xen can follow what a guest writes while it is copied (xen/arch/x86/mm/paging.c, log dirty mode)."""
        return domain.kind is not DomainKind.PV or self._moves_pv

    def _destination(self) -> Destination | None:
        return None if self._parts.elsewhere is None else self._parts.elsewhere.destination()

    # --- orders ----------------------------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> Result:
        """As ``port.Hypervisor.carry_out``."""
        step = order.step
        match step:
            case PauseDomain() | UnpauseDomain() | DestroyDomain() | SaveDomain() | RestoreDomain():
                return self._on_domain(order.id, step)
            case ShutDownDomain() | RestartDomain() | MigrateDomain():
                return self._on_domain(order.id, step)
            case OfflineFrame():
                return self._offline(order.id, step)
            case OnlineFrame(frame=frame):
                return pages.onlined(self._sysctl, frame)
            case OfflineCpu() | OnlineCpu():
                return self._switch(order.id, step)
            case NotifyGuest() if self._parts.guests is not None:
                return self._parts.guests.tell(order, self.now_ms())
            case NotifyGuest():
                return Result(Status.REFUSED, "no agents of guests are heard here")
            case LastWords():
                return last_resorts.last_words(self._queues.unacknowledged)
            case HaltHost():
                return last_resorts.halt()
            case (
                NotifyDom0() | AskDom0() | SaveEvidence() | HealHost() | DegradeHost() | DrainHost() | IsolateFrame()
                | ExchangeFrame() | InjectVmce()
            ):  # fmt: skip
                return Result(Status.REFUSED, f"{self.name} has no call for it")
            case _:
                assert_never(step)

    def _on_domain(self, order: StepId, step: _OnDomain) -> Result:
        known = self._domains.one(step.domain, tuple(self._sysctl.domains()))
        if known is None or known.is_dom0:
            return Result(Status.REFUSED, f"there is no guest {step.domain}")
        if isinstance(step, RestoreDomain):
            return self._restore(order, known)
        if known.state is DomainState.SAVED:
            return Result(Status.REFUSED, "it is saved: it can be restored")
        if isinstance(step, RestartDomain):
            return self._operations.restart(order, known)
        if isinstance(step, DestroyDomain):
            return self._operations.begin(order, ("destroy", str(known.id)))
        if not known.lives:
            return Result(Status.REFUSED, f"it is {known.state}")
        match step:
            case PauseDomain():
                return _hypercall(lambda: self._pause(known.id))
            case UnpauseDomain():
                return self._unpause(known)
            case SaveDomain():
                return self._save(order, known)
            case ShutDownDomain():
                return self._operations.begin(order, ("shutdown", "-w", str(known.id)))
            case MigrateDomain(destination=destination):
                return self._migrate(order, known, destination)

    def _pause(self, domain: DomainId) -> None:
        """Xen counts pauses: one that is paused already stays so."""
        known = next(iter(info for info in self._sysctl.domains(domain) if info.domain == domain), None)
        if known is None or DomainFlag.PAUSED not in known.flags:
            self._domctl.pause(domain)

    def _unpause(self, known: Domain) -> Result:
        if known.state is not DomainState.PAUSED:
            return Result(Status.DONE, "it was not paused")
        return _hypercall(lambda: self._domctl.unpause(known.id))

    def _save(self, order: StepId, known: Domain) -> Result:
        if known.state is DomainState.PAUSED and known.kind is not DomainKind.HVM:
            why = "it is paused, and its own kernel has a part in saving it: it would have to run for that"
            return Result(Status.REFUSED, why)
        disks = disks_of(known.id, self._parts.store)
        if disks is None and not self._parts.store.directory(f"/libxl/{known.id}"):
            # Who is overloaded now is asked again later: a guest is not stopped for good by that.
            why = "the xenstore does not say which disks it has, and without that it could not be restored"
            return Result(Status.FAILED, why)
        try:
            file = self._checkpoints.begun(order, known, self.now_ms(), disks)
        except OSError as error:
            return Result(Status.FAILED, f"nothing can be written beside the saved domains: {error.strerror}")
        self._saves.add(order)
        return self._operations.save(order, known.id, file)

    def _restore(self, order: StepId, known: Domain) -> Result:
        """From the last save, if the disks are what they were then; a domain that is here makes room for it."""
        file = self._checkpoints.restorable(known.uuid)
        if file is None:
            return Result(Status.REFUSED, self._checkpoints.why_not(known.uuid))
        return self._operations.restore(order, file, None if known.state is DomainState.SAVED else known.id)

    def _migrate(self, order: StepId, known: Domain, destination: str) -> Result:
        other = self._parts.elsewhere
        if other is None:
            return Result(Status.REFUSED, "no other host is configured")
        there = other.destination()
        if there.name != destination:
            return Result(Status.REFUSED, f"there is no host {destination!r} to move to")
        if not there.healthy:
            return Result(Status.REFUSED, f"{destination} does not answer as it should")
        if not self._may_move(known):
            return Result(Status.REFUSED, "this Xen was built without shadow paging: no PV guest can be moved")
        seen = self.situation(None).domain(known.id)
        if seen is None or not seen.may_migrate:
            return Result(Status.REFUSED, "a device of this host is passed through to it")
        if there.free_pages < known.memory_pages:
            why = f"{destination} has room for {there.free_pages:,} pages, and it has {known.memory_pages:,}"
            return Result(Status.REFUSED, why)
        return self._operations.begin(order, ("migrate", *other.words, str(known.id), destination))

    def _offline(self, order: StepId, step: OfflineFrame) -> Result:
        result = pages.offlined(self._sysctl, step.frame, step.pages)
        if result.status is Status.PENDING:
            self._retiring.follow(order, step)
        return result

    def _switch(self, order: StepId, step: OfflineCpu | OnlineCpu) -> Result:
        if step.cpu == 0 and isinstance(step, OfflineCpu):
            return Result(Status.REFUSED, "Xen takes CPU 0 out of use for nobody")
        if not 0 <= step.cpu <= _MOST_CPU:
            return Result(Status.REFUSED, f"there is no CPU {step.cpu}")
        self._cpu_orders[order] = step
        return self._operations.cpu(order, step.cpu, online=isinstance(step, OnlineCpu))

    def _cpu_seen(self, order: StepId, result: Result) -> Result:
        """What is said of a CPU is held against the list of those that Xen has in use."""
        step = self._cpu_orders.pop(order, None)
        if step is None or result.status is not Status.DONE:
            return result
        in_use = step.cpu in {CpuId(each.cpunr) for each in self._reader.cpus()}
        if in_use is isinstance(step, OnlineCpu):
            return result
        return Result(Status.FAILED, f"CPU {step.cpu} is {'in' if in_use else 'out of'} use all the same")

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``. The end of what still lasts will be told, of a page that waits, too."""
        if isinstance(order.step, OfflineFrame):
            result = pages.state(self._sysctl, order.step)
            if result.status is Status.PENDING:
                self._retiring.follow(order.id, order.step)
            return result
        if isinstance(order.step, NotifyGuest) and self._parts.guests is not None:
            return self._parts.guests.probe(order.id)
        result = self._operations.probe(order.id)
        if result.status is Status.RUNNING:
            self._operations.watch(order.id)
            if isinstance(order.step, SaveDomain):
                self._saves.add(order.id)  # what its disks are when it ends, is then seen
        return result

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``: Xen asks nobody."""
        why = f"{self.name} acts alone: it has not asked about domain {domain} in case {case} ({says})"
        return Result(Status.REFUSED, why)

    def heed_lost(self, frames: Iterable[Frame]) -> None:
        """As ``port.Hypervisor.heed_lost``: Xen moves no page, so that it reads none."""

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``: Xen does not wait for it."""


_OnDomain = (
    PauseDomain
    | UnpauseDomain
    | DestroyDomain
    | SaveDomain
    | RestoreDomain
    | ShutDownDomain
    | RestartDomain
    | MigrateDomain
)


def _platform(cpus: Sequence[LogicalCpu], parts: Parts) -> Platform:
    poisons = any(cpu.mcg_cap and SER_P.of(cpu.mcg_cap) for cpu in cpus)
    return Platform(
        poisons=poisons or None,
        poisons_because="MCG_CAP.SER_P is set" if poisons else "no MCG_CAP.SER_P, and Xen does not tell of SUCCOR",
        migration_pages_per_s=0 if parts.elsewhere is None else parts.elsewhere.pages_per_s,
        disk_pages_per_s=DISK_PAGES_PER_S,
        skips_broken_pages=True,
    )


def _hypercall(what: Callable[[], None]) -> Result:
    try:
        what()
    except OSError as error:
        return Result(Status.FAILED, f"Xen answers {error.strerror} ({error.errno})")
    return Result(Status.DONE)
