"""What one piece of machine-check evidence is, before anybody says what it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ringfence.arch.cpuid import Vendor
from ringfence.quick import quick


class Format(StrEnum):
    """The form in which evidence was found."""

    PRINTK = "linux-printk"
    AMD_DECODED = "linux-edac-mce-amd"
    EDAC = "linux-edac"
    MEMORY_FAILURE = "linux-memory-failure"
    GHES = "linux-ghes"
    MCELOG = "mcelog"
    MCELOG_CLIENT = "mcelog-client"
    MCE_INJECT = "mce-inject"
    RASDAEMON = "rasdaemon"
    RASDAEMON_DB = "rasdaemon-sqlite"
    XEN_CONSOLE = "xen-console"
    QEMU = "qemu"
    ESXI = "esxi-vmkernel"
    FREEBSD = "freebsd"
    BMC = "bmc"
    STRUCT_MCE = "linux-struct-mce"
    XEN_MC_INFO = "xen-mc-info"
    CPER = "uefi-cper"
    GHES_BLOCK = "acpi-generic-error-status"
    TYPED = "typed"


class Delivery(StrEnum):
    """How the error was signalled to software, as far as the evidence says."""

    MACHINE_CHECK = "#MC"
    LOCAL_MACHINE_CHECK = "#MC (LMCE)"
    POLLED = "polled"
    CMCI = "CMCI"
    FIRMWARE = "firmware"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where evidence was found: a file name (``-`` for standard input) and a line (1-based) or a byte offset."""

    file: str
    line: int | None = None
    offset: int | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """Machine-check registers as the evidence gives them; None is "the evidence does not say", never zero.

    All are the raw 64-bit values (CS and the code segment 16 bit). ``status`` is MCi_STATUS, ``addr`` MCi_ADDR,
    ``misc`` MCi_MISC (MCA_MISC0 on AMD), ``synd``/``ipid``/``config``/``destat``/``deaddr`` the SMCA registers.
    """

    status: int | None = None
    addr: int | None = None
    misc: int | None = None
    synd: int | None = None
    ipid: int | None = None
    mcg_status: int | None = None
    mcg_cap: int | None = None
    tsc: int | None = None
    ppin: int | None = None
    ip: int | None = None
    cs: int | None = None
    ctl2: int | None = None
    config: int | None = None
    destat: int | None = None
    deaddr: int | None = None
    synd1: int | None = None
    synd2: int | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where in the machine: each part None unless the evidence carries it. Numbers are as the source counts them.

    ``card`` and ``module`` are firmware's words (UEFI N.2.5: node, card and module together name the failing unit).
    """

    socket: int | None = None
    node: int | None = None
    core: int | None = None
    controller: int | None = None
    channel: int | None = None
    slot: int | None = None
    card: int | None = None
    module: int | None = None
    rank: int | None = None
    bank_group: int | None = None
    bank: int | None = None
    row: int | None = None
    column: int | None = None
    device: int | None = None
    dq: int | None = None
    csrow: int | None = None
    label: str | None = None
    syndrome: int | None = None

    def merged(self, other: Location) -> Location:
        """This location with the gaps filled from ``other``."""
        return Location(
            **{
                name: mine if (mine := getattr(self, name)) is not None else getattr(other, name)
                for name in Location.__slots__
            }
        )


class ClaimKind(StrEnum):
    """What sort of thing a source says in its own words."""

    SEVERITY = "severity"
    ERROR = "error"
    PANIC = "panic"
    EDAC = "edac"
    MEMORY_FAILURE = "memory-failure"
    OWNER = "owner"
    INJECTION = "injection"
    HYPERVISOR = "hypervisor"
    FIRMWARE = "firmware"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of the source itself, kept word for word; Ringfence may disagree with it."""

    kind: ClaimKind
    text: str
    origin: Origin | None = None


class ClaimedSeverity(StrEnum):
    """How bad a source without registers says the error was."""

    CORRECTED = "corrected"
    DEFERRED = "deferred"
    RECOVERABLE = "recoverable"
    FATAL = "fatal"
    INFORMATIONAL = "informational"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """A memory error as EDAC, firmware or rasdaemon describes it, without or beside the bank's registers.

    ``physical_address`` is the host's; ``guest_address`` is the physical address within a guest, as its virtual machine
    monitor counts: it names no page of the host. ``module_handle`` is the SMBIOS handle of the Memory Device (type 17)
    that failed, in the table of the machine that reported (UEFI 2.10 N.2.5, N.2.6).
    """

    severity: ClaimedSeverity | None = None
    error: str | None = None
    location: Location = field(default_factory=Location)
    physical_address: int | None = None
    physical_address_mask: int | None = None
    grain_bytes: int | None = None
    page_frame: int | None = None
    guest_address: int | None = None
    module_handle: int | None = None

    def merged(self, other: MemoryReport) -> MemoryReport:
        """This report with the gaps filled from ``other``, the location's gaps too."""
        return MemoryReport(
            severity=self.severity if self.severity is not None else other.severity,
            error=self.error if self.error is not None else other.error,
            location=self.location.merged(other.location),
            physical_address=self.physical_address if self.physical_address is not None else other.physical_address,
            physical_address_mask=(
                self.physical_address_mask if self.physical_address_mask is not None else other.physical_address_mask
            ),
            grain_bytes=self.grain_bytes if self.grain_bytes is not None else other.grain_bytes,
            page_frame=self.page_frame if self.page_frame is not None else other.page_frame,
            guest_address=self.guest_address if self.guest_address is not None else other.guest_address,
            module_handle=self.module_handle if self.module_handle is not None else other.module_handle,
        )

    def agrees(self, other: MemoryReport) -> bool:
        """Whether no field is given by both with different values."""
        return self.merged(other) == other.merged(self)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class HypervisorReport:
    """What Xen says of an error beyond the banks (mcinfo_global, mcinfo_bank, mcinfo_recovery, console lines).

    ``domain`` and ``vcpu`` ran on the CPU that reported (mc_domid of the global entry); ``owner`` is the domain whose
    page the address names (mc_domid of the bank entry). The two need not be the same.
    """

    domain: int | None = None
    owner: int | None = None
    vcpu: int | None = None
    global_flags: int | None = None
    extended: tuple[tuple[int, int], ...] = ()
    action_flags: int | None = None
    action_types: int | None = None
    machine_frame: int | None = None
    page_status: int | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One report of a hardware error, as one source gave it. ``raw`` is its text or bytes, unchanged.

    ``cpu`` is the logical CPU number, ``apicid`` the (initial or extended) APIC id, ``cpuid`` CPUID.1:EAX,
    ``time`` seconds since the Unix epoch, ``stamp`` the log's own time text, ``count`` how many errors the source
    itself says that this report stands for. ``assumptions`` lists what the reader had to assume.
    """

    origin: Origin
    format: Format
    raw: bytes
    registers: Registers = Registers()
    bank: int | None = None
    cpu: int | None = None
    socket: int | None = None
    node: int | None = None
    apicid: int | None = None
    vendor: Vendor | None = None
    cpuid: int | None = None
    microcode: int | None = None
    time: float | None = None
    stamp: str | None = None
    delivery: Delivery = Delivery.UNKNOWN
    count: int = 1
    memory: MemoryReport | None = None
    hypervisor: HypervisorReport | None = None
    claims: tuple[Claim, ...] = ()
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """Something that looks like machine-check evidence and cannot be read: counted, shown, never dropped."""

    origin: Origin
    raw: bytes
    why: str


Evidence = Record | Unrecognised


@dataclass(frozen=True, slots=True)
class Lull:
    """The source has been silent for a while: nothing of the last event is still to come, so it can be shown."""
