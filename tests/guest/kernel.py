"""A guest's /proc and /sys as files, and what its kernel does when a page's address is written into one of two.

``python -m tests.guest.kernel ROOT WORDS...`` is the agent on such a machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from struct import pack

from ringfence.guest.command import Asked, run
from ringfence.guest.pages import PAGE_BYTES, Flag, Pages

PAGES = 64


class Kernel(Pages):
    """The files below ``root``, made if they are not there. Some pages are stubborn: they refuse, or pretend."""

    def __init__(self, root: Path, *, shows: bool = True) -> None:
        super().__init__(root)
        self.root = root
        self.refuses: dict[int, list[int]] = {}
        self.pretends: set[int] = set()
        self._flags = root / "proc/kpageflags"
        if not (root / "proc").exists():
            self.soft_offline.parent.mkdir(parents=True)
            (root / "proc").mkdir()
            for each in (self.soft_offline, self.hard_offline):
                each.touch()
            if shows:
                self._flags.write_bytes(bytes(8 * PAGES))
            self._count(0)

    def taken(self, file: Path) -> list[int]:
        """The pages whose address was written into a file, in order."""
        return [int(line, 16) // PAGE_BYTES for line in (file.parent / f"{file.name}.all").read_text().split()]

    def take_out(self, file: Path, frame: int) -> None:
        if self.refuses.get(frame):
            raise OSError(number := self.refuses[frame].pop(0), f"error {number}")
        super().take_out(file, frame)
        said = file.read_text()
        with (file.parent / f"{file.name}.all").open("a") as every:
            every.write(f"{said}\n")
        if frame in self.pretends:
            return
        self.mark(int(said, 16) // PAGE_BYTES, Flag.HWPOISON)
        self._count(4)

    def mark(self, frame: int, flags: Flag) -> None:
        if self._flags.exists():
            with self._flags.open("r+b") as file:
                file.seek(frame * 8)
                file.write(int(flags).to_bytes(8, "little"))

    def process(self, pid: int, name: str, frames: list[int], unit: str = "") -> None:
        """A process that maps these frames from 0x10000 on, after a page that is not there."""
        home, first = self.root / "proc" / str(pid), 0x10
        home.mkdir()
        (home / "maps").write_text(
            f"{first << 12:x}-{(first + 1 + len(frames)) << 12:x} rw-p 00000000 00:00 0 [heap]\n"
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n"
        )
        entries = b"".join(pack("<Q", frame | 1 << 63) for frame in frames)
        swapped = pack("<Q", 5 | 1 << 62)
        (home / "pagemap").write_bytes(bytes(8 * first) + swapped + entries)
        (home / "comm").write_text(f"{name}\n")
        (home / "cgroup").write_text(f"0::/system.slice/{unit}\n" if unit else "0::/\n")
        (home / "stat").write_text(f"{pid} ({name}) " + " ".join(["S", *["0"] * 18, "4711", "0"]))

    def _count(self, more_kib: int) -> None:
        before = self.corrupted_kib() or 0
        (self.root / "proc/meminfo").write_text(
            f"MemTotal: 100 kB\nHardwareCorrupted: {before + more_kib:5} kB\nDirectMap4k: 0 kB\n"
        )


if __name__ == "__main__":
    root, transport, *words = sys.argv[1:]
    given = Asked(transport=transport, json=True, dry_run="dry" in words)
    sys.exit(run(given, Kernel(Path(root))))
