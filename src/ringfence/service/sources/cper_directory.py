"""A directory of binary records: pstore's, or CPER blobs that something else puts there; or one such file: BERT's data.

Files are read when they have stood still between two looks, each content under a name once: what firmware or pstore
keeps over boots has another inode and another time then, and is the same all the same. They are never erased, unless it
is Ringfence's part to (``Eraser``). pstore's files in ERST or EFI variables stay over boots until somebody erases them;
when that store is full, the next crash is not recorded. systemd-pstore moves them to /var/lib/systemd/pstore at boot,
mcelog's kernel side erases struct mce records out of ERST as it hands them over.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.record import reader
from ringfence.record.evidence import Origin, Unrecognised
from ringfence.record.sources import Source as File
from ringfence.record.sources import expand
from ringfence.service.sources.source import (
    Availability,
    Batch,
    Emit,
    Item,
    Position,
    Presence,
    Resumption,
    as_position,
    of_position,
    reachable,
)

POLL_S: Final = 5.0
MAX_FILES: Final = 10_000
"""A directory with more files is none of records: ERST and EFI variables hold some hundreds at the most."""


GONE_KEPT: Final = 256
"""Files that are there no more and are known all the same: a file system that is mounted anew has them again."""


class Eraser(StrEnum):
    """Who erases what has been read: freeing the store is somebody's duty, and only one's."""

    NOBODY_HERE = "Ringfence erases nothing there"
    RINGFENCE = "Ringfence erases what is journaled"


@dataclass(frozen=True, slots=True)
class _Position:
    """The files that have been read, by name: a digest of what was in each (a name can be used again)."""

    read: dict[str, str]


_ABSENT = "For pstore: mount -t pstore pstore /sys/fs/pstore, and firmware with ERST or EFI variables, or ramoops."
_FORBIDDEN = "Run as root, or make the directory readable to the service's user."


@dataclass(frozen=True, slots=True)
class CperDirectorySource:
    """The evidence in each file of a directory, and of its sub-directories, once."""

    name: str = "pstore"
    path: Path = Path("/sys/fs/pstore")
    poll_s: float = POLL_S
    eraser: Eraser = Eraser.NOBODY_HERE
    clock: str = field(
        default="the record's own: firmware's time where it gives one, else the kernel's when it wrote the record",
        init=False,
    )
    resumption: Resumption = field(default=Resumption.POSITION, init=False)

    def probe(self) -> Availability:
        """Whether the directory is there and may be listed; says who erases."""
        found = reachable(self.path, absent=_ABSENT, forbidden=_FORBIDDEN)
        is_there = found.presence is Presence.PRESENT
        return Availability(found.presence, f"{found.why}; {self.eraser}" if is_there else found.why, found.advice)

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """Every file that was not read before, then each new one.

        A file is erased after ``emit`` has returned, so ``emit`` must not return before the batch is durable if
        Ringfence is the eraser.
        """
        seen = dict(of_position(since, _Position).read) if since is not None else {}
        looked: dict[str, _State] = {}
        before: dict[str, _State] | None = None
        while True:
            now = dict(_files(self.path))
            gone = [name for name in seen if name not in now]
            for name in gone[: max(0, len(gone) - GONE_KEPT)]:
                del seen[name]
            # At the first look there is none to compare with: what is there has been there.
            still = {name: state for name, state in now.items() if before is None or before.get(name) == state}
            fresh = [name for name, state in still.items() if looked.get(name) != state]
            for file in expand(tuple(str(self.path / name) for name in fresh)):
                parts = [str(part.relative_to(self.path)) for part in file.parts or (_path(file),)]
                looked.update((name, still[name]) for name in parts)
                digests = {name: _digest(self.path / name) for name in parts}
                if all(seen.get(name) == digest for name, digest in digests.items()):
                    continue
                seen.update(digests)
                await emit(Batch(self.name, tuple(_read(file)), as_position(_Position(dict(seen)))))
                if self.eraser is Eraser.RINGFENCE:
                    for name in parts:
                        (self.path / name).unlink(missing_ok=True)
            looked = {name: state for name, state in looked.items() if name in now}
            before = now
            await asyncio.sleep(self.poll_s)


_State = tuple[int, int, int]
"""Inode, size and time of change."""


def _files(root: Path) -> Iterator[tuple[str, _State]]:
    """The regular files below a directory, by name relative to it, oldest name first; of a file, itself as "."."""
    places = [root] if root.is_file() else sorted(root.rglob("*"))
    for count, path in enumerate(places):
        if count >= MAX_FILES:
            return
        try:
            status = path.stat()
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(root)), (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            continue


def _path(file: File) -> Path:
    return file.path if file.path is not None else Path(file.name)


def _digest(path: Path) -> str:
    """Of what is in a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
    except OSError:
        return ""


def _read(file: File) -> list[Item]:
    """The evidence in a file, or in the files of one kernel log."""
    try:
        return list(reader.read(file))
    except (OSError, SourceError) as error:
        return [Unrecognised(Origin(file.name), b"", f"the file cannot be read: {error}")]


_DIGITS: Final = 16
"""Of a digest that is kept: 64 bits tell the some hundred files of a directory apart."""
