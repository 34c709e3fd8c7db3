"""Whose a page frame is, and who else can reach it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from ringfence.quick import quick
from ringfence.world.identities import DomainId, Frame, GuestFrame


class FrameUse(StrEnum):
    """What a frame is used for."""

    DOMAIN = "a domain's memory"
    HYPERVISOR = "the hypervisor's heap, text or tables"
    FREE = "free"
    BALLOONED = "ballooned out"
    OFFLINE = "offline"
    NOT_MEMORY = "no memory there"
    UNKNOWN = "unknown"


class MappingKind(StrEnum):
    """How a domain reaches a frame that may belong to another."""

    CPU = "page table"
    GRANT = "grant"
    FOREIGN = "foreign mapping"
    SHARED = "shared page"
    IOMMU = "device DMA"


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a domain reaches a frame.

    ``guest_frame`` is the frame's number as that domain counts, None if the backend cannot tell. ``removable``: the
    backend can take the mapping away while the domain lives.
    """

    domain: DomainId
    kind: MappingKind
    guest_frame: GuestFrame | None = None
    removable: bool = True


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """What the hypervisor knows of a frame.

    ``pages`` counts the frames from ``frame`` on that are lost together: 1, or 512 and more if the frame is part of a
    superpage that cannot be split. ``owner`` is None unless ``use`` is DOMAIN or BALLOONED, and ``guest_frame`` is its
    own number of ``frame``, which stays when its mapping was taken away. ``mappings`` are all ways to it, the owner's
    own among them. ``reclaimable``: the hypervisor can give up this frame of its own.
    ``broken``: it is marked so, by an earlier error, or already for the one that is asked about.
    """

    frame: Frame
    use: FrameUse
    pages: int = 1
    owner: DomainId | None = None
    guest_frame: GuestFrame | None = None
    mappings: tuple[Mapping, ...] = ()
    reclaimable: bool = False
    broken: bool = False

    @property
    def declared_leftovers(self) -> tuple[Mapping, ...]:
        """The mappings that cannot be taken away: L1 wants them declared."""
        return tuple(mapping for mapping in self.mappings if not mapping.removable)
