"""A log file followed as it grows and is rotated: for machines without the rest, and for tests.

A file is followed by its inode, as ``tail -F`` does: what is renamed is read to its end before the new file is begun,
and a file that has shrunk was truncated in place. Watching is by polling, which works on every file system.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from ringfence.record.sources import LULL_S
from ringfence.service.sources.source import (
    CHECKPOINT_S,
    Availability,
    Batch,
    Emit,
    Item,
    Lost,
    Position,
    Presence,
    Resumption,
    as_position,
    of_position,
    reachable,
)
from ringfence.service.sources.text_assembly import TextAssembly, feed_lines

POLL_S: Final = 0.25
_CHUNK_BYTES: Final = 1 << 18
"""So much is read before the evidence in it is handed over."""

_ABSENT = "Name a file that exists, or will: the directory must be there."
_FORBIDDEN = "Give the service's user read access (group adm on Debian, systemd-journal for exported journals)."


@dataclass(frozen=True, slots=True)
class _Position:
    device: int
    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class FileSource:
    """A text log, from its beginning (or where it was left), through every rotation that leaves the old file a name."""

    path: Path
    name: str = "file"
    lull_s: float = LULL_S
    poll_s: float = POLL_S
    clock: str = field(
        default="the log's own stamps: a wall clock if they have a date, a year and a zone, else none", init=False
    )
    resumption: Resumption = field(default=Resumption.POSITION, init=False)

    def probe(self) -> Availability:
        """Whether the file is there and may be read."""
        found = reachable(self.path, absent=_ABSENT, forbidden=_FORBIDDEN)
        if found.presence is Presence.PRESENT and not self.path.is_file():
            why = f"{self.path} is no regular file: it cannot be read again from where it was left"
            return Availability(Presence.FORBIDDEN, why, "Write to a file, or to a socket (socket:PATH).")
        return found

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """Every piece of evidence since ``since``, then each new one. A file that is not there yet is waited for."""
        start = of_position(since, _Position) if since is not None else None
        ended: os.stat_result | None = None
        while True:
            descriptor, offset = self._open(start, ended)
            if descriptor is None:
                await asyncio.sleep(self.poll_s)
                continue
            try:
                await self._follow_one(descriptor, offset, start, emit)
                start, ended = None, os.fstat(descriptor)
            finally:
                os.close(descriptor)

    def _open(self, since: _Position | None, ended: os.stat_result | None) -> tuple[int | None, int]:
        """The file to go on with and where.

        The one that ``since`` names, if it still has a name; after one that ``ended``, the next younger.
        """
        if since is not None:
            for path in (self.path, *self._rotated()):
                with suppress(OSError):
                    status = path.stat()
                    if (status.st_dev, status.st_ino) == (since.device, since.inode):
                        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), since.offset
        younger = [] if ended is None else [path for path in self._rotated() if _is_younger(path, ended)]
        for path in (*younger[:1], self.path):
            with suppress(OSError):
                return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 0
        return None, 0

    def _rotated(self) -> list[Path]:
        """Old files, oldest first, by the names of rotation: NAME.1, NAME-20260101; packed ones are left out."""
        found = [path for path in self.path.parent.glob(f"{self.path.name}[.-]*") if _ROTATED.search(path.name)]
        return sorted(found, key=_changed)

    async def _follow_one(self, descriptor: int, offset: int, since: _Position | None, emit: Emit) -> None:
        """Follow one file until another stands in its place and it is read to its end."""
        status = os.fstat(descriptor)
        here = (status.st_dev, status.st_ino)
        items: list[Item] = []
        if since is not None and (since.device, since.inode) != here:
            why = f"the file that was read to byte {since.offset} is gone: what was added to it later was not seen"
            items.append(Lost(self.name, 0, False, "bytes of log", why))
        text, line, partial = TextAssembly(str(self.path), offset), count(1), b""
        read, told = offset, time.monotonic()
        is_old = False
        while True:
            chunk = os.pread(descriptor, _CHUNK_BYTES, read)
            read += len(chunk)
            partial = feed_lines(text, partial + chunk, read, line)
            size = os.fstat(descriptor).st_size
            if size < read:
                why = f"the file was truncated at {size} bytes after {read} had been read (copytruncate?)"
                items.extend((*text.skip(0), Lost(self.name, 0, False, "bytes of log", why)))
                read, partial = 0, b""
            now = time.monotonic()
            is_complete = text.completes_in_s(now, self.lull_s) == 0 or (is_old and not chunk)
            items.extend(text.silent() if is_complete else text.ready())
            if items or now - told >= CHECKPOINT_S:
                await emit(Batch(self.name, tuple(items), as_position(_Position(*here, text.settled))))
                items, told = [], now
            if chunk:
                await asyncio.sleep(0)
                continue
            if is_old:
                return
            # Looked at once more after the name has gone to another file: the writer may have added to this one.
            is_old = not self._is_here(here)
            if not is_old:
                await asyncio.sleep(self.poll_s)

    def _is_here(self, here: tuple[int, int]) -> bool:
        try:
            status = self.path.stat()
        except OSError:
            # Between the rename and the new file: nothing to go on with yet.
            return True
        return (status.st_dev, status.st_ino) == here


_ROTATED: Final = re.compile(r"(?:\.\d{1,5}|-\d{8}(?:-\d{1,10})?)$")


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_younger(path: Path, ended: os.stat_result) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_mtime_ns > ended.st_mtime_ns and (status.st_dev, status.st_ino) != (ended.st_dev, ended.st_ino)
