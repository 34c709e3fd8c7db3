"""Whose a page frame is: looked for in a thread of its own, with a bound on how long anybody waits for the answer.

An answer is verified with one read of a page map before it is given again. Whoever asks about an uncorrected error
waits for a whole search (``URGENT_S``): to act on the wrong guest, or on none, is worse than to act seconds later, and
the kernel has taken the page away meanwhile. Who asks about a corrected one waits little, and gets the answer the next
time: a trend is made of several.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm import guest_memory
from ringfence.hypervisor.kvm.guest_memory import Ask, GuestMemory
from ringfence.hypervisor.kvm.guests import Guest
from ringfence.hypervisor.kvm.kernel_pages import KernelPages, PageFlag
from ringfence.hypervisor.kvm.kernel_words import SILENT, Story
from ringfence.hypervisor.kvm.libvirt import LibvirtError
from ringfence.hypervisor.kvm.pagemap import Pagemaps, Place, Search
from ringfence.hypervisor.kvm.qemu_processes import plain, processes, start_of, threads_of
from ringfence.hypervisor.kvm.qmp import QmpError

URGENT_S: Final = 15.0
"""A search of 1 TiB of guests takes 5 to 13 s; systemd's watchdog of the unit wants a sign of life every 30 s."""
PATIENT_S: Final = 0.1
"""For a corrected error, and so much in all within each second: there may be thousands of them."""
CLOSE_S: Final = 2.0
"""At the end of the service a look gets so long to end."""
NUMBER_S: Final = 5.0
"""Once it is known whose a page is, for QEMU's word on which of its guest's pages that is."""
QUEUE: Final = 256
"""Frames that wait to be looked for; beyond that the oldest are not: they are asked about again."""
ANSWERS: Final = 4096
FRESH_S: Final = 60.0
"""Nobody was found: of a corrected error that holds so long. A place that was found is verified each time instead."""
SEARCH_S: Final = 60.0
"""A search ends by then, whatever was found."""
MOST_PLACES: Final = 4096
"""Of one frame: equal pages are shared by 256 at the most (max_page_sharing), a file's by all processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A guest that has a frame. ``guest_address`` is None where QEMU's map was not told, or it is QEMU's own memory;
    ``own_memory``: it is, by that map. ``unmapped``: the kernel took it away.
    """

    key: str
    pid: int
    host_address: int
    guest_address: int | None = None
    own_memory: bool = False
    unmapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Who has a frame. ``complete``: all QEMUs were looked at, also those of no known guest, and the kernel has named
    none that is not found: nobody is an answer. ``broken`` and ``story``: whether the kernel had marked it by then, and
    what it had said.
    """

    holders: tuple[Holder, ...] = ()
    complete: bool = True
    at_s: float = 0.0
    broken: bool = False
    story: Story = SILENT


NOT_KNOWN: Final = Answer(complete=False)


@dataclass(slots=True)
class Owners:
    """The looking. ``guests`` gives those that run, ``story`` what the kernel said of a frame, ``ask`` a monitor,
    ``ended`` the key of the guest whose QEMU had this process number and is gone (empty: no guest's).
    """

    guests: Callable[[], tuple[Guest, ...]]
    story: Callable[[int], Story]
    ask: Callable[[Guest], Ask | None]
    pages: KernelPages = field(default_factory=KernelPages)
    maps: Pagemaps = field(default_factory=Pagemaps)
    proc: Path = Path("/proc")
    ended: Callable[[int], str] = lambda _: ""
    _wanted: OrderedDict[int, None] = field(default_factory=OrderedDict)
    _to_map: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _answers: OrderedDict[int, Answer] = field(default_factory=OrderedDict)
    _so_far: tuple[int, Answer] = (-1, NOT_KNOWN)
    _memory: dict[tuple[int, int], GuestMemory] = field(default_factory=dict)
    _mca: dict[str, bool] = field(default_factory=dict)
    _turn: threading.Condition = field(default_factory=threading.Condition)
    fault: str = ""
    """What went wrong in a look that should not go wrong; the next one is taken all the same."""
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _waited_s: float = 0.0
    _second: int = 0
    _thread: threading.Thread | None = None
    _is_over: bool = False

    def start(self) -> None:
        """Look in a thread."""
        self._is_over = False
        self._thread = threading.Thread(target=self._go_on, name="owners", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more; a look that takes long is left to itself after a while."""
        with self._turn:
            self._is_over = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def of(self, frame: int, *, urgent: bool, most_s: float = URGENT_S) -> Answer:
        """Who has a frame, as far as that is found in time (``most_s`` at the most)."""
        known = self._verified(frame, urgent=urgent)
        if known is not None:
            return known
        wait_s = min(most_s, URGENT_S if urgent else self._patience())
        began_s = time.monotonic()
        with self._turn:
            self._wanted[frame] = None
            if urgent:
                self._wanted.move_to_end(frame, last=False)
            while len(self._wanted) > QUEUE:
                self._wanted.popitem(last=False)
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._found(frame, began_s) is not None, wait_s)
            left_s = min(NUMBER_S, max(0.0, wait_s - (time.monotonic() - began_s)))
            self._turn.wait_for(lambda: self._is_answered(frame, began_s), left_s)
            found = self._found(frame, began_s)
        if not urgent:
            self._waited_s += time.monotonic() - began_s
        return found or NOT_KNOWN

    def mca_enabled(self, key: str) -> bool:
        """Whether a guest was seen to have machine checks on, the last time that it was asked."""
        return self._mca.get(key, False)

    def _found(self, frame: int, since_s: float) -> Answer | None:
        """The answer since a time; whose it is, while QEMU has not said which of its guest's pages it is."""
        if self._is_answered(frame, since_s):
            return self._answers[frame]
        so_far, found = self._so_far
        return found if so_far == frame and found.at_s >= since_s else None

    def _is_answered(self, frame: int, since_s: float) -> bool:
        known = self._answers.get(frame)
        return known is not None and known.at_s >= since_s

    def _patience(self) -> float:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._waited_s = second, 0.0
        return max(0.0, PATIENT_S - self._waited_s)

    def _verified(self, frame: int, *, urgent: bool) -> Answer | None:
        known = self._answers.get(frame)
        if known is None:
            return None
        if not known.holders:
            # A page that nobody has may be somebody's a moment later, unless it is out of use.
            is_final = known.broken and known.story == self.story(frame)
            is_fresh = not urgent and time.monotonic() - known.at_s < FRESH_S
            return known if known.complete and (is_final or is_fresh) else None
        running = {each.key: each.process.pid for each in self.guests() if each.process is not None}
        for each in known.holders:
            if each.guest_address is None and not each.own_memory:
                return None  # QEMU has not said its number: it is asked again
            if running.get(each.key) != each.pid:
                return None  # its number is another process's by now, perhaps
            at = self.maps.frame_at(each.pid, each.host_address)
            if at is None or at != (frame, each.unmapped):
                return None
        return known

    def map_soon(self, key: str) -> None:
        """Have a guest's map read when there is nothing else to do: the numbers of its pages will be wanted soon."""
        with self._turn:
            self._to_map[key] = None
            while len(self._to_map) > QUEUE:
                self._to_map.popitem(last=False)
            self._turn.notify_all()

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: bool(self._wanted or self._to_map) or self._is_over)
                if self._is_over:
                    return
                key = "" if self._wanted else self._to_map.popitem(last=False)[0]
                frame = -1 if key else self._wanted.popitem(last=False)[0]
            if key:
                self._map(key)
                continue
            try:
                answer, self.fault = self.look(frame), ""
            except Exception as error:
                # Who looks no more would leave every error without an owner.
                self.fault = f"looking for the owner of frame {frame:#x} failed: {plain(repr(error), 400)}"
                answer = Answer(complete=False, at_s=time.monotonic())
            with self._turn:
                self._answers[frame] = answer
                self._answers.move_to_end(frame)
                while len(self._answers) > ANSWERS:
                    self._answers.popitem(last=False)
                self._turn.notify_all()

    def _map(self, key: str) -> None:
        try:
            for guest in self.guests():
                if guest.key == key:
                    self._memory_of(guest, _NOWHERE)
        except Exception as error:
            self.fault = f"reading the map of guest {plain(key)} failed: {plain(repr(error), 400)}"

    def look(self, frame: int) -> Answer:
        """Look for a frame now."""
        with self._looking:
            running = {each.process.pid: each for each in self.guests() if each.process is not None}
            flags, story = self.pages.flags(frame), self.story(frame)
            broken = flags is not None and bool(flags & PageFlag.HWPOISON)
            search = self._search(frame, flags, running)
            if search.places and (broken or (flags is not None and flags & PageFlag.ANON)):
                self._tell_so_far(frame, search, running)
            signalled = self._signalled(frame, running) if broken and not search.places else ()
            is_somebodys = bool(search.places or signalled)
            complete = search.complete and (is_somebodys or not self._is_a_strangers(frame, running))
        # Whoever looks for another page meanwhile does not wait for a monitor.
        holders = tuple(self._holder(running[place.pid], place) for place in search.places) or signalled
        return Answer(holders=holders, complete=complete, at_s=time.monotonic(), broken=broken, story=story)

    def _tell_so_far(self, frame: int, search: Search, running: Mapping[int, Guest]) -> None:
        """Whose it is, before QEMU's monitor is asked for more: that may take seconds."""
        holders = tuple(
            Holder(key=running[each.pid].key, pid=each.pid, host_address=each.address, unmapped=each.unmapped)
            for each in search.places
        )
        with self._turn:
            self._so_far = frame, Answer(holders=holders, complete=search.complete, at_s=time.monotonic())
            self._turn.notify_all()

    def _is_a_strangers(self, frame: int, running: Mapping[int, Guest]) -> bool:
        """Whether a QEMU may have it that is no known guest's: nobody has looked yet, or nobody tells whose it is. The
        kernel's word that it has signalled a QEMU is enough, also if that is not to be found any more.
        """
        if self.story(frame).qemus:
            return True
        strangers = sorted({each.pid for each in processes(self.proc)} - running.keys())
        if not strangers:
            return False
        told = self._told(frame)
        if not told.isdisjoint(strangers):
            return True
        found = self.maps.search(frame, strangers, until_s=time.monotonic() + SEARCH_S, most=1)
        return bool(found.places) or not found.complete

    def _search(self, frame: int, flags: PageFlag | None, running: Mapping[int, Guest]) -> Search:
        until_s, most = time.monotonic() + SEARCH_S, self._most(frame, flags)
        told = self._told(frame) & running.keys()
        if told and self.story(frame).is_huge_page:
            return Search()  # of hugetlbfs nothing is left in page maps: to read all of them would find nobody
        if told and most > 1:
            # The kernel signals every QEMU that has a page which it takes away: if these have it, they are all.
            found = self.maps.search(frame, sorted(told), until_s=until_s, most=most)
            if {place.pid for place in found.places} == told:
                return found
        return self.maps.search(frame, self._in_order(frame, running), until_s=until_s, most=most)

    def _told(self, frame: int) -> frozenset[int]:
        return frozenset(self._process_of(thread) for thread in self.story(frame).signalled)

    def _most(self, frame: int, flags: PageFlag | None) -> int:
        """In how many places it may be: anonymous memory of a process is in one; what is shared is in as many as the
        kernel counts, and once it has taken a page away, that is not counted any more.
        """
        if flags is None or (flags & PageFlag.ANON and not flags & PageFlag.KSM):
            return 1
        if flags & PageFlag.HWPOISON:
            return MOST_PLACES
        return min(MOST_PLACES, max(1, self.pages.maps(frame) or 1))

    def _signalled(self, frame: int, running: Mapping[int, Guest]) -> tuple[Holder, ...]:
        """The guests whose QEMU the kernel has signalled because of a frame that no page map shows any more: of
        hugetlbfs nothing is left in them, and of a QEMU that has ended by it neither. At which address it was, nobody
        can tell.
        """
        story = self.story(frame)
        found = {
            pid: guest.key
            for pid, guest in running.items()
            if story.signalled and self._was_there(pid, story) and threads_of(pid, self.proc) & set(story.signalled)
        }
        found |= {thread: key for thread in story.qemus if thread not in found and (key := self.ended(thread))}
        return tuple(Holder(key=key, pid=pid, host_address=0, unmapped=True) for pid, key in found.items())

    def _was_there(self, pid: int, story: Story) -> bool:
        """Whether a process had begun when the kernel signalled one of its number: numbers are used anew."""
        began = start_of(self.proc / str(pid))
        return story.signalled_s is None or began is None or began / _TICKS_PER_S <= story.signalled_s + _CLOCKS_S

    def _in_order(self, frame: int, running: Mapping[int, Guest]) -> list[int]:
        """Those first that the kernel or the control groups point at."""
        told = self._told(frame)
        group = self.pages.control_group(frame)

        def rank(pid: int) -> tuple[bool, bool]:
            return pid not in told, not group or group not in self._groups(pid)

        return sorted(running, key=rank)

    def _process_of(self, thread: int) -> int:
        """The process that a thread is of (proc(5), status: Tgid)."""
        try:
            text = (self.proc / str(thread) / "status").read_text(errors="replace")
        except OSError:
            return thread
        line = next((each for each in text.splitlines() if each.startswith("Tgid:")), "")
        said = line.split()[1:]
        return int(said[0]) if said and said[0].isdecimal() else thread

    def _groups(self, pid: int) -> frozenset[int]:
        """The inodes of the control groups that a process is in, from its own up to the root (cgroup v2)."""
        try:
            line = next(
                each for each in (self.proc / str(pid) / "cgroup").read_text().splitlines() if each.startswith("0::")
            )
            home = _CGROUPS / line.removeprefix("0::").lstrip("/")
            return frozenset(path.stat().st_ino for path in (home, *home.parents) if path.is_relative_to(_CGROUPS))
        except (OSError, StopIteration, UnicodeDecodeError):
            return frozenset()

    def _holder(self, guest: Guest, place: Place) -> Holder:
        memory, address = self._memory_of(guest, place.address)
        return Holder(
            key=guest.key,
            pid=place.pid,
            host_address=place.address,
            guest_address=address,
            own_memory=memory is not None and bool(memory.stretches) and memory.guest_address(place.address) is None,
            unmapped=place.unmapped,
        )

    def guest_address(self, guest: Guest, host_address: int) -> int | None:
        """What stands at an address of a guest's QEMU. May block for as long as its monitor does."""
        return self._memory_of(guest, host_address)[1]

    def _memory_of(self, guest: Guest, host_address: int) -> tuple[GuestMemory | None, int | None]:
        """The map of a guest, and what stands at an address of its QEMU by that: what QEMU denies is not told (L7).
        Asked for anew if it does not have the address, or if QEMU denies it (hot-plugged).
        """
        if guest.process is None:
            return None, None
        identity = guest.process.identity
        known = self._memory.get(identity)
        address = None if known is None else known.guest_address(host_address)
        ask = self.ask(guest)
        if ask is None:
            return known, address
        try:
            if address is None or not guest_memory.is_host_address(ask, address, host_address):
                address = None
                known = self._memory[identity] = guest_memory.read(ask)
                found = known.guest_address(host_address)
                if found is not None and guest_memory.is_host_address(ask, found, host_address):
                    address = found
            self._mca[guest.key] = guest_memory.mca_enabled(ask)
        except (HypervisorError, LibvirtError, QmpError):  # the page is the guest's all the same
            return known, address
        while len(self._memory) > ANSWERS:
            del self._memory[next(iter(self._memory))]
        while len(self._mca) > ANSWERS:
            del self._mca[next(iter(self._mca))]
        return known, address


_CGROUPS: Final = Path("/sys/fs/cgroup")
_NOWHERE: Final = -1
"""No process has memory at this address."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
"""Of the start of a process (proc(5), stat, field 22)."""
_CLOCKS_S: Final = 60.0
"""The kernel's log has a clock of its own, which nobody corrects: it goes wrong by seconds a day."""
