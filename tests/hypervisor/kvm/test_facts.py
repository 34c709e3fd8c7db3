"""Whose a frame is, from the kernel's flags and words and from who was found to have it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ringfence.hypervisor.kvm.facts import deeds, facts, may_be_a_guests, whole
from ringfence.hypervisor.kvm.kernel_pages import PageFlag
from ringfence.hypervisor.kvm.kernel_words import Story
from ringfence.hypervisor.kvm.owners import NOT_KNOWN, Answer, Holder
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import DOM0, DOMID_COW, DomainId, Frame, GuestFrame
from ringfence.world.situation import AlreadyDone, Deed

F = Frame(0x4711)
WEB, DB = DomainId(1), DomainId(2)
NUMBERS = {"web": WEB, "db": DB}
LRU = PageFlag.LRU | PageFlag.ANON | PageFlag.MMAP
BROKEN = PageFlag.HWPOISON
NOBODY, SILENT = Answer(), Story()
FREE = Story(page="free buddy page", result="Recovered")
AGAIN = Story(again=True)
KERNEL = Story(page="high-order kernel page", result="Ignored")
DIRTY = Story(page="dirty LRU page", result="Recovered")


def _holder(key: str = "web", address: int | None = 0x7000, *, unmapped: bool = False) -> Holder:
    return Holder(key=key, pid=9, host_address=0x7F0000007000, guest_address=address, unmapped=unmapped)


def _facts(
    flags: PageFlag | None, answer: Answer = NOBODY, story: Story = SILENT, maps: int | None = 1, *, tied: bool = False
) -> FrameFacts:
    return facts(
        F, flags=flags, story=story, maps=maps, pages=1, answer=answer, numbers=NUMBERS, passes_through=lambda _: tied
    )


@pytest.mark.parametrize(
    ("flags", "story", "answer", "maps", "use", "owner"),
    [
        (None, Story(), NOBODY, None, FrameUse.UNKNOWN, None),
        (PageFlag.NOPAGE, Story(), NOBODY, 0, FrameUse.NOT_MEMORY, None),
        (PageFlag.BUDDY, Story(), NOBODY, 0, FrameUse.FREE, None),
        (PageFlag.OFFLINE, Story(), NOBODY, 0, FrameUse.OFFLINE, None),
        (PageFlag.HUGE | PageFlag.COMPOUND_HEAD, Story(), NOBODY, 0, FrameUse.FREE, None),
        (PageFlag.SLAB, Story(), NOBODY, 0, FrameUse.HYPERVISOR, None),
        (PageFlag.PGTABLE, Story(), NOBODY, 0, FrameUse.HYPERVISOR, None),
        (PageFlag(0), Story(), NOBODY, 0, FrameUse.HYPERVISOR, None),
        (LRU, Story(), NOBODY, 1, FrameUse.DOMAIN, DOM0),
        (PageFlag.LRU, Story(), NOBODY, 0, FrameUse.DOMAIN, DOM0),
        (LRU, Story(), NOT_KNOWN, 1, FrameUse.UNKNOWN, None),
        (BROKEN, FREE, NOBODY, 0, FrameUse.OFFLINE, None),
        (BROKEN, Story(), NOBODY, 0, FrameUse.OFFLINE, None),
        (BROKEN, KERNEL, NOBODY, 0, FrameUse.HYPERVISOR, None),
        (BROKEN | LRU, DIRTY, NOBODY, 0, FrameUse.DOMAIN, DOM0),
        (BROKEN, DIRTY, NOT_KNOWN, 0, FrameUse.UNKNOWN, None),
    ],
)
def test_a_page_that_no_guest_has_is_the_host_s_or_nobody_s(
    flags: PageFlag | None, story: Story, answer: Answer, maps: int | None, use: FrameUse, owner: DomainId | None
) -> None:
    found = _facts(flags, answer, story, maps)
    assert (found.use, found.owner) == (use, owner)
    assert found.broken == (flags is not None and bool(flags & BROKEN))


def test_a_page_that_was_out_of_use_when_the_error_came_is_nobody_s() -> None:
    assert _facts(BROKEN | PageFlag.LRU, NOT_KNOWN, AGAIN).use is FrameUse.OFFLINE
    assert _facts(BROKEN, NOT_KNOWN, replace(DIRTY, again=True)).use is FrameUse.UNKNOWN
    assert _facts(BROKEN, NOBODY, replace(KERNEL, again=True)).use is FrameUse.HYPERVISOR


def test_a_guest_s_page_that_is_still_good_is_mapped_and_can_be_taken_away() -> None:
    found = _facts(LRU, Answer(holders=(_holder(),)))
    assert (found.use, found.owner, found.guest_frame) == (FrameUse.DOMAIN, WEB, GuestFrame(7))
    assert found.mappings == (Mapping(domain=WEB, kind=MappingKind.CPU, guest_frame=GuestFrame(7)),)
    assert not found.declared_leftovers


def test_a_page_of_a_file_that_a_qemu_maps_beside_its_guest_s_memory_is_the_host_s() -> None:
    """libvirt's, glibc's, QEMU's own program: every process has it, and the first guest that is found is no loser."""
    library = Answer(holders=(Holder(key="web", pid=9, host_address=0x7F0000007000, own_memory=True),))
    assert _facts(PageFlag.LRU | PageFlag.MMAP, library, maps=40).owner == DOM0
    assert _facts(LRU, library).owner == WEB  # QEMU's heap is its guest's loss


def test_one_that_the_kernel_has_taken_away_has_its_number_still() -> None:
    found = _facts(BROKEN, Answer(holders=(_holder(unmapped=True),)), DIRTY)
    assert (found.owner, found.guest_frame, found.mappings, found.broken) == (WEB, GuestFrame(7), (), True)


def test_what_the_kernel_s_flags_say_of_a_page_that_is_gone_makes_it_nobody_else_s() -> None:
    found = _facts(BROKEN | PageFlag.KSM, Answer(holders=(_holder(unmapped=True),)), DIRTY)
    assert (found.owner, found.guest_frame) == (WEB, GuestFrame(7))


@pytest.mark.parametrize("flags", [BROKEN, LRU])
def test_a_page_of_a_guest_that_has_no_number_yet_is_nobody_else_s(flags: PageFlag) -> None:
    """It was found a moment after the guests were listed: that is no proof that nobody or the host has it."""
    found = _facts(flags, Answer(holders=(_holder("new", unmapped=True),)))
    assert (found.use, found.owner) == (FrameUse.UNKNOWN, None)


def test_what_a_passed_through_device_reaches_is_declared() -> None:
    found = _facts(BROKEN, Answer(holders=(_holder(unmapped=True),)), DIRTY, tied=True)
    assert [each.kind for each in found.declared_leftovers] == [MappingKind.IOMMU]


def test_guests_that_share_a_page_all_have_it_and_none_owns_it() -> None:
    found = _facts(LRU | PageFlag.KSM, Answer(holders=(_holder(), _holder("db", 0x9000))))
    assert found.owner == DOMID_COW and found.guest_frame is None
    assert {(each.domain, each.kind) for each in found.mappings} == {
        (WEB, MappingKind.SHARED),
        (DB, MappingKind.SHARED),
    }


def test_guests_that_shared_a_page_have_lost_it_when_the_kernel_has_taken_it_away() -> None:
    both = Answer(holders=(_holder(unmapped=True), _holder("db", 0x9000, unmapped=True)))
    found = _facts(BROKEN, both, DIRTY)
    assert {each.domain for each in found.mappings} == {WEB, DB}
    told = deeds(found, frozenset({WEB, DB}), frozenset())
    assert {each.domain for each in told if each.deed is Deed.ISOLATED_FRAME} == {WEB, DB}


def test_memory_of_qemu_itself_is_its_guest_s_loss_and_has_no_number() -> None:
    found = _facts(LRU, Answer(holders=(_holder(address=None),)))
    assert found.owner == WEB and found.guest_frame is None


def test_a_huge_page_is_lost_from_its_first_frame_on() -> None:
    one = _facts(LRU, Answer(holders=(_holder(address=(0x4711 + 0x800) << 12),)))
    found = whole(one, Frame(0x4600), 512)
    assert (found.frame, found.pages) == (Frame(0x4600), 512)
    assert found.guest_frame == GuestFrame(0x4600 + 0x800) == found.mappings[0].guest_frame


def test_nobody_is_looked_for_where_no_guest_can_be() -> None:
    for flags, story in product(
        (PageFlag.BUDDY, PageFlag.SLAB, PageFlag.NOPAGE, PageFlag(0), None), (Story(), DIRTY, FREE)
    ):
        assert not may_be_a_guests(flags, story, 1)
    assert may_be_a_guests(LRU, Story(), 1) and not may_be_a_guests(LRU, Story(), 0)
    assert may_be_a_guests(BROKEN, DIRTY, 0) and may_be_a_guests(BROKEN, Story(), 0)
    assert not may_be_a_guests(BROKEN, FREE, 0) and not may_be_a_guests(BROKEN, KERNEL, 0)


def test_what_kernel_and_qemu_did_is_said_once_each() -> None:
    lost = _facts(BROKEN, Answer(holders=(_holder(unmapped=True),)), DIRTY)
    out, isolated = AlreadyDone(Deed.OFFLINED_FRAME, frame=F), AlreadyDone(Deed.ISOLATED_FRAME, domain=WEB, frame=F)
    told = AlreadyDone(Deed.INJECTED_VMCE, domain=WEB, frame=F)
    assert deeds(lost, frozenset(), frozenset()) == (out, isolated)
    assert deeds(lost, frozenset({WEB}), frozenset()) == (out, isolated, told)
    killed = AlreadyDone(Deed.KILLED_DOMAIN, domain=WEB, frame=F)
    assert deeds(lost, frozenset(), frozenset({WEB})) == (out, killed)
    good = _facts(LRU, Answer(holders=(_holder(),)))
    assert deeds(good, frozenset({WEB}), frozenset()) == ()
    assert deeds(_facts(BROKEN, NOBODY, FREE), frozenset(), frozenset()) == (out,)
