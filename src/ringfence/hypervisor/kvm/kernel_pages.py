"""What the kernel says of a page frame, and taking it out of use: /proc/kpageflags and sysfs.

Source: Linux Documentation/admin-guide/mm/pagemap.rst, include/uapi/linux/kernel-page-flags.h; ABI/testing/
sysfs-memory-page-offline; mm/memory-failure.c (memory_failure, soft_offline_page). Frames are told to CAP_SYS_ADMIN
alone (fs/proc/page.c, task_mmu.c).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Final

from ringfence.world.identities import PAGE_SHIFT, Frame
from ringfence.world.steps import Result, Status

ENTRY_BYTES: Final = 8


class PageFlag(IntFlag):
    """KPF_*: the bits of an entry of /proc/kpageflags."""

    LOCKED = 1 << 0
    ERROR = 1 << 1
    REFERENCED = 1 << 2
    UPTODATE = 1 << 3
    DIRTY = 1 << 4
    LRU = 1 << 5
    ACTIVE = 1 << 6
    SLAB = 1 << 7
    WRITEBACK = 1 << 8
    RECLAIM = 1 << 9
    BUDDY = 1 << 10
    MMAP = 1 << 11
    ANON = 1 << 12
    SWAPCACHE = 1 << 13
    SWAPBACKED = 1 << 14
    COMPOUND_HEAD = 1 << 15
    COMPOUND_TAIL = 1 << 16
    HUGE = 1 << 17
    UNEVICTABLE = 1 << 18
    HWPOISON = 1 << 19
    NOPAGE = 1 << 20
    KSM = 1 << 21
    THP = 1 << 22
    OFFLINE = 1 << 23
    ZERO_PAGE = 1 << 24
    IDLE = 1 << 25
    PGTABLE = 1 << 26


_ALL: Final = PageFlag(sum(PageFlag))


@dataclass(frozen=True, slots=True)
class KernelPages:
    """The files below ``root`` (tests: a directory), and how an order is written into one of them."""

    root: Path = Path("/")
    write: Callable[[Path, str], object] = Path.write_text

    def _entry(self, name: str, frame: int) -> int | None:
        try:
            file = os.open(self.root / "proc" / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            raw = os.pread(file, ENTRY_BYTES, frame * ENTRY_BYTES)
        except (OSError, OverflowError):
            return None
        finally:
            os.close(file)
        return int.from_bytes(raw, "little") if len(raw) == ENTRY_BYTES else None

    def flags(self, frame: int) -> PageFlag | None:
        """What the page is; None if it may not be read, or there is no such frame. A frame of a huge page (hugetlbfs)
        is broken if any of it is: the kernel marks the head (mm/memory-failure.c, try_memory_failure_hugetlb).
        """
        found = self._flags(frame)
        if found is not None and found & PageFlag.HUGE and not found & PageFlag.HWPOISON:
            first, pages = self._huge(frame)
            head = self._flags(first) if pages > 1 else None
            found |= PageFlag.HWPOISON if head is not None and head & PageFlag.HWPOISON else PageFlag(0)
        return found

    def _flags(self, frame: int) -> PageFlag | None:
        found = self._entry("kpageflags", frame)
        return None if found is None else PageFlag(found) & _ALL

    def maps(self, frame: int) -> int | None:
        """How often it stands in page tables of processes; None if it may not be read."""
        return self._entry("kpagecount", frame)

    def control_group(self, frame: int) -> int | None:
        """The inode of the memory control group that it is charged to; 0 for none, None if it may not be read."""
        return self._entry("kpagecgroup", frame)

    def huge_pages(self, frame: int) -> tuple[int, int]:
        """The first frame and the number of frames of the huge page (hugetlbfs) that this one is of; itself and 1 if it
        is of none. A transparent huge page is none: the kernel splits it (mm/memory-failure.c).
        """
        flags = self._flags(frame)
        return self._huge(frame) if flags is not None and flags & PageFlag.HUGE else (frame, 1)

    def _huge(self, frame: int) -> tuple[int, int]:
        for order in HUGE_ORDERS:
            first = frame & ~((1 << order) - 1)
            head = self._flags(first)
            if head is not None and head & PageFlag.COMPOUND_HEAD and head & PageFlag.HUGE:
                return first, 1 << order
        return frame, 1

    @property
    def can_offline(self) -> bool:
        """Whether the kernel takes pages out of use by order (CONFIG_MEMORY_FAILURE), and from this process."""
        return os.access(self.root / "sys/devices/system/memory/soft_offline_page", os.W_OK)

    @property
    def can_switch_cpus(self) -> bool:
        """Whether the kernel lets CPUs go (CONFIG_HOTPLUG_CPU); never the first one."""
        return os.access(self.root / "sys/devices/system/cpu/cpu1/online", os.W_OK)

    # --- taking out of use -------------------------------------------------------------------------------------------

    def soft_offline(self, frame: Frame) -> Result:
        """Move what a good page holds elsewhere, and take the page out of use; its users notice nothing."""
        return self._offline("soft_offline_page", frame)

    def hard_offline(self, frame: Frame) -> Result:
        """Give a page up as the kernel does at an uncorrected error: unmapped, and its users are told by SIGBUS."""
        return self._offline("hard_offline_page", frame)

    def _offline(self, way: str, frame: Frame) -> Result:
        if self.is_poisoned(frame):
            return Result(Status.DONE, "the kernel has taken it out of use already")
        before = self.flags(frame)
        if self._is_beyond(before) or (before is not None and before & PageFlag.NOPAGE):
            return Result(Status.REFUSED, f"frame {frame:#x}: there is no memory")
        path = self.root / "sys/devices/system/memory" / way
        try:
            self.write(path, f"{frame << PAGE_SHIFT:#x}")
        except FileNotFoundError:
            return Result(Status.REFUSED, f"{path} is not there: the kernel is built without CONFIG_MEMORY_FAILURE")
        except OSError as error:
            if self.is_poisoned(frame):
                why = f"the kernel marks it as broken and could not free it ({error.strerror}): it is not used anew"
                return Result(Status.PENDING, why)
            return Result(Status.FAILED, f"frame {frame:#x}: {way}: {error.strerror}{_words(before)}")
        if before is None:
            return Result(Status.DONE, "the kernel says so; /proc/kpageflags may not be read to verify it")
        if self.is_poisoned(frame):
            return Result(Status.DONE)
        return Result(
            Status.FAILED, f"frame {frame:#x}: the kernel took the order, and the page is in use all the same"
        )

    def _is_beyond(self, flags: PageFlag | None) -> bool:
        """Whether there is no such frame at all: other frames are shown, and this one is not."""
        return flags is None and self._flags(0) is not None

    def is_poisoned(self, frame: int) -> bool:
        """Whether the kernel has taken the page out of use, or has tried to: it is not given to anybody any more."""
        flags = self.flags(frame)
        return flags is not None and bool(flags & PageFlag.HWPOISON)

    def corrupted_kib(self) -> int | None:
        """HardwareCorrupted of /proc/meminfo: all that is out of use so."""
        try:
            text = (self.root / "proc/meminfo").read_text()
        except OSError:
            return None
        for line in text.splitlines():
            if line.startswith("HardwareCorrupted:"):
                return int(line.split()[1])
        return None

    def cpu(self, number: int, *, online: bool) -> Result:
        """Take a logical CPU out of use or back; may take seconds, until everything has left it."""
        path = self.root / "sys/devices/system/cpu" / f"cpu{number}" / "online"
        wanted = "1" if online else "0"
        try:
            if path.read_text().strip() == wanted:
                return Result(Status.DONE)
            self.write(path, wanted)
        except FileNotFoundError:
            return Result(Status.REFUSED, f"the kernel does not let CPU {number} go (it has no {path.name} file)")
        except OSError as error:
            return Result(Status.FAILED, f"CPU {number}: {error.strerror}")
        is_so = path.read_text().strip() == wanted
        return Result(Status.DONE) if is_so else Result(Status.FAILED, f"CPU {number} is as it was")


HUGE_ORDERS: Final = (9, 18)
"""Of x86: 2 MiB and 1 GiB."""


def _words(flags: PageFlag | None) -> str:
    """Why a page may not be let go, as far as its flags say."""
    if flags is None:
        return ""
    if flags & (PageFlag.SLAB | PageFlag.PGTABLE):
        return " (it is the kernel's own)"
    return " (pinned or in use: passed-through devices hold their guest's whole memory)" if flags & PageFlag.LRU else ""
