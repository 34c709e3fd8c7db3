"""The host at the moment of a decision, as a value: all that one may look at besides finding and policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from ringfence.quick import quick
from ringfence.world.domain import Dom0State, Domain
from ringfence.world.frames import FrameFacts
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, VcpuId


class Seat(StrEnum):
    """Who decides (concept, Words)."""

    HYPERVISOR = "hypervisor"
    DOM0 = "Dom0"


class Context(StrEnum):
    """In whose code the CPU was when it reported."""

    HYPERVISOR = "hypervisor"
    GUEST = "guest"
    IDLE = "idle"
    UNKNOWN = "unknown"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Who ran on the CPU that reported. ``domain`` is None if nobody did or the backend cannot tell."""

    cpu: CpuId | None = None
    context: Context = Context.UNKNOWN
    domain: DomainId | None = None
    vcpu: VcpuId | None = None


class Deed(StrEnum):
    """What a hypervisor did by itself before Ringfence was asked."""

    ISOLATED_FRAME = "took the mappings of the page away"
    OFFLINED_FRAME = "took the page out of use"
    INJECTED_VMCE = "injected a vMCE"
    NOTIFIED_GUEST = "told the guest"
    KILLED_DOMAIN = "killed the domain"
    OFFLINED_CPU = "took the CPU out of use"
    HALTED = "halted the machine"


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """One thing that the hypervisor did alone: the row it took away is recorded as preempted."""

    deed: Deed
    domain: DomainId | None = None
    frame: Frame | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What the machine can do about errors.

    ``poisons``: whether it keeps bad data marked until consumed (SER_P, SUCCOR), with the evidence for it (B.7); None
    if nothing could be established. ``shared_caches``: for each CPU, the CPUs that share a cache with it.
    """

    poisons: bool | None = None
    poisons_because: str = ""
    shared_caches: tuple[tuple[CpuId, frozenset[CpuId]], ...] = ()
    migration_pages_per_s: int = 0
    """What the link to the other host carries; 0 without another host."""
    disk_pages_per_s: int = 0
    """What the disk of checkpoints carries; 0 without one."""
    skips_broken_pages: bool = False
    """Save and migration pass over a page that is known to be broken, and it arrives as a hole: Xen does (page type
    BROKEN of the stream, tools/libs/guest/xg_sr_common.h), QEMU 10 refuses. False reads every page."""

    def sharing_cache_with(self, cpu: CpuId) -> frozenset[CpuId]:
        """The CPUs that share a cache with ``cpu``, itself among them; empty if the topology is not known."""
        return next((peers for owner, peers in self.shared_caches if owner == cpu), frozenset())


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Another host that guests can be moved to."""

    name: str
    healthy: bool = True
    free_pages: int = 0


@dataclass(frozen=True, slots=True)
class OpenCase:
    """A case that is still open: which frames and which domains it is about, and whether its error was consumed."""

    id: CaseId
    frames: frozenset[Frame]
    domains: frozenset[DomainId]
    consumed: bool


class Suspect(StrEnum):
    """Which part of the machine a trend points at, the smaller ones of memory first. A device is a DRAM chip."""

    CELL = "cell"
    ROW = "row"
    COLUMN = "column"
    BANK = "bank"
    DEVICE = "device"
    PAGE = "page"
    RANK = "rank"
    DIMM = "DIMM"
    CHANNEL = "channel"
    CONTROLLER = "controller"
    CORE = "core"
    CACHE = "cache"
    LINK = "link"
    SOCKET = "socket"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """What the history of corrected errors says of one suspect.

    ``count`` raw corrected errors and ``distinct_syndromes`` from the same rank (B.8) within ``window_ms``.
    ``expected_ue_ms`` is the mean time to the uncorrected error that the history suggests, None if none is expected.
    ``frames`` are those that the trend names; ``offlined`` how many pages of this suspect have been taken out already.
    """

    suspect: Suspect
    name: str
    count: int
    distinct_syndromes: int
    window_ms: int
    expected_ue_ms: int | None = None
    frames: tuple[Frame, ...] = ()
    cpu: CpuId | None = None
    offlined: int = 0


@dataclass(frozen=True, slots=True)
class PluginVerdict:
    """What a plug-in said about a domain of the case: ``answer`` in the policy's own words, empty if it failed or was
    late. ``domain`` None: about every domain of the case.
    """

    plugin: str
    answer: str
    because: str = ""
    domain: DomainId | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The host as it was at ``now_ms`` (milliseconds on the host's clock).

    ``frames`` are those that the finding's address and granularity name; empty if it names none. ``earlier_boot``: the
    evidence stems from before the last reset: it is history and never halts again (B.2). ``capped_frames``: more frames
    were named than the backend lists. ``pages_left_to``: whoever on this host takes pages with too many corrected
    errors out of use instead of Ringfence; empty if nobody does.
    """

    now_ms: int
    dom0: Dom0State
    domains: tuple[Domain, ...] = ()
    frames: tuple[FrameFacts, ...] = ()
    running: Running = Running()
    platform: Platform = Platform()
    earlier_boot: bool = False
    already_done: tuple[AlreadyDone, ...] = ()
    open_cases: tuple[OpenCase, ...] = ()
    trends: tuple[Trend, ...] = ()
    destination: Destination | None = None
    verdicts: tuple[PluginVerdict, ...] = ()
    operations_running: int = 0
    free_pages: int = 0
    pages_left_to: str = ""

    def domain(self, number: DomainId) -> Domain | None:
        """The domain of this number, None if there is none."""
        for domain in self.domains:
            if domain.id == number:
                return domain
        return None
