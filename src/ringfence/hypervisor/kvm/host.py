"""KVM, seen from the host: the port. The kernel gives pages up and QEMU tells its guest; what remains is done here.

The host's kernel is the hypervisor of the concept, and the host's own processes are Dom0. Evidence comes by the
sources of the host (``service.sources``); by the port come only the ends of orders.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, assert_never

from ringfence.arch.mcg import SER_P
from ringfence.errors import HypervisorError
from ringfence.hypervisor import last_resorts
from ringfence.hypervisor.boot import Boot
from ringfence.hypervisor.kvm.agents import Agents
from ringfence.hypervisor.kvm.aside import MOST, Aside, Trace, Work
from ringfence.hypervisor.kvm.guests import Guest
from ringfence.hypervisor.kvm.libvirt_operations import LibvirtOperations
from ringfence.hypervisor.kvm.named_pages import NamedPages, Seen, is_uncorrected
from ringfence.hypervisor.kvm.numbering import Numbering
from ringfence.hypervisor.kvm.other_host import OtherHost
from ringfence.hypervisor.kvm.parts import Parts
from ringfence.hypervisor.kvm.patience import Patience
from ringfence.hypervisor.kvm.processor import Processor
from ringfence.hypervisor.kvm.qemu_processes import kill, start_of
from ringfence.hypervisor.kvm.qmp_operations import NO_WAY, QmpOperations
from ringfence.hypervisor.kvm.vmce import inject
from ringfence.hypervisor.port import Arrival, Capability, Ended, Token
from ringfence.hypervisor.telemetry import running_of
from ringfence.quick import changed
from ringfence.record.evidence import Record
from ringfence.world.domain import Checkpoint, Dom0State, Domain, DomainKind, DomainState, McaHandler
from ringfence.world.identities import DOM0, CaseId, DomainId, Frame, GuestFrame
from ringfence.world.situation import Context, Platform, Running, Situation
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
SEEN_S: Final = 1.0
"""For a look at what an order has changed; whoever hangs elsewhere on the host does not make it a failure."""
KILL_S: Final = 3.0
"""libvirtd or QEMU has this long to end a guest; then its process is killed: it may run no longer, and a guest that
cannot be killed is a host that has to be halted."""
PAGE_S: Final = 1.0
"""The same of a page: the kernel empties its per-CPU lists and splits a huge page within milliseconds."""
DISK_PAGES_PER_S: Final = 25_600
"""What the disk of saved domains is taken to carry, 100 MB/s, for feasibility (B.6): nobody has measured it here."""


MOST_LAST_WORDS: Final = 8
"""Uncorrected errors that are told once more before a halt: the newest."""


class KvmHost:
    """A Linux host with KVM. Implements ``port.Hypervisor``. One thread uses it; another may wait on ``ready``."""

    def __init__(self, boot: Boot, state_dir: Path, parts: Parts, processor: Processor | None = None) -> None:
        self._boot, self._parts, self._settings = boot, parts, parts.settings
        self._processor = processor or Processor.of_this_machine()
        self._aside = Aside(state_dir / "operations")
        self._numbering = Numbering(state_dir, boot.number)
        self._libvirt, self._qmp = LibvirtOperations(parts.settings.libvirt), QmpOperations(parts.guests.monitor)
        self._patience = Patience("libvirt or QEMU", most=MOST)
        self._other = OtherHost(parts.settings.destination)
        self._agents, self._named = Agents(), NamedPages(parts)
        self._uncorrected: deque[Record] = deque(maxlen=MOST_LAST_WORDS)
        self._domains: tuple[tuple[Guest, ...], tuple[Domain, ...]] = ((), (_DOM0,))
        self._numbers: dict[str, DomainId] = {}
        self._keys: dict[DomainId, str] = {}
        self._ser_p = False
        self._mapped: set[tuple[str, tuple[int, int]]] = set()
        parts.guests.changed = self._aside.wake
        parts.owners.ended = partial(_ended, parts, self._numbering.earlier)
        parts.start()
        self._other.start()
        self._pages_can = _pages_can(parts)

    def close(self) -> None:
        """Look at nothing any more, and leave no thread behind but one that hangs in a call."""
        self._agents.close()
        self._other.close()
        self._parts.close()

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``: "KVM (QEMU 10.0.8, libvirt 11.3.0)"."""
        qemu, libvirt = self._parts.guests.sight.versions
        parts = [*([f"QEMU {qemu}"] if qemu else []), *([f"libvirt {libvirt}"] if libvirt else [])]
        return f"KVM ({', '.join(parts)})" if parts else "KVM"

    @property
    def capabilities(self) -> Capability:
        """As ``port.Hypervisor.capabilities``: by what was found on this host, and by whether libvirt answers now."""
        found = self._pages_can | Capability.PAUSE | Capability.DESTROY | Capability.SHUT_DOWN | Capability.RESTART
        found |= Capability.NOTIFY_GUEST
        if self._libvirt_answers:
            found |= Capability.SAVE | Capability.RESTORE
            if self._settings.destination:
                found |= Capability.MIGRATE
        if self._processor.is_intel and self._settings.asks_monitors and self._settings.injects:
            found |= Capability.INJECT_VMCE
        if os.access(last_resorts.TRIGGER, os.W_OK):
            found |= Capability.HALT
        return found

    @property
    def _libvirt_answers(self) -> bool:
        """Whether libvirt was reached at the newest look: who cannot be reached saves and moves nobody."""
        sight = self._parts.guests.sight
        return bool(self._settings.libvirt and sight.versions[1] and not sight.problem)

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
        """Whether an answer is waited for that nothing announces: an agent's. Orders announce their own ends."""
        return self._agents.links.is_busy

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong now: libvirt that does not answer, monitors that cannot be had."""
        return self._parts.problems

    # --- what arrives ----------------------------------------------------------------------------------------------

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``port.Hypervisor.arrivals``: ends of orders."""
        now_ms = self.now_ms()
        self._all_domains()
        with suppress(HypervisorError):
            self._numbering.keep()
        guests = self._parts.guests.sight.guests
        self._agents.turn(((self._numbers[each.key], each) for each in guests if each.key in self._numbers), now_ms)
        self._map_those_that_listen(guests, now_ms)
        ends = (*self._aside.ended(), *self._agents.links.ended(now_ms))
        return tuple(Ended(StepEnded(order, result)) for order, result in ends)

    def _map_those_that_listen(self, guests: tuple[Guest, ...], now_ms: int) -> None:
        """A guest with an agent is told of its pages by their numbers: QEMU's map is read once it has registered."""
        links, numbers = self._agents.links, self._numbers
        listens = {
            (each.key, each.process.identity)
            for each in guests
            if each.process is not None and each.key in numbers and links.handler(numbers[each.key], now_ms) is _AGENT
        }
        for key, _ in listens - self._mapped:
            self._parts.owners.map_soon(key)
        self._mapped = listens

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``: nothing that comes this way waits to be forgotten."""

    # --- the situation ---------------------------------------------------------------------------------------------

    def situation(self, record: Record | None) -> Situation:
        """As ``port.Hypervisor.situation``. For an uncorrected error it waits until the kernel has dealt with the page
        (``named_pages``).
        """
        domains = self._all_domains()
        seen, running = Seen(), Running()
        if record is not None:
            seen, running = self._named.of(record, self._numbers_now, self._passes_through), running_of(record)
            if seen.consumer is not None:
                running = Running(cpu=running.cpu, context=Context.GUEST, domain=seen.consumer)
            self._learn(record)
            domains = self._all_domains()  # what was asked of monitors meanwhile is known now
        return Situation(
            now_ms=self.now_ms(),
            dom0=Dom0State(has_handler=True),
            domains=tuple(map(self._now, domains)),
            frames=seen.frames,
            running=running,
            platform=self._platform(),
            already_done=seen.done,
            destination=self._other.seen,
        )

    def _learn(self, record: Record) -> None:
        if is_uncorrected(record):
            self._uncorrected.append(record)
        if record.registers.mcg_cap is not None:
            self._ser_p = self._ser_p or bool(SER_P.of(record.registers.mcg_cap))

    def _platform(self) -> Platform:
        poisons, because = self._processor.poisons(self._ser_p)
        return Platform(
            poisons=poisons,
            poisons_because=because,
            disk_pages_per_s=DISK_PAGES_PER_S if self._libvirt_answers else 0,
            migration_pages_per_s=self._settings.migration_pages_per_s if self._settings.destination else 0,
        )

    def _now(self, domain: Domain) -> Domain:
        """A domain with what changes without a look at it."""
        if domain.id == DOM0 or not domain.lives:
            return domain
        (seen,) = self._agents.links.seen((domain,), self.now_ms())
        mca_enabled = self._parts.owners.mca_enabled(self._keys.get(domain.id, ""))
        return seen if mca_enabled == seen.mca_enabled else changed(seen, mca_enabled=mca_enabled)

    def _passes_through(self, key: str) -> bool:
        guest = self._parts.guests.sight.guest(key)
        return guest is not None and guest.details.passed_through

    def _numbers_now(self) -> dict[str, DomainId]:
        self._all_domains()
        return self._numbers

    def _all_domains(self) -> tuple[Domain, ...]:
        guests = self._parts.guests.sight.guests
        if guests is not self._domains[0]:
            found = (_DOM0, *(self._domain(each) for each in guests))
            with suppress(HypervisorError):  # a full disk keeps nobody from deciding: it is written down later
                self._numbering.keep()
            self._numbers = {guest.key: domain.id for guest, domain in zip(guests, found[1:], strict=True)}
            self._keys = {number: key for key, number in self._numbers.items()}
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
            may_migrate=guest.by_libvirt and not guest.details.passed_through and not guest.details.security,
            # It has not run since: nothing came after its save, and its disks are as they were.
            checkpoint=Checkpoint(taken_ms=self.now_ms(), disks_of_same_moment=True) if saved else None,
            incarnation=known.incarnation,
        )

    def _guest(self, domain: DomainId) -> Guest | None:
        self._all_domains()
        key = self._numbering.key_of(domain)
        return None if key is None else self._parts.guests.sight.guest(key)

    # --- orders ----------------------------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> Result:  # noqa: PLR0912 (one arm a step, a table)
        """As ``port.Hypervisor.carry_out``."""
        step = order.step
        libvirt, qmp = self._libvirt, self._qmp
        match step:
            case PauseDomain(domain=domain):
                return self._promptly(order, domain, libvirt.pause, qmp.pause, DomainState.PAUSED)
            case UnpauseDomain(domain=domain):
                return self._promptly(order, domain, libvirt.unpause, qmp.unpause, DomainState.RUNNING)
            case DestroyDomain(domain=domain):
                return self._destroy(order, domain)
            case SaveDomain(domain=domain):
                return self._begin(order, domain, "save", libvirt.save)
            case RestoreDomain(domain=domain):
                return self._begin(order, domain, "restore", libvirt.restore)
            case RestartDomain(domain=domain):
                return self._begin(order, domain, "restart", libvirt.restart, qmp.restart)
            case ShutDownDomain(domain=domain):
                return self._begin(order, domain, "shut down", libvirt.shut_down, qmp.shut_down)
            case MigrateDomain(domain=domain):
                return self._begin(order, domain, "migrate", self._migrate)
            case IsolateFrame(frame=frame, pages=count):
                return self._on_pages(order, frame, count, self._parts.pages.hard_offline)
            case OfflineFrame(frame=frame, pages=count):
                return self._on_pages(order, frame, count, self._take_out)
            case ExchangeFrame(domain=domain) if self._guest(domain) is None:
                return Result(Status.REFUSED, f"there is no guest {domain}")
            case ExchangeFrame(frame=frame):
                return self._on_pages(order, frame, 1, self._parts.pages.soft_offline)
            case OfflineCpu(cpu=cpu):
                return self._bounded(order, lambda: self._parts.pages.cpu(cpu, online=False), PROMPT_S)
            case OnlineCpu(cpu=cpu):
                return self._bounded(order, lambda: self._parts.pages.cpu(cpu, online=True), PROMPT_S)
            case OnlineFrame():
                return Result(Status.REFUSED, "a page that the kernel holds for broken is not put back into use")
            case NotifyGuest():
                return self._agents.links.tell(order, self.now_ms())
            case InjectVmce(domain=domain, page=page):
                return self._inject(order, domain, page)
            case LastWords():
                return last_resorts.last_words(self._uncorrected)
            case HaltHost():
                return last_resorts.halt()
            case NotifyDom0() | AskDom0() | SaveEvidence() | HealHost() | DegradeHost() | DrainHost():
                return Result(Status.REFUSED, f"{self.name} has no call for it")
            case _:
                assert_never(step)

    def _take_out(self, frame: Frame) -> Result:
        """A page that is still good is moved; one that has lost its data must not be read, and is given up."""
        pages = self._parts.pages
        result = pages.hard_offline(frame) if frame in self._named.bad else pages.soft_offline(frame)
        story = self._parts.words.story(frame)
        if result.status is Status.DONE and story.result in _IN_USE_STILL:
            why = f"the kernel marks it as broken and uses it on ({story.page}: {story.result}); nobody gets it anew"
            return Result(Status.PENDING, why)
        return result

    def _on_pages(self, order: Order, frame: Frame, count: int, what: Callable[[Frame], Result]) -> Result:
        return self._bounded(order, lambda: _each(frame, count, what), PAGE_S)

    def _inject(self, order: Order, domain: DomainId, page: GuestFrame) -> Result:
        if Capability.INJECT_VMCE not in self.capabilities:
            return Result(Status.REFUSED, "on Intel, with vmce and monitor-commands in [kvm], and not otherwise")
        guest = self._guest(domain)
        ask = None if guest is None else self._parts.ask(guest)
        if guest is None or ask is None:
            return Result(Status.REFUSED, "its monitor may not be used, or cannot be reached")
        self._parts.failures.expect_echo(guest.key)
        return self._bounded(order, lambda: inject(ask, page), PROMPT_S)

    def _migrate(self, key: str) -> Result:
        return self._libvirt.migrate(key, self._settings.destination)

    def _operated(
        self, domain: DomainId, libvirt: _Operation, qmp: _Operation | None, becomes: DomainState | None = None
    ) -> Work | Result:
        guest = self._guest(domain)
        if guest is None or domain == DOM0:
            return Result(Status.REFUSED, f"there is no guest {domain}")
        key, how = guest.key, libvirt if guest.by_libvirt else qmp
        if how is None:
            return NO_WAY
        return lambda: self._seen_after(key, how(key), becomes)

    def _seen_after(self, key: str, result: Result, becomes: DomainState | None = None) -> Result:
        """A result, after a look: who hears it sees what it changed."""
        if becomes is not None and result.status is Status.DONE:
            self._parts.guests.learned(key, becomes)
        self._parts.guests.look_soon(SEEN_S)
        return result

    def _lane(self, domain: DomainId) -> str:
        guest = self._guest(domain)
        return _LIBVIRT if guest is not None and guest.by_libvirt else _MONITORS

    def _destroy(self, order: Order, domain: DomainId) -> Result:
        """The end of a guest takes as long as its memory is large: it is waited for aside, and made sure of."""
        guest = self._guest(domain)
        if guest is None or domain == DOM0:
            return Result(Status.REFUSED, f"there is no guest {domain}")
        how = self._libvirt.destroy if guest.by_libvirt else self._qmp.destroy
        work = partial(self._made_end, guest, how)
        return self._aside.begin(order.id, work, wait_s=PROMPT_S, lane=_ENDS)

    def _made_end(self, guest: Guest, how: _Operation) -> Result:
        try:
            result = self._patience.call(lambda: how(guest.key), KILL_S)
        except HypervisorError as error:
            result = Result(Status.FAILED, str(error))
        if result.status is Status.FAILED and guest.process is not None and kill(guest.process):
            result = Result(Status.DONE, f"its QEMU was killed (process {guest.process.pid}), for {result.because}")
        return self._seen_after(guest.key, result, DomainState.DESTROYED)

    def _promptly(
        self, order: Order, domain: DomainId, libvirt: _Operation, qmp: _Operation, becomes: DomainState
    ) -> Result:
        work = self._operated(domain, libvirt, qmp, becomes)
        if isinstance(work, Result):
            return work
        result = self._aside.begin(order.id, work, wait_s=PROMPT_S, lane=self._lane(domain))
        if result.status is Status.RUNNING:
            return Result(Status.FAILED, f"no answer within {PROMPT_S:g} s; it may still be done")
        return result

    def _begin(
        self, order: Order, domain: DomainId, what: str, libvirt: _Operation, qmp: _Operation | None = None
    ) -> Result:
        work, guest = self._operated(domain, libvirt, qmp), self._guest(domain)
        if isinstance(work, Result) or guest is None:
            return work if isinstance(work, Result) else NO_WAY
        process = guest.process.identity if guest.process is not None else None
        trace = Trace(
            what=what, key=guest.key, process=process, destination=self._settings.destination,
            by_libvirt=guest.by_libvirt,
        )  # fmt: skip
        return self._aside.begin(order.id, work, trace=trace, lane=self._lane(domain))

    def _bounded(self, order: Order, work: Work, wait_s: float) -> Result:
        return self._aside.begin(order.id, work, wait_s=wait_s)

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``."""
        if isinstance(order.step, NotifyGuest):
            return self._agents.links.probe(order.id)
        known = self._aside.known(order.id)
        if known is None:
            return Result(Status.UNKNOWN, "it was not begun")
        if isinstance(known, Trace):
            trace = known
            if not trace.by_libvirt:
                return Result(Status.FAILED, "Ringfence was killed meanwhile; QEMU alone keeps no word of it")
            guest = self._parts.guests.sight.guest(trace.key)
            if trace.what == "restart" and guest is not None and guest.process is not None:  # noqa: SIM102 (two facts)
                if guest.process.identity == trace.process:
                    return Result(Status.UNKNOWN, "it was not begun: the QEMU of that moment runs")
            follow = partial(self._followed, trace)
            return self._aside.begin(order.id, follow, trace=trace, lane=_LIBVIRT)
        return known

    def _followed(self, trace: Trace) -> Result:
        return self._seen_after(trace.key, self._libvirt.followed(trace))

    def heed_lost(self, frames: Iterable[Frame]) -> None:
        """As ``port.Hypervisor.heed_lost``: soft offline copies a page."""
        self._named.heed_lost(frames)

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``: the kernel asks nobody."""
        why = f"the kernel acts alone: it has not asked about domain {domain} in case {case} ({says})"
        return Result(Status.REFUSED, why)

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``: the kernel does not wait for it."""


def _ended(parts: Parts, earlier: Mapping[int, tuple[int, str]], pid: int) -> str:
    """The guest whose QEMU had a process number and is gone: as seen in this life, or as an earlier one wrote down."""
    began, key = earlier.get(pid, (None, ""))
    is_gone = began is not None and start_of(parts.root / "proc" / str(pid)) != began
    return parts.guests.ended.get(pid, key if is_gone else "")


_AGENT: Final = McaHandler.AGENT
_IN_USE_STILL: Final = frozenset({"Ignored", "Failed", "Delayed"})
"""What the kernel says of a page that it has marked and could not take away from its user (mm/memory-failure.c,
action_name)."""
_Operation = Callable[[str], Result]
_LIBVIRT: Final = "libvirt"
_MONITORS: Final = "monitors"
_ENDS: Final = "ends"
"""Lanes of orders (``Aside.begin``)."""


def _each(first: Frame, count: int, what: Callable[[Frame], Result]) -> Result:
    """All frames of an order: the worst of their results."""
    results = [what(Frame(first + at)) for at in range(count)]
    for status in (Status.FAILED, Status.REFUSED, Status.PENDING, Status.DONE):
        if found := next((each for each in results if each.status is status), None):
            return found
    return Result(Status.REFUSED, "no frame is named")


def _pages_can(parts: Parts) -> Capability:
    """What can be done and known of pages, by the files that are there and what this process may do with them."""
    found = Capability(0)
    if parts.pages.can_offline:
        found |= Capability.ISOLATE_FRAME | Capability.OFFLINE_FRAME | Capability.EXCHANGE_FRAME
    if parts.pages.can_switch_cpus:
        found |= Capability.OFFLINE_CPU
    if parts.pages.flags(0) is not None and parts.owners.maps.shows_frames():
        found |= Capability.FRAME_OWNER | Capability.MAPPINGS
    return found


_DOM0: Final = Domain(id=DOM0, name="host", kind=DomainKind.DOM0)
"""The host's own processes: nothing is ordered for them."""
