"""Xen, seen from Dom0: the port for a real machine. Xen acts alone at a machine check; what remains is Dom0's to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, assert_never
from uuid import UUID

from ringfence.arch.mcg import SER_P
from ringfence.arch.mci_status import PCC
from ringfence.hypervisor.boot import Boot
from ringfence.hypervisor.mca_abi import VIRQ_MCA, LogicalCpu
from ringfence.hypervisor.port import Arrival, Capability, Ended, Telemetry, Token
from ringfence.hypervisor.telemetry import Dom0Reader, Fetched, frames_named, records_of, running_of
from ringfence.hypervisor.xen import last_resorts, pages, xenstore
from ringfence.hypervisor.xen.domctl import Domctl
from ringfence.hypervisor.xen.event_channel import EventChannel
from ringfence.hypervisor.xen.privcmd import MCA, Privcmd
from ringfence.hypervisor.xen.sysctl import DomainFlag, DomainInfo, Shutdown, Sysctl
from ringfence.hypervisor.xen.toolstack import Toolstack
from ringfence.record.evidence import Delivery, Record
from ringfence.world.domain import Dom0State, Domain, DomainKind, DomainState
from ringfence.world.identities import DOM0, CaseId, DomainId, Frame, StepId
from ringfence.world.situation import AlreadyDone, Deed, Platform, Running, Situation
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
"""No hypercall takes mappings away, tells a guest, or injects a vMCE for Dom0: Xen does these itself, or not."""

DISK_PAGES_PER_S: Final = 25_600
"""What the disk of saved domains is taken to carry, 100 MB/s, for feasibility (B.6): nobody has measured it here."""

_MCA_BUFFER_AT: Final = 4096
_LAPIC_ONLY: Final = 1
"""arch_config.emulation_flags of a PVH domain: XEN_X86_EMU_LAPIC alone."""
NAMES_KEPT: Final = 4096
STARTING_S: Final = 30.0
"""What Xen found in the banks when it booted is there before anything else is fetched in this boot."""


@dataclass(frozen=True, slots=True)
class _Shown:
    token: Token
    fetched: Fetched


class XenHost:
    """A PV Dom0 on Xen. Implements ``port.Hypervisor``. One thread uses it; ``ready`` is for another to wait on.

    Raises HypervisorError if this is no Dom0, or somebody else has VIRQ_MCA.
    """

    def __init__(self, boot: Boot, state_dir: Path) -> None:
        self._boot = boot
        self._privcmd = Privcmd()
        self._sysctl = Sysctl(self._privcmd)
        self._domctl = Domctl(self._privcmd)
        self._channel = EventChannel(VIRQ_MCA)
        self._toolstack = Toolstack(state_dir / "operations")
        self._saved = state_dir / "saved"
        self._saved.mkdir(mode=0o700, exist_ok=True)
        self._reader = Dom0Reader(self._hypercall_mca, self._privcmd.address + _MCA_BUFFER_AT)
        self._cpus = self._reader.cpus()
        self._platform = _platform(self._cpus)
        self._shown: dict[bool, _Shown] = {}
        self._names: dict[tuple[DomainId, bytes], str] = {}
        self._version = _version()

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``: "Xen 4.20.3"."""
        return f"Xen {self._version}"

    @property
    def capabilities(self) -> Capability:
        """As ``port.Hypervisor.capabilities``."""
        return CAPABILITIES

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
        return self._channel.file

    @property
    def is_busy(self) -> bool:
        """Whether an operation runs whose end will be an arrival."""
        return self._toolstack.is_busy

    # --- what arrives ----------------------------------------------------------------------------------------------

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``port.Hypervisor.arrivals``: the oldest entry of each queue, until it is acknowledged."""
        self._channel.take()
        urgent, nonurgent = self._telemetry(urgent=True), self._telemetry(urgent=False)
        ended = tuple(Ended(StepEnded(order, result)) for order, result in self._toolstack.ended())
        return (*urgent, *ended, *nonurgent)

    def _telemetry(self, *, urgent: bool) -> tuple[Telemetry, ...]:
        fetched = self._reader.fetch(urgent=urgent)
        if fetched is None:
            return ()
        token = Token(fetched.fetch_id << 1 | urgent)
        known = self._shown.get(urgent)
        if known is None or known.fetched != fetched:
            self._shown[urgent] = _Shown(token, fetched)
        at_s = time.time()  # mc_info has no wall clock
        note = "the time is when Ringfence fetched it: Xen's telemetry has none"
        records = tuple(
            replace(record, time=at_s, assumptions=(*record.assumptions, note))
            for record in records_of(fetched.raw, self._cpus)
        )
        return (Telemetry(token, urgent, records),)

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``."""
        for urgent, shown in list(self._shown.items()):
            if shown.token == token:
                self._reader.acknowledge(shown.fetched)
                del self._shown[urgent]

    def _hypercall_mca(self, _caller: DomainId, argument: bytes, size: int) -> tuple[int, bytes, bytes]:
        at = self._privcmd.write(0, argument)
        self._privcmd.write(_MCA_BUFFER_AT, bytes(size))
        result = self._privcmd.call(MCA, at)
        return result, self._privcmd.read(0, len(argument)), self._privcmd.read(_MCA_BUFFER_AT, size)

    # --- the situation ---------------------------------------------------------------------------------------------

    def situation(self, record: Record | None) -> Situation:
        """As ``port.Hypervisor.situation``."""
        infos = tuple(self._sysctl.domains())
        domains = tuple(self._domain(info) for info in infos)
        frames = () if record is None else tuple(frames_named(record))
        facts = tuple(pages.facts(frame, record, domains, self._domctl.owns) for frame in frames if record is not None)
        return Situation(
            now_ms=self.now_ms(),
            dom0=Dom0State(has_handler=True),
            domains=domains,
            frames=facts,
            running=Running() if record is None else running_of(record),
            platform=self._platform,
            earlier_boot=record is not None and _is_of_earlier_boot(record),
            already_done=() if record is None else _already_done(record, domains),
            free_pages=self._sysctl.physinfo().free_pages,
        )

    def _domain(self, info: DomainInfo) -> Domain:
        return Domain(
            id=info.domain,
            name=self._name(info),
            kind=_kind(info),
            uuid=str(UUID(bytes=info.handle)),
            state=_state(info),
            vcpus=info.vcpus,
            memory_pages=info.pages,
        )

    def _name(self, info: DomainInfo) -> str:
        key = info.domain, info.handle
        if key not in self._names:
            found = xenstore.read(f"/local/domain/{info.domain}/name")
            if not found:
                # Not there yet, or nobody answers: it is asked again.
                return "Domain-0" if info.domain == DOM0 else f"domain {info.domain}"
            while len(self._names) >= NAMES_KEPT:
                del self._names[next(iter(self._names))]
            self._names[key] = found
        return self._names[key]

    # --- orders ----------------------------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> Result:  # noqa: PLR0912 (one arm a step, a table)
        """As ``port.Hypervisor.carry_out``."""
        step = order.step
        match step:
            case PauseDomain(domain=domain):
                return _hypercall(lambda: self._pause(domain))
            case UnpauseDomain(domain=domain):
                return _hypercall(lambda: self._domctl.unpause(domain))
            case SaveDomain(domain=domain):
                return self._save(order.id, domain)
            case RestoreDomain():
                return Result(Status.REFUSED, "no checkpoint of it is known that was taken with its disks")
            case ShutDownDomain(domain=domain):
                return self._toolstack.begin(order.id, ("shutdown", "-w", str(domain)))
            case RestartDomain(domain=domain):
                return self._restart(order.id, domain)
            case DestroyDomain(domain=domain):
                return self._toolstack.begin(order.id, ("destroy", str(domain)))
            case OfflineFrame(frame=frame, pages=count):
                return pages.offlined(self._sysctl, frame, count)
            case OnlineFrame(frame=frame):
                return pages.onlined(self._sysctl, frame)
            case OfflineCpu(cpu=cpu):
                return _hypercall(lambda: self._sysctl.cpu(cpu, online=False))
            case OnlineCpu(cpu=cpu):
                return _hypercall(lambda: self._sysctl.cpu(cpu, online=True))
            case LastWords():
                return last_resorts.last_words(self._unacknowledged())
            case HaltHost():
                return last_resorts.halt()
            case MigrateDomain():
                return Result(Status.REFUSED, "no destination is configured")
            case (
                NotifyDom0() | AskDom0() | SaveEvidence() | HealHost() | DegradeHost() | DrainHost() | IsolateFrame()
                | ExchangeFrame() | NotifyGuest() | InjectVmce()
            ):  # fmt: skip
                return Result(Status.REFUSED, f"{self.name} has no call for it")
            case _:
                assert_never(step)

    def _unacknowledged(self) -> list[Record]:
        return [record for shown in self._shown.values() for record in records_of(shown.fetched.raw, self._cpus)]

    def _pause(self, domain: DomainId) -> None:
        """Xen counts pauses: one that is paused already stays so."""
        known = next(iter(info for info in self._sysctl.domains(domain) if info.domain == domain), None)
        if known is None or DomainFlag.PAUSED not in known.flags:
            self._domctl.pause(domain)

    def _save(self, order: StepId, domain: DomainId) -> Result:
        known = self.situation(None).domain(domain)
        if known is None or not known.lives:
            return Result(Status.REFUSED, "it does not live here")
        if known.is_dom0:
            return Result(Status.REFUSED, "the control domain cannot be saved")
        return self._toolstack.begin(order, ("save", str(domain), str(self._saved / f"{known.uuid}.save")))

    def _restart(self, order: StepId, domain: DomainId) -> Result:
        known = self.situation(None).domain(domain)
        if known is None or known.is_dom0:
            return Result(Status.REFUSED, "there is no such guest")
        return self._toolstack.restart(order, domain, known.uuid)

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``."""
        result = self._toolstack.probe(order.id)
        if result.status is Status.RUNNING:
            self._toolstack.watch(order.id)
        return result

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``: Xen asks nobody."""
        why = f"{self.name} acts alone: it has not asked about domain {domain} in case {case} ({says})"
        return Result(Status.REFUSED, why)

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``: Xen does not wait for it."""


# --- from Xen's words to the port's -----------------------------------------------------------------------------------


def _version() -> str:
    home = Path("/sys/hypervisor/version")
    try:
        return ".".join(
            (home / each).read_text().strip().lstrip(".") for each in ("major", "minor", "extra")
        ).removesuffix(".")
    except OSError:
        return "of an unknown version"


def _kind(info: DomainInfo) -> DomainKind:
    if info.domain == DOM0:
        return DomainKind.DOM0
    if DomainFlag.HVM_GUEST not in info.flags:
        return DomainKind.PV
    return DomainKind.PVH if info.emulation == _LAPIC_ONLY else DomainKind.HVM


_ENDS: Final[dict[int, DomainState]] = {
    Shutdown.POWEROFF: DomainState.SHUT_DOWN,
    Shutdown.REBOOT: DomainState.SHUT_DOWN,
    Shutdown.SUSPEND: DomainState.PAUSED,
    Shutdown.CRASH: DomainState.CRASHED,
    Shutdown.WATCHDOG: DomainState.CRASHED,
    Shutdown.SOFT_RESET: DomainState.PAUSED,
}


def _state(info: DomainInfo) -> DomainState:
    if DomainFlag.SHUTDOWN in info.flags:
        return _ENDS.get(info.shutdown, DomainState.CRASHED)
    if DomainFlag.DYING in info.flags:
        return DomainState.DESTROYED
    return DomainState.PAUSED if DomainFlag.PAUSED in info.flags else DomainState.RUNNING


def _is_of_earlier_boot(record: Record) -> bool:
    """A corrupt context that polling finds has ended an earlier boot: in its own, Xen panics at the #MC (mce_panic)."""
    status = record.registers.status
    return record.delivery is Delivery.POLLED and status is not None and bool(PCC.of(status))


def _already_done(record: Record, domains: Sequence[Domain]) -> tuple[AlreadyDone, ...]:
    """What Xen did before it told: what its recovery entry says, and what can be seen (mc_memerr_dhandler)."""
    seen = record.hypervisor
    if seen is None or seen.machine_frame is None:
        return ()
    frame, owner = Frame(seen.machine_frame), pages.owner(record)
    done: list[AlreadyDone] = []
    if pages.is_offlined(record):
        done.append(AlreadyDone(Deed.OFFLINED_FRAME, frame=frame))
    known = next((each for each in domains if each.id == owner), None)
    if owner is not None and (known is None or known.state is DomainState.CRASHED):
        done.append(AlreadyDone(Deed.KILLED_DOMAIN, domain=owner, frame=frame))
    elif owner is not None and pages.is_told(record):
        if owner != DOM0:
            done.append(AlreadyDone(Deed.ISOLATED_FRAME, domain=owner, frame=frame))
        done.append(AlreadyDone(Deed.INJECTED_VMCE, domain=owner, frame=frame))
    return tuple(done)


def _platform(cpus: Sequence[LogicalCpu]) -> Platform:
    poisons = any(cpu.mcg_cap and SER_P.of(cpu.mcg_cap) for cpu in cpus)
    return Platform(
        poisons=poisons or None,
        poisons_because="MCG_CAP.SER_P is set" if poisons else "no MCG_CAP.SER_P, and Xen does not tell of SUCCOR",
        disk_pages_per_s=DISK_PAGES_PER_S,
        skips_broken_pages=True,
    )


def _hypercall(what: Callable[[], None]) -> Result:
    try:
        what()
    except OSError as error:
        return Result(Status.FAILED, f"Xen answers {error.strerror} ({error.errno})")
    return Result(Status.DONE)
