"""rasdaemon's SQLite database, followed as it grows: each table from the row after the last one read.

The database is opened read-only and for one look at a time, so that rasdaemon never waits for it, and a file that was
moved away and begun afresh (logrotate, an upgrade of the schema) is noticed by its inode. Rows that rasdaemon deletes
are no loss: it deletes none itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from ringfence.errors import SourceError
from ringfence.record.binary import rasdaemon_db
from ringfence.record.evidence import Origin, Unrecognised
from ringfence.service.sources.source import (
    MAX_BATCH_ITEMS,
    Availability,
    Batch,
    Emit,
    Item,
    Lost,
    Position,
    Resumption,
    as_position,
    of_position,
    reachable,
)

POLL_S = 1.0
"""rasdaemon commits every event by itself; a look at a database that has not grown costs two stat calls."""


@dataclass(frozen=True, slots=True)
class _Position:
    device: int
    inode: int
    rows: dict[str, int]


_ABSENT = "rasdaemon is not installed, or records to no database (rasdaemon --record, as its unit file has it)."
_FORBIDDEN = "Give the service's user read access to the database and its -wal and -shm files."


@dataclass(frozen=True, slots=True)
class RasdaemonSource:
    """Rows of rasdaemon's tables as they are stored."""

    name: str = "rasdaemon"
    path: Path = Path("/var/lib/rasdaemon/ras-mc_event.db")
    poll_s: float = POLL_S
    clock: str = field(
        default="the wall clock in whole seconds, as rasdaemon works it out from the trace clock and the time at which "
        "it was started",
        init=False,
    )
    resumption: Resumption = field(default=Resumption.POSITION, init=False)

    def probe(self) -> Availability:
        """Whether the database is there and may be read."""
        return reachable(self.path, absent=_ABSENT, forbidden=_FORBIDDEN)

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """Every row since ``since``, then each new one. A database that is not there yet is waited for."""
        position = of_position(since, _Position) if since is not None else None
        looked: tuple[object, ...] | None = None
        troubles: set[str] = set()
        while True:
            now = _state(self.path)
            if now is not None and now != looked:
                found = self._look(position)
                # What is wrong with the whole file is said once, not at every look.
                items = [item for item in found.items if _trouble(item) not in troubles]
                troubles = {trouble for item in found.items if (trouble := _trouble(item)) is not None}
                if found.position is not None and (items or position is None):
                    await emit(Batch(self.name, tuple(items), as_position(found.position)))
                position = found.position
                if found.is_whole:
                    looked = now
                    await asyncio.sleep(self.poll_s)
            else:
                await asyncio.sleep(self.poll_s)

    def _look(self, since: _Position | None) -> _Look:
        """The next new rows, and where that leaves off."""
        items: list[Item] = []
        try:
            status = self.path.stat()
            is_same = since is not None and (since.device, since.inode) == (status.st_dev, status.st_ino)
            rows = dict(since.rows) if since is not None and is_same else {}
            if since is not None and not is_same:
                why = "another database stands in place of the one that was read: its last rows may not have been seen"
                items.append(Lost(self.name, 0, False, "rows", why))
            for table, item in rasdaemon_db.read_since(self.path, rows, MAX_BATCH_ITEMS):
                items.append(item)
                if table and item.origin.offset is not None:
                    rows[table] = item.origin.offset
        except (OSError, SourceError) as error:
            # Half made, or gone again: it is looked at anew when it has changed.
            trouble = Unrecognised(Origin(str(self.path)), b"", f"the database cannot be read now: {error}")
            return _Look([trouble], since, True)
        return _Look(items, _Position(status.st_dev, status.st_ino, rows), len(items) < MAX_BATCH_ITEMS)


@dataclass(frozen=True, slots=True)
class _Look:
    items: list[Item]
    position: _Position | None
    is_whole: bool


def _trouble(item: Item) -> str | None:
    return item.why if isinstance(item, Unrecognised) and item.origin.offset is None else None


def _state(path: Path) -> tuple[object, ...] | None:
    """What changes when the database does: the file and its write-ahead log; None if there is no file."""
    try:
        files = [path.stat()]
    except OSError:
        return None
    with contextlib.suppress(OSError):
        files.append(path.with_name(path.name + "-wal").stat())
    return tuple((file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns) for file in files)
