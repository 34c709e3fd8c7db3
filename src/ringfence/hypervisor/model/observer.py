"""What really happened on the model host, as values: for checks of the laws and for traces. No software sees it.

The facts come in the order in which they happened, each with its instant. Whoever watches must not call back into the
host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

import msgspec

from ringfence.hypervisor.model.clock import Nanoseconds
from ringfence.hypervisor.model.faults import Fault
from ringfence.hypervisor.model.interrupts import MachineCheck
from ringfence.hypervisor.model.machine import Access, LoggedError
from ringfence.quick import quick
from ringfence.record.evidence import Record
from ringfence.world.domain import DomainState
from ringfence.world.frames import Mapping
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, GuestFrame, VcpuId
from ringfence.world.steps import Order, Result

ErrorId = NewType("ErrorId", int)
"""Names one injected fault; the numbers grow with time and survive a reboot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault was put into the machine: the ground truth.

    ``frame`` is the page that it names, if it names one, ``owner`` the domain that had it then, and ``mapped_by`` all
    who could reach it. ``runs`` is the domain that ran on the CPU that the fault names. ``logged`` is what the hardware
    logged at once, with the class that it meant.
    """

    at_ns: Nanoseconds
    id: ErrorId
    fault: Fault
    frame: Frame | None = None
    owner: DomainId | None = None
    mapped_by: tuple[Mapping, ...] = ()
    runs: DomainId | None = None
    logged: tuple[LoggedError, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineChecked:
    """#MC arrived at the hypervisor."""

    at_ns: Nanoseconds
    signal: MachineCheck


@quick
@dataclass(frozen=True, slots=True)
class Reported:
    """The hypervisor read a bank and reported it; ``case`` is the seat's number (None: no seat, or no error).

    ``dropped``: no entry of the telemetry was free, so Dom0 never sees this record.
    """

    at_ns: Nanoseconds
    record: Record
    case: CaseId | None
    urgent: bool
    dropped: bool


@dataclass(frozen=True, slots=True)
class Ran:
    """A vCPU had a CPU in turn with others, within this span (``Scheduler.ran`` gives its single slices)."""

    domain: DomainId
    vcpu: VcpuId
    cpu: CpuId
    from_ns: Nanoseconds
    to_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class Touched:
    """A domain reached for a page: with a CPU, or (``cpu`` None) with a device's DMA. ``access`` says how it ended."""

    at_ns: Nanoseconds
    domain: DomainId
    guest_frame: GuestFrame | None
    frame: Frame | None
    cpu: CpuId | None
    access: Access | None
    """None: no mapping was left, the hypervisor stopped the access."""


class Channel(StrEnum):
    """How a guest is told."""

    VMCE = "vMCE"
    TRAP = "PV trap"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class GuestTold:
    """A guest was told of lost pages; ``content`` is all that it got, byte for byte (law L7).

    A vMCE is MCG_STATUS, MCi_STATUS, MCi_ADDR and MCi_MISC of bank 1 as the vCPU reads them, 8 bytes each, little
    endian. A trap's and an agent's content is one ``mc_info`` or more.
    """

    at_ns: Nanoseconds
    domain: DomainId
    vcpu: VcpuId
    channel: Channel
    content: bytes
    must_act: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """Telemetry was lost because no entry was free; one record."""

    at_ns: Nanoseconds
    urgent: bool


@quick
@dataclass(frozen=True, slots=True)
class DomainChanged:
    """A domain changed its state (``before`` None: it was created)."""

    at_ns: Nanoseconds
    domain: DomainId
    before: DomainState | None
    after: DomainState
    because: str


class MappingsChanged(msgspec.Struct, frozen=True):
    """Ways to a page were taken away; ``left`` are those that remain."""

    at_ns: Nanoseconds
    frame: Frame
    left: tuple[Mapping, ...]


class Caller(StrEnum):
    """Whose order it is."""

    SEAT = "hypervisor's seat"
    DOM0 = "Dom0"
    HYPERVISOR = "hypervisor alone"


@quick
@dataclass(frozen=True, slots=True)
class Carried:
    """An order was carried out, refused, begun, or has ended: each result that it had."""

    at_ns: Nanoseconds
    caller: Caller
    order: Order
    result: Result


class Sink(StrEnum):
    """Where last words go."""

    ERST = "ERST"
    SERIAL = "serial"
    SCREEN = "screen"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Said:
    """Last words, as they went to one sink; ``kept`` is False if the sink is broken."""

    at_ns: Nanoseconds
    sink: Sink
    content: bytes
    kept: bool


@dataclass(frozen=True, slots=True)
class Halted:
    """The machine has stopped: ``panic`` by the hypervisor, or the processor shut down or hangs."""

    at_ns: Nanoseconds
    panic: bool
    because: str


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The machine was reset and the hypervisor came up again; memory of domains is new."""

    at_ns: Nanoseconds
    cold: bool


Fact = (
    Injected
    | MachineChecked
    | Reported
    | Ran
    | Touched
    | GuestTold
    | Dropped
    | DomainChanged
    | MappingsChanged
    | Carried
    | Said
    | Halted
    | Rebooted
)

Observer = Callable[[Fact], None]
"""Watches a host."""


def nobody(fact: Fact) -> None:
    """The observer that watches nothing."""
