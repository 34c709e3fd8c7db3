"""Page states as Xen's page allocator has them (xen/common/page_alloc.c), and the owner map."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringfence.hypervisor.model.frames import DOMID_XEN, Errno, FrameTable, Holder, Owner, Pg, Query
from ringfence.world.identities import DOMID_COW, DomainId, Frame, GuestFrame

GUEST = DomainId(7)
MEMORY = (range(0x1000), range(0x4000, 0x5000))


def table(pages: int = 16) -> FrameTable:
    made = FrameTable(MEMORY)
    made.allocate(4, Owner(Holder.XEN_FIXED))
    made.allocate(4, Owner(Holder.XEN_HEAP))
    made.allocate(pages, Owner(Holder.DOMAIN, GUEST, GuestFrame(0)))
    return made


FIXED, HEAP, OWNED, FREE, NOWHERE = (Frame(number) for number in (1, 5, 9, 0x800, 0x3000))


def offline(frames: FrameTable, frame: Frame, *, broken: bool = True) -> tuple[int, int]:
    done = frames.offline(frame, broken=broken, crash_again=False)
    return done.errno, done.status


def test_a_free_page_is_offline_at_once() -> None:
    frames = table()
    before = frames.free_pages
    assert offline(frames, FREE) == (0, Pg.OFFLINED | Pg.BROKEN)
    assert frames.is_offline(FREE)
    assert frames.free_pages == before - 1
    assert frames.query(FREE).status == Query.OFFLINED | Query.BROKEN


def test_an_owned_page_is_pending_until_its_owner_lets_go() -> None:
    frames = table()
    assert offline(frames, OWNED) == (0, Pg.OWNED | Pg.PENDING | Pg.BROKEN | GUEST << 16)
    assert frames.query(OWNED).status == Query.PENDING | Query.BROKEN
    assert not frames.is_offline(OWNED)
    frames.release_all_of(GUEST)
    assert frames.is_offline(OWNED)
    assert frames.owner(OWNED) is None


def test_a_shared_page_is_owned_by_dom_cow() -> None:
    frames = table()
    frames.give(OWNED, Owner(Holder.SHARED))
    assert offline(frames, OWNED)[1] >> 16 == DOMID_COW


def test_xens_image_is_refused_with_eperm_and_its_heap_is_pending() -> None:
    frames = table()
    assert offline(frames, FIXED) == (-Errno.EPERM, Pg.XENPAGE | Pg.FAILED | DOMID_XEN << 16)
    assert frames.query(FIXED).status == 0
    assert offline(frames, HEAP) == (0, Pg.XENPAGE | Pg.PENDING | Pg.BROKEN | DOMID_XEN << 16)


def test_where_there_is_no_memory_every_operation_is_einval() -> None:
    frames = table()
    for done in (
        frames.offline(NOWHERE, broken=False, crash_again=True),
        frames.online(NOWHERE),
        frames.query(NOWHERE),
    ):
        assert done.errno == -Errno.EINVAL


def test_only_an_unbroken_page_comes_online_again() -> None:
    frames = table()
    before = frames.free_pages
    offline(frames, FREE, broken=False)
    assert frames.online(FREE).status == Pg.OFFLINED
    assert frames.free_pages == before
    offline(frames, FREE, broken=True)
    done = frames.online(FREE)
    assert (done.errno, done.status) == (-Errno.EINVAL, Pg.FAILED | Pg.BROKEN)


def test_a_pending_page_comes_online_without_ever_having_left() -> None:
    frames = table()
    offline(frames, OWNED, broken=False)
    assert frames.online(OWNED).status == Pg.OFFLINED
    frames.release(OWNED)
    assert not frames.is_offline(OWNED)


def test_xen_crashes_the_owner_of_a_broken_page_that_is_offlined_again_and_the_concept_does_not() -> None:
    frames = table()
    offline(frames, OWNED)
    again = frames.offline(OWNED, broken=True, crash_again=True)
    assert (again.status, again.crash) == (Pg.AGAIN, GUEST)
    assert frames.offline(OWNED, broken=True, crash_again=False).crash is None


def test_an_offline_page_is_never_handed_out_again() -> None:
    frames = FrameTable((range(8),))
    offline(frames, Frame(3))
    parts = frames.allocate(7, Owner(Holder.DOMAIN, GUEST, GuestFrame(0)))
    assert 3 not in {frame for part in parts for frame in part}
    assert [frames.frame_of(GUEST, GuestFrame(page)) for page in range(7)] == [0, 1, 2, 4, 5, 6, 7]


def test_a_frame_that_is_given_up_leaves_the_numbers_of_the_others_alone() -> None:
    frames = table()
    lost = frames.frame_of(GUEST, GuestFrame(5))
    assert lost is not None
    frames.release(lost, ballooned_by=GUEST)
    assert frames.frame_of(GUEST, GuestFrame(5)) is None
    assert frames.ballooned_by(lost) == GUEST
    for page in (4, 6, 15):
        frame = frames.frame_of(GUEST, GuestFrame(page))
        assert frame is not None
        owner = frames.owner(frame)
        assert owner is not None
        assert owner.guest_frame == page


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["start", "end", "offline", "online", "release"]), st.integers(0, 63)), max_size=40
)


@given(OPERATIONS)
def test_every_frame_is_free_owned_or_offline_and_nothing_else(operations: list[tuple[str, int]]) -> None:
    frames = FrameTable((range(32), range(40, 72)))
    every = [*range(32), *range(40, 72)]
    for what, number in operations:
        frame = Frame(every[number])
        domain = DomainId(number % 4 + 1)
        owner = frames.owner(frame)
        match what:
            case "start" if not any(held.domain == domain for _, held in frames.runs()):
                try:
                    frames.allocate(number % 13 + 1, Owner(Holder.DOMAIN, domain, GuestFrame(0)))
                except MemoryError:
                    assert frames.free_pages < number % 13 + 1
            case "end":
                frames.release_all_of(domain)
            case "offline":
                frames.offline(frame, broken=number % 2 == 0, crash_again=False)
            case "online":
                frames.online(frame)
            case "release" if owner is not None:
                frames.release(frame)
            case _:
                pass
        owned = [frame for run, _ in frames.runs() for frame in run]
        offline_now = [frame for frame in every if frames.is_offline(Frame(frame))]
        assert len(owned) == len(set(owned))
        assert not set(owned) & set(offline_now)
        assert len(owned) + len(offline_now) + frames.free_pages == len(every)
        for frame_number in owned:
            held = frames.owner(Frame(frame_number))
            assert held is not None
            assert held.domain is not None
            assert held.guest_frame is not None
            assert frames.frame_of(held.domain, held.guest_frame) == frame_number
