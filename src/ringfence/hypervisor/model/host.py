"""The model host: the machine, the hypervisor on it, and its domains, behind the port.

Fault model: the hardware's is that of ``machine`` and ``faults``. Of the software, guests misbehave as ``guests`` says;
Dom0's handler can be absent, silent or hurt; a sink of last words can be broken; an operation can be made to fail; the
telemetry has Xen's bounds and drops what does not fit. The hypervisor's own code, hypercalls, the memory of the journal
and the link to the other host do not fail by themselves. Time passes only in ``advance``. The same seed and the same
calls give the same run, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringfence.hypervisor.model.clock import Clock
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.faults import Fault
from ringfence.hypervisor.model.machine import Machine, Settings
from ringfence.hypervisor.model.observer import Injected, Observer, Ran, Sink, nobody
from ringfence.hypervisor.port import Arrival, Capability, Token
from ringfence.record.evidence import Record
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, GuestFrame, PhysAddr, VcpuId
from ringfence.world.situation import Running, Situation
from ringfence.world.steps import Order, Result, Step
from ringfence.world.treatment import Dom0Says, TreatingSeat

_FIRST: Final = VcpuId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a model host is. ``personality`` is a key of ``personality.BEHAVIOURS``.

    ``dom0_pages`` and ``xen_pages`` are what Dom0 and the hypervisor have of the memory; a half of each can be given
    up (page cache of Dom0, free slots of Xen's heap), the other half cannot.
    """

    name: str = "model"
    personality: str = "concept"
    machine: Settings
    dom0_vcpus: int = 2
    dom0_pages: int = 1 << 18
    xen_pages: int = 1 << 14
    migration_pages_per_s: int = 250_000
    disk_pages_per_s: int = 125_000


class ModelHost:
    """A host. Implements ``port.Hypervisor``; the rest of its interface is the world's side of the simulation."""

    def __init__(
        self,
        settings: HostSettings,
        *,
        seed: int,
        seat: TreatingSeat | None = None,
        clock: Clock | None = None,
        observer: Observer = nobody,
    ) -> None:
        """Switches a host on: Xen and Dom0 run, there is no guest yet, Dom0 has no MCA handler.

        ``seat`` treats machine checks in the hypervisor's seat; raises ValueError if the personality wants one and
        there is none, or the other way round. Hosts that migrate to each other share a ``clock``.
        """
        raise NotImplementedError

    settings: HostSettings
    machine: Machine
    clock: Clock

    # --- the port --------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``: "model concept", "model xen-4.20"."""
        raise NotImplementedError

    @property
    def capabilities(self) -> Capability:
        """As ``port.Hypervisor.capabilities``. TREATS is there with the personality "concept" alone."""
        raise NotImplementedError

    def now_ms(self) -> int:
        """As ``port.Hypervisor.now_ms``."""
        raise NotImplementedError

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``port.Hypervisor.arrivals``.

        Telemetry is fetched by hypercall 48, which shows the oldest entry of each class until that is acknowledged: ask
        again after acknowledging, until nothing comes. Order: EvidenceWanted, urgent Telemetry, Question, Progress and
        Ended, LeftOver, Lost, nonurgent Telemetry.
        """
        raise NotImplementedError

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``. An ``Ended`` is gone once it was fetched."""
        raise NotImplementedError

    def situation(self, record: Record | None) -> Situation:
        """As ``port.Hypervisor.situation``. ``open_cases``, ``trends`` and ``verdicts`` are for the caller to fill."""
        raise NotImplementedError

    def carry_out(self, order: Order) -> Result:
        """As ``port.Hypervisor.carry_out``, with Dom0 as the caller."""
        raise NotImplementedError

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``: the last result of the order, UNKNOWN for one that never arrived or is NEITHER.

        Orders of the hypervisor's seat and Dom0's are numbered apart; this is about Dom0's.
        """
        raise NotImplementedError

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``."""
        raise NotImplementedError

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``."""
        raise NotImplementedError

    # --- time and its end ------------------------------------------------------------------------------------------

    def advance(self, ms: int) -> None:
        """Lets so much time pass. With a shared clock it passes for all who share it."""
        raise NotImplementedError

    def advance_to_next(self, limit_ms: int) -> None:
        """Lets time pass up to the next event, or by ``limit_ms`` if none comes before."""
        raise NotImplementedError

    @property
    def halted(self) -> bool:
        """Whether the machine has stopped: only ``reboot`` helps."""
        raise NotImplementedError

    def reboot(self, *, cold: bool = False, seat: TreatingSeat | None = None) -> None:
        """Resets the machine and starts the hypervisor, Dom0 and all guests that were there anew, with new memory.

        What the banks (warm) and ERST hold is found, and arrives as LeftOver. ``seat`` is the new boot's; None keeps
        the old one. Dom0's handler is absent until it is set again.
        """
        raise NotImplementedError

    # --- the world's side: domains ---------------------------------------------------------------------------------

    def create(self, spec: DomainSpec) -> DomainId:
        """Starts a guest. Raises ValueError if memory does not suffice, or the host takes no guests (DegradeHost)."""
        raise NotImplementedError

    def domain_of(self, name: str) -> DomainId:
        """The number of a guest. Raises KeyError."""
        raise NotImplementedError

    def destroy(self, domain: DomainId) -> None:
        """Ends a guest as an operator would, behind everybody's back."""
        raise NotImplementedError

    def crash(self, domain: DomainId) -> None:
        """A guest crashes by itself."""
        raise NotImplementedError

    def checkpoint(self, domain: DomainId, *, disks_of_same_moment: bool) -> None:
        """An operator's backup of a running guest: from now on it can be restored."""
        raise NotImplementedError

    def balloon_out(self, domain: DomainId, page: GuestFrame) -> Frame:
        """A guest gives a page up; the frame that it had is free or, if it was pending, offline."""
        raise NotImplementedError

    def grant(self, owner: DomainId, page: GuestFrame, to: DomainId) -> None:
        """``owner`` grants a page to ``to``, which maps it."""
        raise NotImplementedError

    def map_foreign(self, owner: DomainId, page: GuestFrame, by: DomainId) -> None:
        """``by`` (Dom0, a device model) maps a page of ``owner``."""
        raise NotImplementedError

    def share(self, first: tuple[DomainId, GuestFrame], second: tuple[DomainId, GuestFrame]) -> None:
        """Two HVM guests share a page copy-on-write: its owner is nobody of them (Xen: DOMID_COW)."""
        raise NotImplementedError

    def device_maps(self, domain: DomainId, page: GuestFrame, *, removable: bool = True) -> None:
        """A device passed through to the guest reaches the page by DMA."""
        raise NotImplementedError

    # --- the world's side: where things are ------------------------------------------------------------------------

    def address(self, domain: DomainId, page: GuestFrame, offset: int = 0) -> PhysAddr:
        """The host-physical address of a guest's page. Raises KeyError if nothing is mapped there."""
        raise NotImplementedError

    def hypervisor_address(self, *, reclaimable: bool) -> PhysAddr:
        """An address in the hypervisor's own memory that it can, or cannot, give up."""
        raise NotImplementedError

    def dom0_page(self, *, expendable: bool) -> GuestFrame:
        """A page of Dom0 that it can, or cannot, lose."""
        raise NotImplementedError

    def free_address(self) -> PhysAddr:
        """An address in a page that nobody owns."""
        raise NotImplementedError

    def running(self, cpu: CpuId) -> Running:
        """Who runs on a CPU now."""
        raise NotImplementedError

    def cpu_of(self, domain: DomainId, vcpu: VcpuId = _FIRST) -> CpuId:
        """The CPU that a vCPU is pinned to. Raises KeyError."""
        raise NotImplementedError

    # --- the world's side: faults ----------------------------------------------------------------------------------

    def inject(self, fault: Fault) -> Injected:
        """Puts a fault in, and says what the truth about it is."""
        raise NotImplementedError

    def consume(self, domain: DomainId, page: GuestFrame, *, instruction: bool = False) -> Injected | None:
        """A line of the guest's page goes bad, and one of its running vCPUs reads it; None if none of them runs."""
        raise NotImplementedError

    def consume_in_hypervisor(self, cpu: CpuId, addr: PhysAddr) -> Injected:
        """The hypervisor itself reads a line that has just gone bad."""
        raise NotImplementedError

    def dma(self, domain: DomainId, page: GuestFrame) -> None:
        """A device of the domain reads the page."""
        raise NotImplementedError

    # --- the world's side: what does not work ----------------------------------------------------------------------

    def set_dom0_handler(self, present: bool) -> None:
        """Dom0's MCA handler registers (binds VIRQ_MCA), or goes."""
        raise NotImplementedError

    def hurt_dom0(self, hurt: bool = True) -> None:
        """Dom0 is hurt, or a verified probe shows that it works again; the seat is told."""
        raise NotImplementedError

    def break_sink(self, sink: Sink, broken: bool = True) -> None:
        """A sink of last words does not work, or works again."""
        raise NotImplementedError

    def fail_next(self, step: type[Step], because: str, times: int = 1) -> None:
        """The next steps of a kind FAIL after their time, whoever orders them."""
        raise NotImplementedError

    def connect(self, other: ModelHost) -> None:
        """Links this host to another one with the same clock: guests can migrate there. Raises ValueError otherwise."""
        raise NotImplementedError

    # --- the world's side: what is seen from outside ---------------------------------------------------------------

    def ran(self, domain: DomainId, from_ms: int, to_ms: int) -> tuple[Ran, ...]:
        """The spans in which vCPUs of a domain had a slice of a CPU between two instants, the present span included."""
        raise NotImplementedError

    @property
    def truth(self) -> Sequence[Injected]:
        """Every fault that was injected, oldest first, over all boots."""
        raise NotImplementedError

    def console(self, sink: Sink = Sink.SERIAL) -> str:
        """What Xen has printed to a text sink."""
        raise NotImplementedError

    def hypercall_mca(self, caller: DomainId, argument: bytes, buffer_bytes: int = 0) -> tuple[int, bytes, bytes]:
        """Hypercall 48 as ``caller`` makes it: ``argument`` is a ``struct xen_mc``, its handles point to a buffer of
        ``buffer_bytes``. Returns the result (0 or a negative errno), the struct and the buffer after it.
        """
        raise NotImplementedError
