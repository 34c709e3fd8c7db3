"""What can be done: a closed union of steps, each with what a kill in the middle of it means (law L9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from ringfence.quick import quick
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, GuestFrame, StepId


class Repeat(StrEnum):
    """What may be done about a step of which nobody knows whether it happened."""

    IDEMPOTENT = "idempotent"
    """Doing it again changes nothing."""
    PROBEABLE = "probeable"
    """Whether it happened can be seen."""
    NEITHER = "neither"
    """It is never repeated, and ends as UNKNOWN."""


@dataclass(frozen=True, slots=True)
class NotifyDom0:
    """Tell Dom0 that something happened: VIRQ_MCA and a record in the urgent or the nonurgent queue."""

    urgent: bool
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class AskDom0:
    """Ask Dom0 what shall become of a domain; ``deadline_ms`` is a time on the host's clock (I.2c-dom0).

    ``operate``: only a case II operation is left to be done (I.3a-dom0, I.3b-dom0).
    """

    domain: DomainId
    deadline_ms: int
    operate: bool = False
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class PauseDomain:
    """Stop all vCPUs of a domain."""

    domain: DomainId
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class UnpauseDomain:
    """Let a domain run again."""

    domain: DomainId
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class IsolateFrame:
    """Take away every mapping of the frames that can be taken away: page tables, grants, foreign, IOMMU."""

    frame: Frame
    pages: int = 1
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class OfflineFrame:
    """Take frames out of use; an owned page stays pending until its owner lets go of it."""

    frame: Frame
    pages: int = 1
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class OnlineFrame:
    """Put a frame back into use."""

    frame: Frame
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class ExchangeFrame:
    """Copy a page that is still good elsewhere, give the domain the copy, and take the old frame out of use."""

    domain: DomainId
    frame: Frame
    repeat: ClassVar[Repeat] = Repeat.PROBEABLE


@dataclass(frozen=True, slots=True)
class NotifyGuest:
    """Tell a domain's PV MCA handler which of its pages are lost, in its own frame numbers (I.3a-handler, L7).

    ``must_act`` is false where it is told "for purely notification purposes" (I.3a-inform). ``endangered``: the pages
    are still good (corrected errors), and may be copied away; else they are lost, and must not be read.
    """

    domain: DomainId
    pages: tuple[GuestFrame, ...]
    must_act: bool = True
    endangered: bool = False
    repeat: ClassVar[Repeat] = Repeat.PROBEABLE


@dataclass(frozen=True, slots=True)
class InjectVmce:
    """Inject a virtual machine check that carries the guest-physical address of one lost page (B.5)."""

    domain: DomainId
    page: GuestFrame
    repeat: ClassVar[Repeat] = Repeat.NEITHER


@dataclass(frozen=True, slots=True)
class SaveDomain:
    """Save a domain to disk; it stops."""

    domain: DomainId
    repeat: ClassVar[Repeat] = Repeat.PROBEABLE


@dataclass(frozen=True, slots=True)
class RestoreDomain:
    """Restore a domain from its last checkpoint, together with its disks of the same moment."""

    domain: DomainId
    repeat: ClassVar[Repeat] = Repeat.PROBEABLE


@dataclass(frozen=True, slots=True)
class MigrateDomain:
    """Migrate a domain live to another host."""

    domain: DomainId
    destination: str
    repeat: ClassVar[Repeat] = Repeat.PROBEABLE


@dataclass(frozen=True, slots=True)
class ShutDownDomain:
    """Ask a domain to shut down in order."""

    domain: DomainId
    repeat: ClassVar[Repeat] = Repeat.PROBEABLE


@dataclass(frozen=True, slots=True)
class RestartDomain:
    """Destroy a domain and start it anew from its disks."""

    domain: DomainId
    repeat: ClassVar[Repeat] = Repeat.PROBEABLE


@dataclass(frozen=True, slots=True)
class DestroyDomain:
    """End a domain at once."""

    domain: DomainId
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class OfflineCpu:
    """Take a logical CPU out of use."""

    cpu: CpuId
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class OnlineCpu:
    """Put a logical CPU back into use."""

    cpu: CpuId
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class HealHost:
    """Self-healing of the hypervisor or of Dom0: give up the frames or the CPU, and go on without them (I.2b)."""

    frames: tuple[Frame, ...]
    cpu: CpuId | None
    dom0: bool
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class DegradeHost:
    """Let no new guest start on this host (I.2u)."""

    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class DrainHost:
    """Move every guest that can be moved to another host (II.3)."""

    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class SaveEvidence:
    """Give Dom0 until ``deadline_ms`` to write the evidence down before the halt (B.3)."""

    deadline_ms: int
    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class LastWords:
    """Put the evidence out to every sink that works, the smallest useful record first (B.2)."""

    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


@dataclass(frozen=True, slots=True)
class HaltHost:
    """Stop the machine (I.2x, I.2b on failure)."""

    repeat: ClassVar[Repeat] = Repeat.IDEMPOTENT


Step = (
    NotifyDom0
    | AskDom0
    | PauseDomain
    | UnpauseDomain
    | IsolateFrame
    | OfflineFrame
    | OnlineFrame
    | ExchangeFrame
    | NotifyGuest
    | InjectVmce
    | SaveDomain
    | RestoreDomain
    | MigrateDomain
    | ShutDownDomain
    | RestartDomain
    | DestroyDomain
    | OfflineCpu
    | OnlineCpu
    | HealHost
    | DegradeHost
    | DrainHost
    | SaveEvidence
    | LastWords
    | HaltHost
)
"""Everything that can be done. Closed: ``match`` over it ends in ``assert_never``."""


class Status(StrEnum):
    """What became of a step."""

    DONE = "done"
    RUNNING = "running"
    """Begun; its end is reported later."""
    PENDING = "pending"
    """Accepted, and takes effect when its page or domain lets go (an owned page's offlining)."""
    REFUSED = "refused"
    """Not begun, nothing changed (II.4, L8)."""
    FAILED = "failed"
    """Begun and not achieved."""
    UNKNOWN = "unknown"
    """Nobody can tell whether it happened; it is never repeated (L9)."""


@quick
@dataclass(frozen=True, slots=True)
class Result:
    """What became of a step, and in the backend's words why. ``declared`` is what it could not do (L1)."""

    status: Status
    because: str = ""
    declared: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether it has the effect that was asked for, now or as soon as the owner lets go."""
        return self.status in {Status.DONE, Status.PENDING}


@quick
@dataclass(frozen=True, slots=True)
class Order:
    """A step with its number: what is handed to a backend. ``case`` is the case that it belongs to, if one does."""

    id: StepId
    step: Step
    case: CaseId | None = None
