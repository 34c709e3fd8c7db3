"""A guest's own pages, as its Linux kernel shows them: what they are, who has them, and taking them out of use.

``root`` is where ``/proc`` and ``/sys`` are: a tree of files serves as well. All of it needs CAP_SYS_ADMIN.

Sources: Documentation/admin-guide/mm/pagemap.rst; include/uapi/linux/kernel-page-flags.h; drivers/base/memory.c
(soft_offline_page_store, hard_offline_page_store); mm/memory-failure.c.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = 4096
MOST_PROCESSES: Final = 4_096
"""Whose page tables are looked through for a page."""
LOOK_S: Final = 3.0
"""For that look: a gigabyte takes a tenth of a second; who is not found by then is not known."""
CHUNK_PAGES: Final = 1 << 16
MOST_MAPS_BYTES: Final = 1 << 22
"""Of one /proc/PID/maps: 40,000 mappings."""

_FRAME: Final = (1 << 55) - 1
_PRESENT: Final = 1 << 63


class Flag(IntFlag):
    """/proc/kpageflags, as far as it is used here."""

    SLAB = 1 << 7
    BUDDY = 1 << 10
    HUGE = 1 << 17
    HWPOISON = 1 << 19
    NOPAGE = 1 << 20
    OFFLINE = 1 << 23


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that maps a page: its number, when it was started (to tell it from a later one of the same number), its
    name, and the systemd unit that it belongs to (empty if to none).
    """

    pid: int
    started: int
    name: str
    unit: str = ""


class Pages:
    """The pages of the machine whose ``/proc`` and ``/sys`` are below ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._memory = root / "sys/devices/system/memory"

    @property
    def soft_offline(self) -> Path:
        """The file that takes the address of a page to be copied away."""
        return self._memory / "soft_offline_page"

    @property
    def hard_offline(self) -> Path:
        """The file that takes the address of a page to be given up."""
        return self._memory / "hard_offline_page"

    def flags(self, frame: int) -> Flag | None:
        """What a page is: NOPAGE where the guest has no memory, None where the kernel does not say."""
        try:
            with (self._proc / "kpageflags").open("rb", buffering=0) as file:
                file.seek(frame * 8)
                found = file.read(8)
        except OSError:
            return None
        if not found or len(found) < 8:
            return Flag.NOPAGE
        return Flag(int.from_bytes(found, "little"))

    def corrupted_kib(self) -> int | None:
        """What the kernel has taken out of use in all (HardwareCorrupted), None if it does not say."""
        try:
            lines = (self._proc / "meminfo").read_text().splitlines()
            return next((int(line.split()[1]) for line in lines if line.startswith("HardwareCorrupted:")), None)
        except (OSError, ValueError, IndexError):
            return None

    def take_out(self, file: Path, frame: int) -> None:
        """Write a page's address into one of the two files. Raises OSError with the kernel's reason."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"%#x" % (frame * PAGE_BYTES))
        finally:
            os.close(descriptor)

    def owners(self, frames: Collection[int], now_s: Callable[[], float] = time.monotonic) -> list[Owner]:
        """The processes that map one of these pages, as far as they are found in time."""
        wanted, until_s, found = frozenset(frames), now_s() + LOOK_S, []
        try:
            numbers = sorted(int(each.name) for each in self._proc.iterdir() if each.name.isdecimal())
        except OSError:
            return []
        for pid in numbers[:MOST_PROCESSES]:
            if now_s() >= until_s:
                break
            if self._maps(pid, wanted, until_s, now_s):
                found.append(self._owner(pid))
        return found

    def is_same(self, owner: Owner) -> bool:
        """Whether a process is still the one that was found."""
        return self._started(owner.pid) == owner.started

    def _maps(self, pid: int, wanted: frozenset[int], until_s: float, now_s: Callable[[], float]) -> bool:
        try:
            with (self._proc / str(pid) / "maps").open("rb") as maps:
                lines = maps.read(MOST_MAPS_BYTES).splitlines()
            with (self._proc / str(pid) / "pagemap").open("rb", buffering=0) as pagemap:
                for line in lines:
                    first, _, last = line.split(b" ", 1)[0].partition(b"-")
                    page, end = int(first, 16) // PAGE_BYTES, int(last, 16) // PAGE_BYTES
                    while page < end and now_s() < until_s:
                        pagemap.seek(page * 8)
                        some = pagemap.read(8 * min(CHUNK_PAGES, end - page))
                        entries = array("Q", some[: len(some) // 8 * 8])
                        if any(each & _PRESENT and each & _FRAME in wanted for each in entries):
                            return True
                        if not entries:
                            break
                        page += len(entries)
        except (OSError, ValueError, OverflowError):
            return False  # it has ended, or has no such pages (vsyscall)
        return False

    def _owner(self, pid: int) -> Owner:
        home = self._proc / str(pid)
        try:
            name = (home / "comm").read_text(errors="replace").strip()
        except OSError:
            name = "?"
        try:
            groups = (home / "cgroup").read_text(errors="replace").splitlines()
        except OSError:
            groups = []
        parts = [part for line in groups for part in line.rpartition(":")[2].split("/")]
        # The outermost: below it whoever the unit runs for names groups as he likes (a user's own "sshd.service").
        unit = next((part for part in parts if part.endswith(".service")), "")
        return Owner(pid, self._started(pid), name, unit)

    def _started(self, pid: int) -> int:
        """Field 22 of /proc/PID/stat (proc(5)); the name before may hold anything, so it is counted from its end."""
        try:
            said = (self._proc / str(pid) / "stat").read_text(errors="replace")
            return int(said.rpartition(")")[2].split()[19])
        except (OSError, ValueError, IndexError):
            return -1
