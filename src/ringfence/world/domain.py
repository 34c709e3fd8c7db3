"""What is known of one domain, and of the control domain in particular."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringfence.quick import quick
from ringfence.world.identities import DOM0, DomainId


class DomainKind(StrEnum):
    """How a domain is virtualised. A KVM guest is HVM; PVH goes by the rows of HVM."""

    DOM0 = "Dom0"
    PV = "PV"
    PVH = "PVH"
    HVM = "HVM"


class DomainState(StrEnum):
    """Where a domain is in its life."""

    RUNNING = "running"
    PAUSED = "paused"
    SAVED = "saved"
    MIGRATED = "migrated"
    SHUT_DOWN = "shut down"
    CRASHED = "crashed"
    DESTROYED = "destroyed"


LIVING = frozenset({DomainState.RUNNING, DomainState.PAUSED})
"""States in which a domain has memory and vCPUs on this host."""


class McaHandler(StrEnum):
    """The PV MCA handler that a guest registered (concept, Words)."""

    NONE = "none"
    AGENT = "agent"
    """Asynchronous: serves corrected errors, DEFERRED, UCNA and SRAO."""
    TRAP = "trap"
    """A synchronous #MC handler: serves SRAR as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A saved state of a domain.

    ``taken_ms`` is on the host's clock. ``disks_of_same_moment``: its disks have a snapshot of the same moment, or are
    read-only; without that a restore over newer disks would corrupt their file systems (concept, last section).
    """

    taken_ms: int
    disks_of_same_moment: bool


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain as the hypervisor sees it now.

    ``mca_enabled``: the guest set CR4.MCE and left a bank's control on. ``in_machine_check``: MCIP of one of its vCPUs
    is still set. ``serves`` are the domains that need this one (driver domain, stub domain, device model).
    ``agent`` is what an agent in it calls itself, ``thrown`` how much of what it said was thrown away, by the reason.
    ``incarnation`` counts how often its memory was made anew (restart, restore): it has not lost what was lost before.
    ``dirty_pages_per_s`` is how fast it rewrites its memory, None if unknown. ``may_migrate`` is false with passed
    through devices or other things that tie it to this host.
    """

    id: DomainId
    name: str
    kind: DomainKind
    uuid: str = ""
    labels: frozenset[str] = frozenset()
    state: DomainState = DomainState.RUNNING
    handler: McaHandler = McaHandler.NONE
    agent: str = ""
    thrown: tuple[tuple[str, int], ...] = ()
    mca_enabled: bool = False
    in_machine_check: bool = False
    vcpus: int = 1
    memory_pages: int = 0
    dirty_pages_per_s: int | None = None
    may_migrate: bool = True
    checkpoint: Checkpoint | None = None
    incarnation: int = 0
    serves: frozenset[DomainId] = frozenset()

    @property
    def is_dom0(self) -> bool:
        """Whether it is the control domain."""
        return self.id == DOM0

    @property
    def lives(self) -> bool:
        """Whether it still has memory and vCPUs here."""
        return self.state in LIVING


@dataclass(frozen=True, slots=True, kw_only=True)
class Dom0State:
    """Whether the control domain can be asked (B.3, L5).

    ``has_handler``: it installed an MCA event handler. ``hurt``: an error took part of it, and no verified probe has
    shown since that it works.
    """

    has_handler: bool
    hurt: bool = False

    @property
    def is_able(self) -> bool:
        """Whether it may be asked."""
        return self.has_handler and not self.hurt
