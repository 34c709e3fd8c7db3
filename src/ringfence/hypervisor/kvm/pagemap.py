"""From a page frame to the process that has it: the page tables of QEMUs, as /proc/PID/pagemap shows them.

Source: Linux Documentation/admin-guide/mm/pagemap.rst; fs/proc/task_mmu.c (pte_to_pagemap_entry: an entry of a page
that is there has its frame in bits 0 to 54; of one that the kernel has unmapped as poisoned it is a swap entry, type in
bits 0 to 4, frame from bit 5 on, include/linux/swapops.h make_hwpoison_entry). Of hugetlbfs a poisoned page has no
entry at all (pagemap_hugetlb_range). Frames are shown to CAP_SYS_ADMIN alone: others read zeros.

There is no way from a frame to its users but to look at all of them. What it costs: 8 bytes a page, 2 GiB for 1 TiB of
guests, at some 20 to 50 ns a page: docs/kvm.md has what was measured. Who knows where to look first gives the
processes in that order, so that the whole is seldom read.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.world.identities import PAGE_BYTES, PAGE_SHIFT

ENTRY_BYTES: Final = 8
PRESENT: Final = 1 << 63
SWAPPED: Final = 1 << 62
_FRAME_MASK: Final = (1 << 55) - 1
_TYPE_BITS: Final = 5
LEAST_SPECIAL_TYPE: Final = 23
"""Swap types from here on are no swap file's: poisoned, migrating and device pages (include/linux/swap.h,
MAX_SWAPFILES: 32 less 1 to 9 special ones, by the kernel's configuration). A page in a swap file has its slot where a
poisoned one has its frame: whoever took the one for the other would name a guest that has nothing to do with the frame.
"""
CHUNK_BYTES: Final = 1 << 20
"""Of a page map, read at once: 512 MiB of address space; the time is looked at in between."""
MOST_REGIONS: Final = 65_536
"""Of one process: vm.max_map_count is 65530 unless somebody raised it."""
KEPT: Final = 4096
"""Places that are remembered: each is verified with one read before it is believed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame stands: in which process, at which of its addresses. ``unmapped``: the kernel took it away there,
    as it is poisoned.
    """

    pid: int
    address: int
    unmapped: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What a search came to. ``complete``: everybody was looked at, or as many places were found as there are."""

    places: tuple[Place, ...] = ()
    complete: bool = True
    looked_at_bytes: int = 0


@dataclass(slots=True)
class Pagemaps:
    """The page maps below ``root`` (tests: a directory)."""

    root: Path = Path("/proc")
    _known: OrderedDict[int, Place] = field(default_factory=OrderedDict)

    def shows_frames(self) -> bool:
        """Whether this process is shown frames: its own stack has one, which reads as zero without CAP_SYS_ADMIN."""
        for first, end in _regions(self.root / "self" / "maps"):
            for chunk, _ in self._chunks("self", first, min(end, first + (CHUNK_BYTES << 9))):
                entries = memoryview(chunk).cast("Q")
                if found := next((entry for entry in entries if entry & PRESENT), None):
                    return bool(found & _FRAME_MASK)
        return False

    def entry(self, pid: int, address: int) -> int | None:
        """One entry; None if it cannot be read."""
        try:
            file = os.open(self.root / str(pid) / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            raw = os.pread(file, ENTRY_BYTES, (address >> PAGE_SHIFT) * ENTRY_BYTES)
        except OSError:
            return None
        finally:
            os.close(file)
        return int.from_bytes(raw, "little") if len(raw) == ENTRY_BYTES else None

    def frame_at(self, pid: int, address: int) -> tuple[int, bool] | None:
        """The frame at an address of a process, and whether the kernel has taken it away there; None if none is."""
        entry = self.entry(pid, address)
        if entry is None:
            return None
        if entry & PRESENT and entry & _FRAME_MASK:
            return entry & _FRAME_MASK, False
        if entry & SWAPPED and _is_special(entry) and (entry & _FRAME_MASK) >> _TYPE_BITS:
            return (entry & _FRAME_MASK) >> _TYPE_BITS, True
        return None

    def search(self, frame: int, pids: Sequence[int], *, until_s: float, most: int = 1) -> Search:
        """Look for a frame in these processes, in their order, until ``most`` places are found or the time (of
        time.monotonic) is over. A place that is known from before is looked at first.
        """
        known = self._known.get(frame)
        if known is not None and most == 1 and known.pid in pids:
            at = self.frame_at(known.pid, known.address)
            if at is not None and at[0] == frame:
                return Search((Place(known.pid, known.address, at[1]),), complete=True)
        found: list[Place] = []
        looked = 0
        for pid in pids:
            for first, end in _by_size(_regions(self.root / str(pid) / "maps")):
                for chunk, address in self._chunks(str(pid), first, end):
                    looked += len(chunk)
                    found += (Place(pid, address + (at << PAGE_SHIFT), gone) for at, gone in _hits(chunk, frame))
                    if len(found) >= most:
                        return self._remembered(frame, Search(tuple(found[:most]), True, looked))
                    if time.monotonic() > until_s:
                        return self._remembered(frame, Search(tuple(found), False, looked))
        return self._remembered(frame, Search(tuple(found), True, looked))

    def _remembered(self, frame: int, search: Search) -> Search:
        for place in search.places[:1]:
            self._known[frame] = place
            self._known.move_to_end(frame)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return search

    def _chunks(self, pid: str, first: int, end: int) -> Iterator[tuple[bytes, int]]:
        """The entries of a stretch of addresses, piece by piece, each with the address of its first."""
        try:
            file = os.open(self.root / pid / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            at, last = (first >> PAGE_SHIFT) * ENTRY_BYTES, (end >> PAGE_SHIFT) * ENTRY_BYTES
            while at < last:
                chunk = os.pread(file, min(CHUNK_BYTES, last - at), at)
                if not chunk:
                    return
                yield chunk, (at // ENTRY_BYTES) << PAGE_SHIFT
                at += len(chunk)
        except OSError:
            return  # it has ended meanwhile
        finally:
            os.close(file)


def _is_special(entry: int) -> bool:
    """Whether the swap entry of a page that is not there names a frame, and not a slot of a swap file."""
    return entry & ((1 << _TYPE_BITS) - 1) >= LEAST_SPECIAL_TYPE


def _hits(chunk: bytes, frame: int) -> Iterator[tuple[int, bool]]:
    """Which entries of a piece name a frame: their numbers, and whether they name it as poisoned and unmapped."""
    for needle, offset, wanted, shift in (
        (frame.to_bytes(6, "little"), 0, PRESENT, 0),
        ((frame >> 3).to_bytes(5, "little"), 1, SWAPPED, _TYPE_BITS),
    ):
        at = chunk.find(needle)
        while at >= 0:
            number, within = divmod(at, ENTRY_BYTES)
            if within == offset:
                entry = int.from_bytes(chunk[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES], "little")
                kinds = entry & (PRESENT | SWAPPED)
                gone = wanted == SWAPPED
                if kinds == wanted and (entry & _FRAME_MASK) >> shift == frame and (not gone or _is_special(entry)):
                    yield number, gone
            at = chunk.find(needle, at + 1)


def _regions(maps: Path) -> list[tuple[int, int]]:
    """Where a process has memory (proc(5), maps); kernel addresses have no entries."""
    found: list[tuple[int, int]] = []
    try:
        with maps.open(encoding="ascii", errors="replace") as file:
            for line in file:
                first, _, end = line.split(" ", 1)[0].partition("-")
                if not end or len(found) >= MOST_REGIONS:
                    break
                if int(end, 16) < 1 << 63:
                    found.append((int(first, 16), int(end, 16)))
    except (OSError, ValueError):
        return found
    return found


def _by_size(regions: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The largest first: a guest's memory."""
    return sorted(regions, key=lambda each: each[0] - each[1])


def page_of(address: int) -> int:
    """An address without its offset in the page."""
    return address & ~(PAGE_BYTES - 1)
