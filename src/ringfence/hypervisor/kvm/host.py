"""KVM, seen from the host: the port. The kernel gives pages up and QEMU tells its guest; what remains is done here.

The host's kernel is the hypervisor of the concept, and the host's own processes are Dom0. Evidence comes by the
sources of the host (``service.sources``); by the port come only the ends of orders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from ringfence.hypervisor.boot import Boot
from ringfence.hypervisor.kvm.aside import Aside, Trace, Work
from ringfence.hypervisor.kvm.guests import Guest, Guests
from ringfence.hypervisor.kvm.kernel_pages import KernelPages
from ringfence.hypervisor.kvm.libvirt_operations import LibvirtOperations
from ringfence.hypervisor.kvm.numbering import Numbering
from ringfence.hypervisor.kvm.other_host import OtherHost
from ringfence.hypervisor.port import Arrival, Capability, Ended, Token
from ringfence.hypervisor.telemetry import running_of
from ringfence.record.evidence import Record
from ringfence.world.domain import Checkpoint, Dom0State, Domain, DomainKind, DomainState
from ringfence.world.identities import DOM0, CaseId, DomainId, Frame
from ringfence.world.situation import Platform, Running, Situation
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

PROMPT_S: Final = 2.0
"""A short order is waited for so long: libvirt's suspend takes some milliseconds, a stuck libvirtd takes for ever."""
PAGE_S: Final = 1.0
"""The same of a page: the kernel empties its per-CPU lists and splits a huge page within milliseconds."""
DISK_PAGES_PER_S: Final = 25_600
"""What the disk of saved domains is taken to carry, 100 MB/s, for feasibility (B.6): nobody has measured it here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says of KVM. ``libvirt`` and ``destination`` are URIs, empty for none."""

    libvirt: str = "qemu:///system"
    destination: str = ""
    migration_pages_per_s: int = 25_600


class KvmHost:
    """A Linux host with KVM. Implements ``port.Hypervisor``. One thread uses it; another may wait on ``ready``."""

    def __init__(self, boot: Boot, state_dir: Path, settings: Settings, guests: Guests | None = None) -> None:
        self._boot, self._settings = boot, settings
        self._aside = Aside(state_dir / "operations")
        self._numbering = Numbering(state_dir, boot.number)
        self._guests = guests or Guests(settings.libvirt)
        self._guests.changed = self._aside.wake
        self._libvirt = LibvirtOperations(settings.libvirt)
        self._other = OtherHost(settings.destination)
        self._pages = KernelPages()
        self._domains: tuple[tuple[Guest, ...], tuple[Domain, ...]] = ((), ())
        self._guests.start()
        self._other.start()

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``: "KVM (QEMU 10.0.8, libvirt 11.3.0)"."""
        qemu, libvirt = self._guests.sight.versions
        parts = [*([f"QEMU {qemu}"] if qemu else []), *([f"libvirt {libvirt}"] if libvirt else [])]
        return f"KVM ({', '.join(parts)})" if parts else "KVM"

    @property
    def capabilities(self) -> Capability:
        """As ``port.Hypervisor.capabilities``."""
        found = Capability.PAUSE | Capability.DESTROY | Capability.SHUT_DOWN | Capability.OFFLINE_CPU | Capability.HALT
        if self._settings.libvirt:
            found |= Capability.SAVE | Capability.RESTORE | Capability.RESTART
            if self._settings.destination:
                found |= Capability.MIGRATE
        return found | Capability.ISOLATE_FRAME | Capability.OFFLINE_FRAME | Capability.EXCHANGE_FRAME

    @property
    def boot(self) -> int:
        """As ``port.Hypervisor.boot``."""
        return self._boot.number

    def now_ms(self) -> int:
        """As ``port.Hypervisor.now_ms``."""
        return self._boot.now_ms()

    @property
    def ready(self) -> int:
        """The file that becomes readable when an order has ended, or domains have changed."""
        return self._aside.ready

    @property
    def is_busy(self) -> bool:
        """Whether an order runs whose end nothing announces: each announces its own."""
        return False

    # --- what arrives ----------------------------------------------------------------------------------------------

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``port.Hypervisor.arrivals``: ends of orders."""
        return tuple(Ended(StepEnded(order, result)) for order, result in self._aside.ended())

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``: nothing that comes this way waits to be forgotten."""

    # --- the situation ---------------------------------------------------------------------------------------------

    def situation(self, record: Record | None) -> Situation:
        """As ``port.Hypervisor.situation``."""
        return Situation(
            now_ms=self.now_ms(),
            dom0=Dom0State(has_handler=True),
            domains=self._all_domains(),
            running=Running() if record is None else running_of(record),
            platform=Platform(
                disk_pages_per_s=DISK_PAGES_PER_S if self._settings.libvirt else 0,
                migration_pages_per_s=self._settings.migration_pages_per_s if self._settings.destination else 0,
            ),
            destination=self._other.seen,
            operations_running=0,
        )

    def _all_domains(self) -> tuple[Domain, ...]:
        guests = self._guests.sight.guests
        if guests is not self._domains[0]:
            found = (_DOM0, *(self._domain(each) for each in guests))
            self._numbering.keep()
            self._domains = guests, found
        return self._domains[1]

    def _domain(self, guest: Guest) -> Domain:
        known = self._numbering.number(guest.key, guest.process.identity if guest.process is not None else None)
        saved = guest.state is DomainState.SAVED
        return Domain(
            id=DomainId(known.number),
            name=guest.name,
            kind=DomainKind.HVM,
            uuid=guest.uuid,
            state=guest.state,
            vcpus=guest.vcpus,
            memory_pages=guest.memory_pages,
            may_migrate=guest.by_libvirt and not guest.details.passed_through,
            # It has not run since: nothing came after its save, and its disks are as they were.
            checkpoint=Checkpoint(taken_ms=self.now_ms(), disks_of_same_moment=True) if saved else None,
            incarnation=known.incarnation,
        )

    def _guest(self, domain: DomainId) -> Guest | None:
        self._all_domains()
        key = self._numbering.key_of(domain)
        return None if key is None else self._guests.sight.guest(key)

    # --- orders ----------------------------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> Result:  # noqa: PLR0912 (one arm a step, a table)
        """As ``port.Hypervisor.carry_out``."""
        step, libvirt = order.step, self._libvirt
        match step:
            case PauseDomain(domain=domain):
                return self._promptly(order, domain, libvirt.pause)
            case UnpauseDomain(domain=domain):
                return self._promptly(order, domain, libvirt.unpause)
            case DestroyDomain(domain=domain):
                return self._promptly(order, domain, libvirt.destroy)
            case SaveDomain(domain=domain):
                return self._begin(order, domain, "save", libvirt.save)
            case RestoreDomain(domain=domain):
                return self._begin(order, domain, "restore", libvirt.restore)
            case RestartDomain(domain=domain):
                return self._begin(order, domain, "restart", libvirt.restart)
            case ShutDownDomain(domain=domain):
                return self._begin(order, domain, "shut down", libvirt.shut_down)
            case MigrateDomain(domain=domain):
                return self._begin(
                    order, domain, "migrate", lambda key: libvirt.migrate(key, self._settings.destination)
                )
            case IsolateFrame(frame=frame, pages=count):
                return self._bounded(order, lambda: self._each(frame, count, self._pages.hard_offline), PAGE_S)
            case OfflineFrame(frame=frame, pages=count):
                return self._bounded(order, lambda: self._each(frame, count, self._pages.soft_offline), PAGE_S)
            case ExchangeFrame(frame=frame):
                return self._bounded(order, lambda: self._pages.soft_offline(frame), PAGE_S)
            case OfflineCpu(cpu=cpu):
                return self._bounded(order, lambda: self._pages.cpu(cpu, online=False), PROMPT_S)
            case OnlineCpu(cpu=cpu):
                return self._bounded(order, lambda: self._pages.cpu(cpu, online=True), PROMPT_S)
            case OnlineFrame():
                return Result(Status.REFUSED, "a page that the kernel holds for broken is not put back into use")
            case (
                NotifyDom0() | AskDom0() | SaveEvidence() | HealHost() | DegradeHost() | DrainHost() | NotifyGuest()
                | InjectVmce() | LastWords() | HaltHost()
            ):  # fmt: skip
                return Result(Status.REFUSED, f"{self.name} has no call for it")
            case _:
                assert_never(step)

    def _migrate(self, key: str) -> Result:
        return self._libvirt.migrate(key, self._settings.destination)

    def _operated(self, domain: DomainId, what: Callable[[str], Result]) -> Work | Result:
        guest = self._guest(domain)
        if guest is None or domain == DOM0:
            return Result(Status.REFUSED, f"there is no guest {domain}")
        if not guest.by_libvirt:
            return Result(Status.REFUSED, "libvirt does not know it")
        return lambda: self._seen_after(what(guest.key))

    def _seen_after(self, result: Result) -> Result:
        """A result, after a look: who hears it sees what it changed."""
        self._guests.look()
        return result

    def _promptly(self, order: Order, domain: DomainId, what: Callable[[str], Result]) -> Result:
        work = self._operated(domain, what)
        if isinstance(work, Result):
            return work
        result = self._aside.begin(order.id, work, wait_s=PROMPT_S)
        if result.status is Status.RUNNING:
            return Result(Status.FAILED, f"libvirt has not answered within {PROMPT_S:g} s; it may still do it")
        return result

    def _begin(self, order: Order, domain: DomainId, what: str, how: Callable[[str], Result]) -> Result:
        work = self._operated(domain, how)
        if isinstance(work, Result):
            return work
        guest = self._guest(domain)
        process = guest.process.identity if guest is not None and guest.process is not None else None
        key = guest.key if guest is not None else ""
        trace = Trace(what=what, key=key, process=process, destination=self._settings.destination)
        return self._aside.begin(order.id, work, trace=trace)

    def _bounded(self, order: Order, work: Work, wait_s: float) -> Result:
        return self._aside.begin(order.id, work, wait_s=wait_s)

    @staticmethod
    def _each(first: Frame, count: int, what: Callable[[Frame], Result]) -> Result:
        """All frames of an order: the worst of their results."""
        results = [what(Frame(first + at)) for at in range(count)]
        for status in (Status.FAILED, Status.REFUSED, Status.PENDING, Status.DONE):
            if found := next((each for each in results if each.status is status), None):
                return found
        return Result(Status.REFUSED, "no frame is named")

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``."""
        known = self._aside.known(order.id)
        if known is None:
            return Result(Status.UNKNOWN, "it was not begun")
        if isinstance(known, Trace):
            trace = known
            return self._aside.begin(order.id, lambda: self._seen_after(self._libvirt.followed(trace)), trace=trace)
        return known

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``: the kernel asks nobody."""
        why = f"the kernel acts alone: it has not asked about domain {domain} in case {case} ({says})"
        return Result(Status.REFUSED, why)

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``: the kernel does not wait for it."""


_DOM0: Final = Domain(id=DOM0, name="host", kind=DomainKind.DOM0)
"""The host's own processes: nothing is ordered for them."""
