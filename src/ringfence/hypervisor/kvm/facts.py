"""What is known of a frame, put together: the kernel's flags and words, and who has it. Pure.

Which flags mean what: Linux Documentation/admin-guide/mm/pagemap.rst, and for a page that is out of use already,
mm/memory-failure.c (its words in the log, for the flags of such a page are gone).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ringfence.hypervisor.kvm.kernel_pages import PageFlag
from ringfence.hypervisor.kvm.kernel_words import Story
from ringfence.hypervisor.kvm.owners import Answer, Holder
from ringfence.quick import changed
from ringfence.world.frames import FrameFacts, FrameUse, MappingKind
from ringfence.world.frames import Mapping as FrameMapping
from ringfence.world.identities import DOM0, DOMID_COW, PAGE_SHIFT, DomainId, Frame, GuestFrame
from ringfence.world.situation import AlreadyDone, Deed

_USERS: Final = PageFlag.LRU | PageFlag.MMAP | PageFlag.ANON | PageFlag.HUGE | PageFlag.KSM | PageFlag.THP
_KERNELS: Final = PageFlag.SLAB | PageFlag.PGTABLE


def may_be_a_guests(flags: PageFlag | None, story: Story, maps: int | None) -> bool:
    """Whether it is worth looking for a guest that has the frame."""
    if flags is None:
        return False
    if flags & PageFlag.HWPOISON:
        return not (story.is_free_page or story.is_kernel_page)
    if flags & (PageFlag.BUDDY | PageFlag.NOPAGE | PageFlag.OFFLINE | _KERNELS):
        return False
    return bool(flags & _USERS) and maps != 0


def facts(  # noqa: PLR0913 (one argument a source of what is known)
    frame: Frame,
    *,
    flags: PageFlag | None,
    story: Story,
    maps: int | None,
    pages: int,
    answer: Answer,
    numbers: Mapping[str, DomainId],
    passes_through: Callable[[str], bool] = lambda _: False,
) -> FrameFacts:
    """What is known of a frame. ``pages`` are lost together with it, ``numbers`` are the domains' by their keys."""
    broken = flags is not None and bool(flags & PageFlag.HWPOISON)
    if flags is None:
        return FrameFacts(frame=frame, use=FrameUse.UNKNOWN)
    # A file's page (a program's, a library's) that a QEMU has beside its guest's memory is the host's.
    # Of a clean one the kernel leaves no trace where it takes it away: what is found then is the QEMU's alone.
    private = broken or bool(flags & PageFlag.ANON)
    holders = tuple(each for each in answer.holders if private or not each.own_memory)
    if not all(each.key in numbers for each in holders):
        # A guest that was not there a moment ago, or is not any more: to call its page another's would be wrong.
        return FrameFacts(frame=frame, use=FrameUse.UNKNOWN, pages=pages, broken=broken)
    if holders:
        return _of_guests(frame, holders, numbers, passes_through, pages=pages, broken=broken, shared=_is_shared(flags))
    use, owner = _of_host(flags, story, maps, answer, broken=broken)
    return FrameFacts(frame=frame, use=use, owner=owner, pages=pages, broken=broken)


def whole(facts_: FrameFacts, first: Frame, pages: int) -> FrameFacts:
    """The facts of a frame that is lost with the whole huge page that it is of (hugetlbfs cannot be split)."""
    before = facts_.frame - first

    def moved(page: GuestFrame | None) -> GuestFrame | None:
        return None if page is None else GuestFrame(page - before)

    return changed(
        facts_, frame=first, pages=pages, guest_frame=moved(facts_.guest_frame),
        mappings=tuple(
            FrameMapping(
                domain=each.domain, kind=each.kind, guest_frame=moved(each.guest_frame), removable=each.removable
            )
            for each in facts_.mappings
        ),
    )  # fmt: skip


def _is_shared(flags: PageFlag) -> bool:
    """Whether it is one of KSM's. The flag is made of what the page belonged to, and says nothing once that is gone:
    seen set on a guest's own page that Linux 6.12 had taken away. Who shared such a one is seen by who had it.
    """
    return bool(flags & PageFlag.KSM) and not flags & PageFlag.HWPOISON


def _of_guests(  # noqa: PLR0913
    frame: Frame,
    holders: tuple[Holder, ...],
    numbers: Mapping[str, DomainId],
    passes_through: Callable[[str], bool],
    *,
    pages: int,
    broken: bool,
    shared: bool,
) -> FrameFacts:
    first = holders[0]
    alone = len({each.key for each in holders}) == 1 and not shared
    mappings = tuple(mapping for each in holders for mapping in _mappings(each, numbers, passes_through, alone=alone))
    return FrameFacts(
        frame=frame,
        use=FrameUse.DOMAIN,
        pages=pages,
        owner=numbers[first.key] if alone else DOMID_COW,
        guest_frame=_guest_frame(first) if alone else None,
        mappings=mappings,
        broken=broken,
    )


def _guest_frame(holder: Holder) -> GuestFrame | None:
    return None if holder.guest_address is None else GuestFrame(holder.guest_address >> PAGE_SHIFT)


def _mappings(
    holder: Holder, numbers: Mapping[str, DomainId], passes_through: Callable[[str], bool], *, alone: bool
) -> tuple[FrameMapping, ...]:
    """The ways of one guest to the page. Of what several guests had, none is the owner: that one had it stands here
    also after the kernel took it away, or nobody would have lost it.

    What a passed-through device reaches stays: the IOMMU's table is pinned (drivers/vfio/vfio_iommu_type1.c), and the
    kernel does not take it away.
    """
    domain, page = numbers[holder.key], _guest_frame(holder)
    kind = MappingKind.CPU if alone else MappingKind.SHARED
    own = () if holder.unmapped and alone else (FrameMapping(domain=domain, kind=kind, guest_frame=page),)
    if not passes_through(holder.key):
        return own
    return (*own, FrameMapping(domain=domain, kind=MappingKind.IOMMU, guest_frame=page, removable=False))


def _of_host(
    flags: PageFlag, story: Story, maps: int | None, answer: Answer, *, broken: bool
) -> tuple[FrameUse, DomainId | None]:
    """A frame that no guest is known to have."""
    if flags & PageFlag.NOPAGE:
        return FrameUse.NOT_MEMORY, None
    if broken:
        return _of_broken(flags, story, answer)
    if flags & PageFlag.OFFLINE:
        return FrameUse.OFFLINE, None
    if flags & PageFlag.BUDDY or (flags & PageFlag.HUGE and maps == 0):
        return FrameUse.FREE, None
    if flags & _KERNELS or not flags & _USERS:
        return FrameUse.HYPERVISOR, None
    # Page cache and memory of processes: the host's own, once no guest has it.
    return (FrameUse.DOMAIN, DOM0) if answer.complete else (FrameUse.UNKNOWN, None)


def _of_broken(flags: PageFlag, story: Story, answer: Answer) -> tuple[FrameUse, DomainId | None]:
    """One that the kernel holds for broken: by what it said that it was."""
    if story.is_free_page or (not story.page and not flags & _USERS and answer.complete):
        return FrameUse.OFFLINE, None
    if story.is_kernel_page:
        return FrameUse.HYPERVISOR, None
    if story.again and not story.page:
        # It was taken out of use ahead of this error, and lost nothing then: whoever had it has another page.
        return FrameUse.OFFLINE, None
    return (FrameUse.DOMAIN, DOM0) if answer.complete else (FrameUse.UNKNOWN, None)


def deeds(facts_: FrameFacts, told: frozenset[DomainId], killed: frozenset[DomainId]) -> tuple[AlreadyDone, ...]:
    """What kernel and QEMU did about a frame: ``told`` are the guests that QEMU told, ``killed`` those whose QEMU ended
    by it.
    """
    if not facts_.broken:
        return ()
    frame, owner = facts_.frame, facts_.owner
    found: list[AlreadyDone] = []
    if facts_.use is FrameUse.OFFLINE or not facts_.mappings:
        found.append(AlreadyDone(Deed.OFFLINED_FRAME, frame=frame))
    owners = {owner} if owner is not None and owner != DOMID_COW else {each.domain for each in facts_.mappings}
    for domain in sorted(owners | told | killed):
        if domain == DOM0:
            continue
        if domain in killed:
            found.append(AlreadyDone(Deed.KILLED_DOMAIN, domain=domain, frame=frame))
            continue
        found.append(AlreadyDone(Deed.ISOLATED_FRAME, domain=domain, frame=frame))
        if domain in told:
            found.append(AlreadyDone(Deed.INJECTED_VMCE, domain=domain, frame=frame))
    return tuple(found)
