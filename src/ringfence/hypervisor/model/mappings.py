"""Who can reach a page: its owner, and by grant, foreign mapping, sharing or a device, others."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ringfence.hypervisor.model.frames import FrameTable, Holder
from ringfence.quick import changed
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import DOMID_COW, DomainId, Frame, GuestFrame

ReclaimableCheck = Callable[[Frame], bool]
"""Whether the hypervisor can give up one of its own frames."""


class Mappings:
    """All ways to all pages. ``can_unmap`` tells whether a domain's own mapping can be taken away while it lives."""

    def __init__(
        self, frames: FrameTable, *, can_unmap: Callable[[DomainId], bool], reclaimable: ReclaimableCheck
    ) -> None:
        self._frames = frames
        self._can_unmap = can_unmap
        self._reclaimable = reclaimable
        self._others: dict[Frame, tuple[Mapping, ...]] = {}
        self._sharers: dict[tuple[DomainId, GuestFrame], Frame] = {}
        self._isolated: set[Frame] = set()
        """Frames whose owner has lost its own mapping."""

    def add(self, frame: Frame, mapping: Mapping) -> None:
        """Somebody maps a frame that another has, or reaches it in another way than by its page tables."""
        self._others[frame] = (*self._others.get(frame, ()), mapping)

    def of(self, frame: Frame) -> tuple[Mapping, ...]:
        """All ways to a frame, the owner's own first."""
        owner = self._frames.owner(frame)
        others = self._others.get(frame, ())
        if owner is None or owner.domain is None or frame in self._isolated:
            return others
        own = Mapping(
            domain=owner.domain,
            kind=MappingKind.CPU,
            guest_frame=owner.guest_frame,
            removable=self._can_unmap(owner.domain),
        )
        return (own, *others)

    def isolate(self, frame: Frame) -> tuple[Mapping, ...] | None:
        """Takes away every way that can be taken away; returns those that are left, None if there was none before."""
        if frame not in self._others and frame not in self._isolated:
            return self._isolate_owner(frame)  # as most pages of a superpage are
        ways = self.of(frame)
        if not ways:
            return None
        left = tuple(mapping for mapping in ways if not mapping.removable)
        self._others[frame] = tuple(mapping for mapping in left if mapping.kind is not MappingKind.CPU)
        if not any(mapping.kind is MappingKind.CPU for mapping in left):
            self._isolated.add(frame)
        return left

    def _isolate_owner(self, frame: Frame) -> tuple[Mapping, ...] | None:
        """As ``isolate``, of a frame to which its owner alone has a way."""
        owner = self._frames.held(frame)
        if owner is None or owner.domain is None:
            return None
        if not self._can_unmap(owner.domain):
            return self.of(frame)
        self._isolated.add(frame)
        return ()

    def unmap_owner(self, frame: Frame) -> None:
        """Takes the owner's own mapping away, and no other: all that Xen does."""
        self._isolated.add(frame)

    def reach(self, domain: DomainId, page: GuestFrame) -> Frame | None:
        """The frame that a domain's CPUs reach at one of its pages; None if nothing is mapped there (any more)."""
        frame = self._frames.frame_of(domain, page)
        if frame is not None:
            return None if frame in self._isolated else frame
        frame = self.shared(domain, page)
        mapped = frame is not None and any(mapping.domain == domain for mapping in self._others.get(frame, ()))
        return frame if mapped else None

    def share(self, frame: Frame, domain: DomainId, page: GuestFrame) -> None:
        """A domain has a frame at one of its pages together with others."""
        self._sharers[domain, page] = frame
        self.add(frame, Mapping(domain=domain, kind=MappingKind.SHARED, guest_frame=page))

    def shared(self, domain: DomainId, page: GuestFrame) -> Frame | None:
        """The shared frame at one of a domain's pages, also when its mapping was taken away."""
        return self._sharers.get((domain, page))

    def move(self, old: Frame, new: Frame) -> None:
        """A page was copied elsewhere: all ways to it lead to the new frame."""
        if others := self._others.pop(old, ()):
            self._others[new] = others
        self._isolated.discard(old)

    def forget_frame(self, frame: Frame) -> None:
        """A frame has no owner any more: grants and foreign mappings of it have ended as well."""
        self._others.pop(frame, None)
        self._isolated.discard(frame)

    def forget_domain(self, domain: DomainId) -> None:
        """A domain has ended: its ways to other pages, and all ways to its own, are gone. Call before it is freed."""
        kept: dict[Frame, tuple[Mapping, ...]] = {}
        for frame, mappings in self._others.items():
            owner = self._frames.held(frame)
            left = tuple(mapping for mapping in mappings if mapping.domain != domain)
            if left and not (owner is not None and owner.domain == domain):
                kept[frame] = left
        self._others = kept
        self._sharers = {place: frame for place, frame in self._sharers.items() if place[0] != domain}
        self._isolated.difference_update(self._frames.of(domain, self._isolated))

    def orphans(self) -> tuple[Frame, ...]:
        """Shared frames that nobody has any more."""
        held = set(self._sharers.values())
        return tuple(
            Frame(frame)
            for run, owner in self._frames.runs()
            if owner.holder is Holder.SHARED
            for frame in run
            if frame not in held
        )

    def facts(self, frame: Frame) -> FrameFacts:
        """What the hypervisor knows of a frame."""
        first, pages = self._frames.superpage(frame)
        owner = self._frames.owner(first)
        facts = FrameFacts(
            frame=first,
            use=self._use(frame),
            pages=pages,
            mappings=self._of_all(first, pages),
            broken=self._frames.is_broken(frame),
        )
        match owner:
            case None:
                return changed(facts, owner=self._frames.ballooned_by(frame))
            case _ if owner.holder is Holder.SHARED:
                # As Xen has it: a domain of no memory and no vCPUs owns what guests share (dom_cow).
                return changed(facts, owner=DOMID_COW)
            case _ if owner.holder is Holder.XEN_HEAP:
                return changed(facts, reclaimable=self._reclaimable(frame))
            case _:
                return changed(facts, owner=owner.domain, guest_frame=owner.guest_frame)

    def _of_all(self, first: Frame, pages: int) -> tuple[Mapping, ...]:
        """All ways to a page or to a part of a superpage; the numbers of its owner are those of its first page."""
        if pages == 1:
            return self.of(first)
        parts = sorted(frame for frame in self._others if first < frame < first + pages)
        beyond = (mapping for frame in parts for mapping in self._others[frame])
        return (*self.of(first), *(msgspec.structs.replace(mapping, guest_frame=None) for mapping in beyond))

    def _use(self, frame: Frame) -> FrameUse:
        if not self._frames.is_memory(frame):
            return FrameUse.NOT_MEMORY
        owner = self._frames.held(frame)
        if owner is None:
            if self._frames.is_offline(frame):
                return FrameUse.OFFLINE
            return FrameUse.FREE if self._frames.ballooned_by(frame) is None else FrameUse.BALLOONED
        match owner.holder:
            case Holder.XEN_FIXED | Holder.XEN_HEAP:
                return FrameUse.HYPERVISOR
            case Holder.DOMAIN | Holder.SHARED:
                return FrameUse.DOMAIN
