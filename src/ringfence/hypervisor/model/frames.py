"""Whose each page frame is, and its state, as Xen's page allocator keeps them.

Sparse: memory is handed out in runs, and only what is special about a single frame has an entry. States and answers of
offlining: Xen xen/common/page_alloc.c (offline_page, online_page, query_page_offline), PG_* of public/sysctl.h.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import Final

import msgspec

from ringfence.world.identities import DOMID_COW, SUPERPAGE_FRAMES, DomainId, Frame, GuestFrame

DOMID_XEN: Final = DomainId(0x7FF2)
OWNER_SHIFT: Final = 16
"""PG_OFFLINE_OWNER_SHIFT."""


class Errno(IntEnum):
    """Errors of hypercalls, as Xen returns them (negated; public/errno.h)."""

    EPERM = 1
    ESRCH = 3
    EACCES = 13
    EFAULT = 14
    EBUSY = 16
    EINVAL = 22


class Pg(IntFlag):
    """PG_OFFLINE_*, PG_ONLINE_*: what became of a page. ONLINED and OFFLINED are the same bit."""

    INVALID = 1 << 0
    OFFLINED = 1 << 1
    PENDING = 1 << 2
    FAILED = 1 << 3
    AGAIN = 1 << 4
    XENPAGE = 1 << 8
    DOM0PAGE = 1 << 9
    ANONYMOUS = 1 << 10
    NOT_CONV_RAM = 1 << 11
    OWNED = 1 << 12
    BROKEN = 1 << 13


_BROKEN, _OFFLINED = int(Pg.BROKEN), int(Pg.OFFLINED)
_XEN_PENDING, _OWNED_PENDING = int(Pg.XENPAGE | Pg.PENDING), int(Pg.OWNED | Pg.PENDING)
"""As numbers: a superpage is taken out of use frame by frame."""


class Query(IntFlag):
    """PG_OFFLINE_STATUS_*: what a query answers."""

    OFFLINED = 1 << 1
    ONLINE = 1 << 2
    PENDING = 1 << 3
    BROKEN = 1 << 4


class Holder(StrEnum):
    """What a run of memory was handed out for."""

    DOMAIN = "domain"
    SHARED = "shared by domains"
    XEN_FIXED = "Xen's image and tables"
    XEN_HEAP = "Xen's heap"


class Owner(msgspec.Struct, frozen=True):
    """Who has a frame. ``guest_frame`` is its number in a domain's own counting."""

    holder: Holder
    domain: DomainId | None = None
    guest_frame: GuestFrame | None = None
    whole_superpage: bool = False


@dataclass(order=True, slots=True)
class _Run:
    first: int
    pages: int
    owner: Owner = field(compare=False)

    @property
    def end(self) -> int:
        return self.first + self.pages


class PageOp(msgspec.Struct, frozen=True):
    """The answer of a page operation: 0 or a negative errno, and the status word.

    ``crash``: Xen crashes this owner, whose page was broken already and is offlined again.
    """

    errno: int
    status: int
    crash: DomainId | None = None


class FrameTable:
    """All frames of the machine. ``memory`` are the runs of frames that are memory, in order."""

    def __init__(self, memory: tuple[range, ...]) -> None:
        self._memory = memory
        self._free = list(memory)
        self._free_pages = sum(len(run) for run in memory)
        self._runs: list[_Run] = []
        self._firsts: list[int] | None = None
        """Where each run begins; None after the runs have changed. Looked at for every page that is asked about."""
        self._latest: _Run | None = None
        """The run that was asked for last: the pages of a superpage are asked for in a row."""
        self._offlining: set[int] = set()
        self._offlined: set[int] = set()
        self._broken: set[int] = set()
        self._ballooned: dict[int, DomainId] = {}

    # --- handing out ---------------------------------------------------------------------------------------------

    @property
    def free_pages(self) -> int:
        """How many frames are free."""
        return self._free_pages

    def some_free(self) -> Frame:
        """A free frame: the last one. Raises MemoryError if none is free."""
        if not self._free:
            raise MemoryError("no page is free")
        return Frame(self._free[-1].stop - 1)

    def is_memory(self, frame: Frame) -> bool:
        """Whether there is memory."""
        return any(frame in run for run in self._memory)

    def allocate(self, pages: int, owner: Owner, *, align: int = 1) -> tuple[range, ...]:
        """Hands out so many frames, in as few runs as the free memory allows, lowest first.

        A domain's runs get its guest frames in this order, from 0 on. Raises MemoryError, and hands out nothing, if
        there is not so much.
        """
        taken: list[range] = []
        wanted = pages
        for run in self._free:
            start = -(-run.start // align) * align
            count = min(wanted, (run.stop - start) // align * align if wanted >= align else run.stop - start)
            if count > 0:
                taken.append(range(start, start + count))
                wanted -= count
            if not wanted:
                break
        if wanted:
            raise MemoryError(f"{pages} pages are wanted, and {self.free_pages} are free")
        at = owner.guest_frame or 0
        for part in taken:
            self._cut(part)
            number = GuestFrame(at) if owner.holder is Holder.DOMAIN else None
            self._put(_Run(part.start, len(part), msgspec.structs.replace(owner, guest_frame=number)))
            at += len(part)
        return tuple(taken)

    def give(self, frame: Frame, owner: Owner) -> None:
        """Changes the owner of one frame, as when it becomes shared."""
        self._split_at(frame)
        self._put(_Run(frame, 1, owner))

    def release(self, frame: Frame, *, ballooned_by: DomainId | None = None) -> None:
        """One frame is given up by who has it; it is offline now if that was pending."""
        self._split_at(frame)
        self._put_back(frame)
        if ballooned_by is not None and frame not in self._offlined:
            self._ballooned[frame] = ballooned_by

    def release_all_of(self, domain: DomainId) -> None:
        """Everything that a domain has is given up: it has ended."""
        gone = [run for run in self._runs if run.owner.domain == domain]
        self._runs = [run for run in self._runs if run.owner.domain != domain]
        self._firsts = self._latest = None
        special = sorted(self._offlining | self._broken) if gone else []
        for run in gone:
            at = run.first
            for frame in special[bisect_left(special, run.first) : bisect_left(special, run.end)]:
                self._insert(range(at, frame))
                self._put_back(Frame(frame))
                at = frame + 1
            self._insert(range(at, run.end))
        self._ballooned = {frame: owner for frame, owner in self._ballooned.items() if owner != domain}

    def owner(self, frame: Frame) -> Owner | None:
        """Who has a frame, None for nobody."""
        run = self._run_of(frame)
        if run is None:
            return None
        number = run.owner.guest_frame
        if number is None:
            return run.owner
        held = run.owner
        return Owner(held.holder, held.domain, GuestFrame(number + frame - run.first), held.whole_superpage)

    def held(self, frame: Frame) -> Owner | None:
        """Who has a frame, None for nobody; without its own number in a domain's counting (``owner``)."""
        run = self._run_of(frame)
        return None if run is None else run.owner

    def frame_of(self, domain: DomainId, page: GuestFrame) -> Frame | None:
        """Where a domain's page is, None if it has none there of its own."""
        for run in self._runs:
            number = run.owner.guest_frame
            if run.owner.domain == domain and number is not None and 0 <= page - number < run.pages:
                return Frame(run.first + page - number)
        return None

    def ballooned_by(self, frame: Frame) -> DomainId | None:
        """The living domain that gave a free frame up."""
        return self._ballooned.get(frame)

    def superpage(self, frame: Frame) -> tuple[Frame, int]:
        """The frames that are lost together with this one: its whole superpage if it cannot be split."""
        owner = self.held(frame)
        if owner is None or not owner.whole_superpage:
            return frame, 1
        return Frame(frame - frame % SUPERPAGE_FRAMES), SUPERPAGE_FRAMES

    # --- states --------------------------------------------------------------------------------------------------

    def is_offline(self, frame: Frame) -> bool:
        """Whether a frame is out of use."""
        return frame in self._offlined

    def is_pending(self, frame: Frame) -> bool:
        """Whether a frame will be out of use as soon as its owner lets go."""
        return frame in self._offlining

    def is_broken(self, frame: Frame) -> bool:
        """Whether an error has marked a frame."""
        return frame in self._broken

    def mark_broken(self, frame: Frame) -> None:
        """An error has hit the frame; its state stays."""
        self._broken.add(frame)

    def offline(self, frame: Frame, *, broken: bool, crash_again: bool) -> PageOp:
        """offline_page(): takes a frame out of use, now or when its owner lets go.

        ``crash_again``: as Xen does, an owner whose page was marked as broken already is to be crashed; without that,
        asking again changes nothing.
        """
        owner = self.held(frame)
        if owner is None and not self.is_memory(frame):
            return PageOp(-Errno.EINVAL, 0)
        if owner is not None and owner.holder is Holder.XEN_FIXED:
            return PageOp(-Errno.EPERM, Pg.XENPAGE | Pg.FAILED | DOMID_XEN << OWNER_SHIFT)
        if crash_again and frame in self._broken and owner is not None and owner.holder is Holder.DOMAIN:
            return PageOp(0, Pg.AGAIN, owner.domain)
        if broken:
            self._broken.add(frame)
        mark = _BROKEN if broken else 0
        if owner is None:
            if frame not in self._offlined:
                self._take_out(frame)
            return PageOp(0, _OFFLINED | mark)
        self._offlining.add(frame)
        if owner.holder is Holder.XEN_HEAP:
            return PageOp(0, _XEN_PENDING | mark | DOMID_XEN << OWNER_SHIFT)
        number = DOMID_COW if owner.domain is None else owner.domain
        return PageOp(0, _OWNED_PENDING | mark | number << OWNER_SHIFT)

    def online(self, frame: Frame) -> PageOp:
        """online_page(): puts a frame back into use; never one that is marked as broken."""
        if not self.is_memory(frame):
            return PageOp(-Errno.EINVAL, 0)
        if frame in self._broken:
            return PageOp(-Errno.EINVAL, Pg.FAILED | Pg.BROKEN)
        if frame in self._offlined:
            self._offlined.discard(frame)
            self._insert(range(frame, frame + 1))
            return PageOp(0, Pg.OFFLINED)
        if frame in self._offlining:
            self._offlining.discard(frame)
            return PageOp(0, Pg.OFFLINED)
        return PageOp(0, 0)

    def query(self, frame: Frame) -> PageOp:
        """query_page_offline(): the state as Xen tells it."""
        if not self.is_memory(frame):
            return PageOp(-Errno.EINVAL, 0)
        status = Query(0)
        status |= Query.PENDING if frame in self._offlining else Query(0)
        status |= Query.BROKEN if frame in self._broken else Query(0)
        status |= Query.OFFLINED if frame in self._offlined else Query(0)
        return PageOp(0, status)

    def bad_frames(self, domain: DomainId) -> tuple[Frame, ...]:
        """The frames of a domain that are marked as broken, or pending."""
        return self.of(domain, self._broken | self._offlining)

    def of(self, domain: DomainId, frames: Iterable[int]) -> tuple[Frame, ...]:
        """Those of some frames that a domain has, lowest first."""
        listed = sorted(frames)
        return tuple(
            Frame(frame)
            for run in self._runs
            if run.owner.domain == domain
            for frame in listed[bisect_left(listed, run.first) : bisect_left(listed, run.end)]
        )

    # --- within --------------------------------------------------------------------------------------------------

    def _run_of(self, frame: int) -> _Run | None:
        latest = self._latest
        if latest is not None and latest.first <= frame < latest.first + latest.pages:
            return latest
        if self._firsts is None:
            self._firsts = [run.first for run in self._runs]
        at = bisect_right(self._firsts, frame) - 1
        if at < 0:
            return None
        run = self._runs[at]
        if frame >= run.first + run.pages:
            return None
        self._latest = run
        return run

    def _put(self, run: _Run) -> None:
        insort(self._runs, run)
        self._firsts = self._latest = None

    def _put_back(self, frame: Frame) -> None:
        """A frame is without an owner now. Xen keeps a broken one offline, whether or not that was asked for."""
        pending = frame in self._offlining or frame in self._broken
        self._offlining.discard(frame)
        if pending:
            self._offlined.add(frame)
        else:
            self._insert(range(frame, frame + 1))

    def _take_out(self, frame: Frame) -> None:
        self._cut(range(frame, frame + 1))
        self._ballooned.pop(frame, None)
        self._offlined.add(frame)

    def _cut(self, part: range) -> None:
        """Takes frames out of the free memory."""
        for index, run in enumerate(self._free):
            if run.start <= part.start and part.stop <= run.stop:
                left, right = range(run.start, part.start), range(part.stop, run.stop)
                self._free[index : index + 1] = [each for each in (left, right) if each]
                self._free_pages -= len(part)
                break
        for frame in [each for each in self._ballooned if each in part]:
            del self._ballooned[frame]

    def _split_at(self, frame: int) -> None:
        """Takes one frame out of the run that it is in. Raises KeyError if it is in none."""
        run = self._run_of(frame)
        if run is None:
            raise KeyError(f"nobody has frame {frame:#x}")
        self._runs.remove(run)
        self._firsts = self._latest = None
        for first, end in ((run.first, frame), (frame + 1, run.end)):
            if first < end:
                number = run.owner.guest_frame
                moved = None if number is None else GuestFrame(number + first - run.first)
                self._put(_Run(first, end - first, msgspec.structs.replace(run.owner, guest_frame=moved)))

    def _insert(self, part: range) -> None:
        """Puts frames back to the free memory, joined to their neighbours."""
        if not part:
            return
        self._free_pages += len(part)
        at = bisect_right(self._free, part.start, key=lambda run: run.start)
        if at < len(self._free) and self._free[at].start == part.stop:
            part = range(part.start, self._free.pop(at).stop)
        if at and self._free[at - 1].stop == part.start:
            at -= 1
            part = range(self._free.pop(at).start, part.stop)
        self._free.insert(at, part)

    def runs(self) -> Iterator[tuple[range, Owner]]:
        """All runs that are handed out, lowest first."""
        for run in self._runs:
            yield range(run.first, run.end), run.owner
