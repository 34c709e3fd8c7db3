"""Archives that Linux unpacks as its first root (Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MAGIC: Final = "070701"
_ALIGN: Final = 4
_END: Final = "TRAILER!!!"


@dataclass(slots=True)
class Archive:
    """A tree in cpio's "newc" form; several archives one after the other are one tree to the kernel."""

    _parts: list[bytes] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _serial: int = 0

    def directory(self, name: str, mode: int = 0o755) -> None:
        """A directory, with those above it."""
        name = name.strip("/")
        if not name or name in self._known:
            return
        above, _, _ = name.rpartition("/")
        self.directory(above)
        self._add(name, stat.S_IFDIR | mode, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file."""
        self._under(name)
        self._add(name.strip("/"), stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._under(name)
        self._add(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device."""
        self._under(name)
        self._add(name.strip("/"), stat.S_IFCHR | mode, b"", (major, minor))

    def tree(self, root: Path, into: str = "", keep: tuple[str, ...] = ("",), drop: tuple[str, ...] = ()) -> None:
        """The files under ``root`` whose path begins with one of ``keep`` and with none of ``drop``."""
        for path, name in _walk(root):
            if not name.startswith(keep) or (drop and name.startswith(drop)):
                continue
            at = f"{into}/{name}".strip("/")
            known = path.lstat()
            if stat.S_ISLNK(known.st_mode):
                self.link(at, str(path.readlink()))
            elif stat.S_ISREG(known.st_mode):
                self.file(at, path.read_bytes(), stat.S_IMODE(known.st_mode))

    def _under(self, name: str) -> None:
        above, _, _ = name.strip("/").rpartition("/")
        self.directory(above)

    def _add(self, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._known.add(name)
        self._serial += 1
        self._parts.append(_entry(name, self._serial, mode, data, device))

    def packed(self) -> bytes:
        """The archive's bytes."""
        return b"".join((*self._parts, _entry(_END, 0, 0, b"", (0, 0))))


def _entry(name: str, serial: int, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    spelt = name.encode() + b"\0"
    fields = (serial, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(spelt), 0)
    head = (_MAGIC + "".join(f"{value:08X}" for value in fields)).encode() + spelt
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        linked = [each for each in folders if Path(folder, each).is_symlink()]
        for name in sorted((*files, *linked)):
            path = Path(folder, name)
            yield path, str(path.relative_to(root))
