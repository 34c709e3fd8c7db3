"""The files of a small host, byte by byte as Linux gives them: page maps, page flags, the kernel's log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ringfence.hypervisor.kvm.kernel_pages import KernelPages, PageFlag
from ringfence.world.identities import PAGE_SHIFT

PRESENT, SWAPPED, EXCLUSIVE = 1 << 63, 1 << 62, 1 << 56
HWPOISON_TYPE = 23
"""SWP_HWPOISON of a Debian kernel 6.1: MAX_SWAPFILES with device and migration entries, and a marker."""
GUEST_AT = 0x7F00_0000_0000


@dataclass(slots=True)
class HostFiles:
    """Files below ``root``; ``refuses`` are frames that the kernel cannot give up, with the errno that it answers."""

    root: Path
    refuses: dict[int, int] = field(default_factory=dict)

    def pages(self) -> KernelPages:
        """The kernel's pages, with a kernel that takes them out of use."""
        (self.root / "sys/devices/system/memory").mkdir(parents=True, exist_ok=True)
        for way in ("soft", "hard"):
            (self.root / f"sys/devices/system/memory/{way}_offline_page").touch()
        return KernelPages(self.root, self._written)

    def _written(self, path: Path, text: str) -> None:
        if not path.exists():
            raise FileNotFoundError(2, "No such file or directory")
        if path.name.endswith("_offline_page"):
            frame = int(text, 16) >> PAGE_SHIFT
            if frame in self.refuses:
                raise OSError(self.refuses[frame], "Device or resource busy")
            self.flag(frame, PageFlag.HWPOISON)
        else:
            path.write_text(text)

    def flag(self, frame: int, flags: int) -> None:
        """What a frame is."""
        self._entry(self.root / "proc/kpageflags", frame, flags)

    def count(self, frame: int, maps: int) -> None:
        """How often it is mapped."""
        self._entry(self.root / "proc/kpagecount", frame, maps)

    def process(self, pid: int, frames: dict[int, int], pages: int = 16, at: int = GUEST_AT) -> None:
        """A process that has ``pages`` pages from ``at`` on; ``frames`` are the entries of some of them."""
        home = self.root / "proc" / str(pid)
        home.mkdir(parents=True, exist_ok=True)
        (home / "maps").write_text(
            "55d0c0000000-55d0c0001000 r-xp 00000000 fe:01 42 /usr/bin/qemu-system-x86_64\n"
            f"{at:x}-{at + (pages << PAGE_SHIFT):x} rw-p 00000000 00:00 0 \n"
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n"
        )
        for page, entry in frames.items():
            self._entry(home / "pagemap", (at >> PAGE_SHIFT) + page, entry)
        with (home / "pagemap").open("r+b") as file:
            file.truncate(((at >> PAGE_SHIFT) + pages) * 8)

    @staticmethod
    def _entry(path: Path, number: int, value: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(number * 8)
            file.write(value.to_bytes(8, "little"))


def present(frame: int) -> int:
    """The entry of a page that is there."""
    return PRESENT | EXCLUSIVE | frame


def poisoned(frame: int) -> int:
    """The entry of a page that the kernel has unmapped as poisoned."""
    return SWAPPED | frame << 5 | HWPOISON_TYPE


def swapped(offset: int) -> int:
    """The entry of a page in a swap file."""
    return SWAPPED | offset << 5
