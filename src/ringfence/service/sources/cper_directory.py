"""A directory of binary records: pstore's, BERT's data, or CPER blobs that something else puts there.

Files are read when their size has stood still between two looks, and never erased, unless ``erase`` says that it is
Ringfence's part to (``Eraser``). pstore's files in ERST or EFI variables stay over boots until somebody erases them;
when that store is full, the next crash is not recorded. systemd-pstore moves them to /var/lib/systemd/pstore at boot,
mcelog's kernel side erases struct mce records out of ERST as it hands them over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.record import reader
from ringfence.record.evidence import Origin, Unrecognised
from ringfence.record.sources import Source as File
from ringfence.service.sources.source import (
    Availability,
    Batch,
    Emit,
    Item,
    Position,
    Resumption,
    as_position,
    of_position,
    reachable,
)

POLL_S: Final = 5.0
MAX_FILES: Final = 10_000
"""A directory with more files is none of records: ERST and EFI variables hold some hundreds at the most."""


class Eraser(StrEnum):
    """Who erases what has been read: freeing the store is somebody's duty, and only one's."""

    NOBODY_HERE = "not Ringfence"
    RINGFENCE = "Ringfence, once it is journaled"


@dataclass(frozen=True, slots=True)
class _Position:
    """The files that have been read, by name: inode, size and time of change (a name can be used again)."""

    read: dict[str, tuple[int, int, int]]


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
        return Availability(found.presence, f"{found.why}; its files are erased by: {self.eraser}", found.advice)

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """Every file that was not read before, then each new one.

        A file is erased after ``emit`` has returned, so ``emit`` must not return before the batch is durable if
        Ringfence is the eraser.
        """
        seen = dict(of_position(since, _Position).read) if since is not None else {}
        before: dict[str, tuple[int, int, int]] = {}
        while True:
            now = await asyncio.to_thread(lambda: dict(_files(self.path)))
            seen = {name: state for name, state in seen.items() if name in now}
            # At the first look there is none to compare with: what is there has been there.
            still = {name: state for name, state in now.items() if not before or before.get(name) == state}
            for name in [name for name, state in still.items() if seen.get(name) != state]:
                items = await asyncio.to_thread(_read, self.path / name)
                seen[name] = now[name]
                await emit(Batch(self.name, tuple(items), as_position(_Position(dict(seen)))))
                if self.eraser is Eraser.RINGFENCE:
                    await asyncio.to_thread((self.path / name).unlink, missing_ok=True)
            before = now or {"": (0, 0, 0)}
            await asyncio.sleep(self.poll_s)


def _files(root: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """The regular files below a directory, by name relative to it, oldest name first."""
    for count, path in enumerate(sorted(root.rglob("*"))):
        if count >= MAX_FILES:
            return
        try:
            status = path.stat()
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(root)), (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            continue


def _read(path: Path) -> list[Item]:
    try:
        return list(reader.read(File(str(path), path, path.stat().st_size)))
    except (OSError, SourceError) as error:
        return [Unrecognised(Origin(str(path)), b"", f"the file cannot be read: {error}")]
